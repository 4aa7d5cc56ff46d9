"""A slice whose worker is in this process: real batches on real NumPy, reached through the wire's coding and nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from gpupool.arrays import Namespace
from gpupool.pace import Pace
from gpupool.settings import CodingMode
from gpupool_agent.array_batch import Batch
from gpupool_agent.array_store import ArrayStore
from gpupool_agent.devices.base import Account
from gpupool_agent.devices.library import numpy_library
from gpupool_wire import messages as m
from gpupool_wire.codec import AT_WORKER, FROM_WORKER, encode
from gpupool_wire.errors import GpupoolError, LeaseLost, OutOfSliceMemory, WorkerLost, from_info
from gpupool_wire.units import MIB


class LocalLink:
    """A link to a worker of its own."""

    def __init__(self, memory_mib: int, coding: CodingMode) -> None:
        self.account = Account(memory_mib * MIB)
        self.store = ArrayStore(self.account, numpy_library())
        self.questions = 0
        self.fetched = 0
        self.is_dead = False
        #: How many more questions it answers before it dies.
        self.dies_in = -1
        #: What is raised in the client while it waits for its next answer.
        self.interrupts: list[BaseException] = []
        self.worker = "tcp://127.0.0.1:0"
        self.pace = Pace("tcp://10.99.0.1:7201", coding)
        self._ids = itertools.count(1)

    @property
    def is_open(self) -> bool:
        return not self.is_dead

    def next_call_id(self) -> int:
        return next(self._ids)

    def call(self, question: m.Message, frames: Sequence[Any] = (), counted: Any = None) -> tuple[m.Message, list[Any]]:
        if self.dies_in == 0:
            self.is_dead = True
        self.dies_in -= 1
        if self.is_dead:
            raise WorkerLost("the connection broke")
        self.questions += 1
        asked, arrived = AT_WORKER.decode([bytes(frame) for frame in encode(question, frames)])
        assert isinstance(asked, m.Operate)
        self.fetched += len(asked.fetch)
        batch = Batch(asked, list(arrived), self.store)
        try:
            while not batch.is_done:
                batch.advance(lambda: False)
            answer, parts = batch.answer(m.Timing())
        except GpupoolError as error:
            raise from_info(error.to_info()) from None
        if self.interrupts:
            raise self.interrupts.pop()
        reply, received = FROM_WORKER.decode([bytes(part) for part in encode(answer, parts)])
        return reply, list(received)


class LocalSlice:
    """What a namespace needs of a slice."""

    device = "cpu0"
    #: What sees every exchange.
    watch: Any = None

    def __init__(self, slice_id: str = "slice-1", memory_mib: int = 64, coding: CodingMode = CodingMode.OFF) -> None:
        self.coding = coding
        self.slice_id = slice_id
        self.memory_mib = memory_mib
        self.ended: str | None = None
        self.replaced = 0
        self.current = LocalLink(memory_mib, coding)

    @property
    def bytes_per_s(self) -> float:
        return self.current.pace.bytes_per_s

    def link(self, lost: Any = None) -> Any:
        if self.ended is not None:
            raise LeaseLost(self.ended)
        if self.current.is_dead or self.current is lost:
            self.current = LocalLink(self.memory_mib, self.coding)
        return self.current

    def check_room(self, nbytes: int) -> None:
        if nbytes > self.memory_mib * MIB:
            raise OutOfSliceMemory(f"what is sent takes {nbytes} bytes")

    def replace_link(self, doubted: Any) -> Any:
        self.replaced += 1
        return self.link(doubted)


@pytest.fixture
def home() -> LocalSlice:
    return LocalSlice()


@pytest.fixture
def xp(home: LocalSlice) -> Any:
    return Namespace(home)


@pytest.fixture
def make_xp() -> Callable[..., Any]:
    return lambda **options: Namespace(LocalSlice(**options))


@pytest.fixture
def make_home() -> type[LocalSlice]:
    return LocalSlice
