"""Arrays on the device as a stream names them, and what a stream is to those who call operations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from gpupool.arrays.origin import Origin
from gpupool.arrays.queue import Pending
from gpupool.link import Link
from gpupool_wire.messages import Step
from gpupool_wire.operands import Operand
from gpupool_wire.operations import Spec
from gpupool_wire.tensors import Array, Buffer

if TYPE_CHECKING:
    from gpupool.profiling.watch import Watch


class Links(Protocol):
    """What a stream needs of its slice."""

    @property
    def slice_id(self) -> str:
        """The slice's id."""

    @property
    def device(self) -> str:
        """The device's name on its node."""

    @property
    def watch(self) -> Watch | None:
        """What sees every exchange, None where nobody profiles."""

    @property
    def bytes_per_s(self) -> float:
        """What its link carries, as far as tensors are coded for it; 0 where they travel as they are."""

    def link(self, lost: Link | None = None) -> Link:
        """Return an open link other than `lost`; raise LeaseLost once the slice has ended, WorkerLost where none can be had."""

    def check_room(self, nbytes: int) -> None:
        """Raise OutOfSliceMemory for tensors that an empty slice could not hold."""

    def replace_link(self, doubted: Link) -> Link:
        """Return an open link other than `doubted`, which is closed then. Raises as `link` does."""


class Stream(Protocol):
    """Where operations go: to a worker, or into a recording."""

    @property
    def home(self) -> Links:
        """The slice."""

    @property
    def ids(self) -> Iterator[int]:
        """Ids for arrays and steps, each given once."""

    @property
    def life(self) -> Life:
        """The present life."""

    def add(
        self,
        name: str,
        args: list[Operand],
        options: dict[str, Operand],
        results: Sequence[Handle],
        origin: Origin,
        frames: Sequence[Buffer] = (),
    ) -> None:
        """Queue an operation."""

    def teach(self, step: Step) -> None:
        """Have a step recorded before the operations that wait."""

    def check(self, handle: Handle) -> None:
        """Raise for an array that is gone."""

    def is_gone(self, handle: Handle) -> bool:
        """Whether an array is gone, as far as is known here."""

    def flush(self) -> None:
        """Have everything done that is queued."""

    def read(self, handle: Handle, spec: Spec) -> Array:
        """Return an array's value."""

    def describe(self, handle: Handle) -> Spec:
        """Return what an array is whose shape its values decide."""


class Handle:
    """An array on the device: its id. When nobody refers to it any more, the worker is told, with the next batch."""

    __slots__ = ("__weakref__", "_dead", "id", "life")

    def __init__(self, stream: Stream) -> None:
        self.id = next(stream.ids)
        self.life = stream.life
        self._dead = self.life.dead

    def __del__(self) -> None:
        self._dead.append(self.id)


class Life:
    """The arrays of one process: a forked child begins another. Who dies in an earlier one is of no interest."""

    __slots__ = ("dead", "pending")

    def __init__(self) -> None:
        self.pending = Pending()
        self.dead = self.pending.dead
