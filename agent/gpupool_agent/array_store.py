"""The arrays one link holds on the device: by id, each charged to the slice through the memory it looks at.

    put(id, array) ──> owner known? ──yes──> one user more (a view costs nothing)
                            └─no──> charge its bytes                 drop(id) ──> last user: the charge is given back

Views keep what they look at alive, so memory is charged by owner: an array of ten views is charged once, until the last is
dropped. An array that was never made is kept as broken, with the error, so that whatever is made of it says why.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Any

from gpupool_agent.core.ledger import Charge, Purpose
from gpupool_agent.devices.base import Account
from gpupool_agent.devices.library import ArrayLibrary, DeviceArray, spec_of
from gpupool_wire.coding import Coder
from gpupool_wire.errors import ErrorInfo, LimitExceeded, NotFound
from gpupool_wire.limits import MAX_ARRAYS
from gpupool_wire.operations import Spec


class Memory:
    """What one array owns and how many look at it."""

    __slots__ = ("charge", "owner", "users")

    def __init__(self, owner: DeviceArray, charge: Charge) -> None:
        self.owner = owner
        self.charge = charge
        self.users = 0


class Kept:
    """An array that is held."""

    __slots__ = ("array", "memory", "spec")

    def __init__(self, array: DeviceArray, memory: Memory) -> None:
        self.array = array
        self.memory = memory
        self.spec: Spec = spec_of(array)


class Broken:
    """An array that was never made, and the first array that was not."""

    __slots__ = ("error", "root")

    def __init__(self, root: int, error: ErrorInfo) -> None:
        self.root = root
        self.error = error


class ArrayStore:
    """The arrays of one link. `lock` is held by whoever uses it for more than one call."""

    def __init__(self, account: Account, library: ArrayLibrary) -> None:
        self.account = account
        self.library = library
        self.lock = threading.RLock()
        self.steps: dict[int, Any] = {}
        #: What was learnt of arrays that were fetched.
        self.coder = Coder(time.perf_counter_ns)
        self._arrays: dict[int, Kept | Broken] = {}
        self._memories: dict[int, Memory] = {}
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<ArrayStore, {len(self._arrays)} arrays in {len(self._memories)} pieces of memory>"

    def __len__(self) -> int:
        return len(self._arrays)

    def get(self, array_id: int) -> Kept | Broken:
        """Return an array; raise NotFound where the link holds none of that id."""
        found = self._arrays.get(array_id)
        if found is None:
            raise NotFound(f"there is no array {array_id} on this link", array_id=array_id)
        return found

    def peek(self, array_id: int) -> Kept | Broken | None:
        """Return an array, None where the link holds none of that id."""
        return self._arrays.get(array_id)

    def put(self, array_id: int, array: DeviceArray, reserved: Charge | None = None, *, name: str = "views") -> Kept:
        """Hold an array. `reserved` is what was charged ahead for it: kept where that is right, else given back.

        `name`: what a refusal calls the array.

        Raises OutOfSliceMemory where it takes more than was reserved and that does not fit, LimitExceeded past MAX_ARRAYS.
        """
        with self.lock:
            try:
                self._check_room(array_id)
                memory = self._memory_of(array, reserved, name)
            except BaseException:
                if reserved is not None:
                    self.account.give(reserved)
                raise
            memory.users += 1
            self.drop(array_id)
            kept = self._arrays[array_id] = Kept(array, memory)
            if self._is_closed:
                self.drop(array_id)
            return kept

    def put_broken(self, array_ids: Iterable[int], broken: Broken) -> None:
        """Remember that these arrays were never made."""
        with self.lock:
            for array_id in array_ids:
                self.drop(array_id)
                self._arrays[array_id] = broken

    def drop(self, array_id: int) -> None:
        """Give an array back. One that is not held is given back already: batches that failed half-way may name it again."""
        with self.lock:
            gone = self._arrays.pop(array_id, None)
            if isinstance(gone, Kept):
                self.let_go(gone)

    def pin(self, array_id: int) -> Kept | Broken:
        """Return an array whose memory stays charged until `let_go`, whatever becomes of its id meanwhile."""
        with self.lock:
            found = self.get(array_id)
            if isinstance(found, Kept):
                found.memory.users += 1
            return found

    def let_go(self, kept: Kept) -> None:
        """One user less of the memory an array looks at."""
        with self.lock:
            memory = kept.memory
            memory.users -= 1
            if memory.users == 0:
                del self._memories[id(memory.owner)]
                self.account.give(memory.charge)

    def is_alone(self, kept: Kept) -> bool:
        """Whether nothing else looks at the array's memory, so that it may be written to in place."""
        return kept.memory.users == 1 and self.library.writable(kept.array)

    def close(self) -> None:
        """Give everything back; what a batch still makes afterwards goes at once."""
        with self.lock:
            self._is_closed = True
            self.steps.clear()
            for array_id in list(self._arrays):
                self.drop(array_id)

    def _check_room(self, array_id: int) -> None:
        if len(self._arrays) >= MAX_ARRAYS and array_id not in self._arrays:
            raise LimitExceeded(f"the link holds {MAX_ARRAYS} arrays already: let some go", limit=MAX_ARRAYS)

    def _memory_of(self, array: DeviceArray, reserved: Charge | None, name: str) -> Memory:
        owner = self.library.owner(array)
        memory = self._memories.get(id(owner))
        if memory is not None and memory.owner is owner:
            if reserved is not None:
                self.account.give(reserved)
            return memory
        if reserved is not None and reserved.nbytes != owner.nbytes:
            self.account.give(reserved)
            reserved = None
        memory = Memory(owner, reserved or self.account.take(owner.nbytes, Purpose.ARRAYS, name))
        self._memories[id(owner)] = memory
        return memory
