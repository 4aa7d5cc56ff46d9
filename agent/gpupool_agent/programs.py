"""The models a worker has open: one program for each model and set of options, however many sessions use it.

    acquire(OpenModel) ──in the cache?──> scan ──> device.open ──> SharedProgram          release ──last user──> device.close
                            └─no─> ModelMissing(offset)
    no room ──> evict_one: the program idle for longest is unloaded; its next call finds it gone and loads it from the cache

Weights are so stored, and charged, once per worker. Opening takes seconds and is done by one thread at a time; calls meet it only
where they need a program that was unloaded.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from operator import itemgetter
from typing import TypeVar

import msgspec

from gpupool_agent.core.meetings import Meetings
from gpupool_agent.core.model_scan import check_model, scan_model
from gpupool_agent.devices.base import Device, Program, Surface
from gpupool_agent.models import ModelCache
from gpupool_agent.quantum import Quantum
from gpupool_wire.coding import Coder
from gpupool_wire.errors import ModelEvicted, OutOfSliceMemory
from gpupool_wire.limits import MAX_MODEL_NAME_CHARS, MAX_TOLD_MODELS
from gpupool_wire.messages import ModelMissing, ModelOptions, OpenedModel, OpenModel

T = TypeVar("T")

#: How fast a model is read with Python's lock held, at the least: 125 MB were measured to hold it for 74 ms.
_LOCKED_BYTES_PER_MS = 200_000

_encode_options = msgspec.json.Encoder(order="sorted").encode


class SharedProgram:
    """An open model and who uses it. Its weights may be unloaded between two calls."""

    def __init__(self, sha256: str, options: ModelOptions, program: Program) -> None:
        self.sha256 = sha256
        self.options = options
        self.surface: Surface = program.surface
        self.weight_bytes = program.weight_bytes
        self.has_free_rows = program.has_free_rows
        #: What is known of its calls that met (see core.meetings).
        self.meetings = Meetings()
        self.users = 0
        #: The latest call's execution time and the largest input that ran quickly: short calls need no thread of their own.
        self.latest_ns: int | None = None
        self.quick_bytes = 0
        #: What was learnt of each output that travels coded.
        self.coders: dict[str, Coder] = {}
        self._program: Program | None = program
        self._running = 0
        self._idle_since_ns = time.monotonic_ns()
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        state = "loaded" if self.is_loaded else "unloaded"
        return f"<SharedProgram {self.sha256[:12]}, {state}, {self.users} users, {self._running} running>"

    @property
    def is_loaded(self) -> bool:
        """Whether its weights are in the slice's memory."""
        return self._program is not None

    def told(self) -> OpenedModel:
        """Return it as a beat names it."""
        name = (self.surface.meta.graph_name or self.sha256[:12])[:MAX_MODEL_NAME_CHARS]
        return OpenedModel(name=name, weight_bytes=self.weight_bytes, sessions=self.users, is_loaded=self.is_loaded)

    def enter(self) -> Program | None:
        """A call begins: the program, which stays until `leave`; None where it is not loaded."""
        with self._lock:
            self._running += 1
            return self._program

    def leave(self) -> None:
        """The call is over."""
        with self._lock:
            self._running -= 1
            self._idle_since_ns = time.monotonic_ns()

    def load(self, program: Program) -> None:
        """It is in memory again."""
        with self._lock:
            self._program = program

    def unload(self, *, even_running: bool = False) -> Program | None:
        """Return the program for closing; None where there is none, or calls are running in it."""
        with self._lock:
            if self._running and not even_running:
                return None
            program, self._program = self._program, None
            return program

    def idle_ns(self, now_ns: int) -> int | None:
        """Return for how long no call was running in it; None while one is, or where it is not loaded."""
        return None if self._running or self._program is None else now_ns - self._idle_since_ns


class Programs:
    """The open models of one worker. Thread-safe; opening, closing and evicting are done one at a time."""

    def __init__(
        self, device: Device, cache: ModelCache, quantum: Quantum, give_spare: Callable[[], bool] = lambda: False
    ) -> None:
        self._device = device
        #: Gives up something that is only kept to save time; returns whether there was anything.
        self._give_spare = give_spare
        self._cache = cache
        self._quantum = quantum
        self._open: dict[tuple[str, bytes], SharedProgram] = {}
        self._lock = threading.RLock()
        self.evictions = 0

    def __len__(self) -> int:
        return len(self._open)

    def told(self) -> tuple[int, list[OpenedModel]]:
        """Return how many models are open, and the largest MAX_TOLD_MODELS of them. Waits for nobody who opens one."""
        models = list(self._open.values())
        largest = sorted(models, key=lambda shared: shared.weight_bytes, reverse=True)[:MAX_TOLD_MODELS]
        return len(models), [shared.told() for shared in largest]

    def acquire(self, request: OpenModel) -> SharedProgram | ModelMissing:
        """Return the program of a request, opened now if need be, or what of the model is missing.

        Raises OutOfSliceMemory (before anything is uploaded where the file alone does not fit), ModelRejected, UsageError,
        LimitExceeded, and LeaseLost where the worker stops meanwhile.
        """
        key = (request.sha256, _encode_options(request.options))
        with self._lock:
            shared = self._open.get(key)
            if shared is None or not shared.is_loaded:
                self._make_room(request)
                model = self._cache.load(request.sha256)
                if model is None:
                    offset = self._cache.begin(request.sha256, request.nbytes)
                    return ModelMissing(call_id=request.call_id, sha256=request.sha256, offset=offset)
                program = self._open_program(model, request.sha256, request.options)
                if shared is None:
                    shared = self._open[key] = SharedProgram(request.sha256, request.options, program)
                else:
                    shared.load(program)
            shared.users += 1
            return shared

    def release(self, shared: SharedProgram) -> None:
        """One user less; the last one closes the program."""
        with self._lock:
            shared.users -= 1
            if shared.users == 0:
                del self._open[shared.sha256, _encode_options(shared.options)]
                if (program := shared.unload(even_running=True)) is not None:
                    self._device.close(program)

    def use(self, shared: SharedProgram, act: Callable[[Program], T]) -> T:
        """Do `act` with the program, loaded if need be; where memory is short, again without the programs that idle.

        Raises ModelEvicted where it has to be loaded and the node has forgotten the model, and whatever `act` raises.
        """
        program = shared.enter()
        is_relieved = False
        try:
            while True:
                try:
                    return act(program or self._load(shared))
                except OutOfSliceMemory as error:
                    if _can_never_fit(error) or not self.evict_one():
                        raise
                except MemoryError:
                    if is_relieved and not self.evict_one():
                        raise
                    self._device.relieve()
                    is_relieved = True
        finally:
            shared.leave()

    def evict_one(self, *, idle_for_ns: int = 0) -> bool:
        """Give up what is only spare, else unload the program that no call has used for longest, and that long at least.

        Returns whether there was one.
        """
        if self._give_spare():
            return True
        with self._lock:
            now_ns = time.monotonic_ns()
            idle = [(shared.idle_ns(now_ns), shared) for shared in self._open.values()]
            long_enough = [(ns, shared) for ns, shared in idle if ns is not None and ns >= idle_for_ns]
            for _, shared in sorted(long_enough, key=itemgetter(0), reverse=True):
                if (program := shared.unload()) is not None:
                    self._device.close(program)
                    self.evictions += 1
                    return True
        return False

    def _make_room(self, request: OpenModel) -> None:
        """Evict until the model's file could fit, or raise OutOfSliceMemory."""
        account = self._device.account
        while request.nbytes > account.limit_bytes - account.used_bytes:
            if request.nbytes > account.limit_bytes or not self.evict_one():
                raise account.refusal(request.nbytes, f"model {request.sha256[:12]}")

    def _load(self, shared: SharedProgram) -> Program:
        with self._lock:
            program = shared.enter()
            shared.leave()
            if program is not None:
                return program  # another call has loaded it meanwhile
            model = self._cache.load(shared.sha256)
            if model is None:
                raise ModelEvicted(f"model {shared.sha256[:12]} was unloaded to make room, and has left the node's cache since")
            program = self._open_program(model, shared.sha256, shared.options)
            shared.load(program)
            return program

    def _open_program(self, model: bytes, sha256: str, options: ModelOptions) -> Program:
        while True:
            try:
                return self._open_once(model, sha256, options)
            except OutOfSliceMemory as error:
                if _can_never_fit(error) or not self.evict_one():
                    raise

    def _open_once(self, model: bytes, sha256: str, options: ModelOptions) -> Program:
        scan = scan_model(memoryview(model))
        check_model(scan)
        name = f"model {sha256[:12]}"
        if not self._device.opens_in_quantum:
            self._quantum.announce_silence(_silence_ms(len(model)))
            return self._device.open(model, scan, options, name)
        self._quantum.enter()
        try:
            self._quantum.announce_silence(_silence_ms(len(model)))
            return self._device.open(model, scan, options, name)
        finally:
            self._quantum.leave(None)


def _can_never_fit(error: OutOfSliceMemory) -> bool:
    """Whether an empty slice would not do either, as far as the error tells."""
    asked, limit = error.details.get("asked_bytes"), error.details.get("limit_bytes")
    return isinstance(asked, int) and isinstance(limit, int) and asked > limit


def _silence_ms(nbytes: int) -> int:
    """Return for how long opening a model of that size may keep this process from beating."""
    return 300 + nbytes // _LOCKED_BYTES_PER_MS
