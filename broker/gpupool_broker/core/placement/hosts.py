"""Hosts whose slices are bound to their CPU and memory, and what is asked of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

#: Everything placement knows of a host: free units per GPU (rising), CPU left, memory left, model. Hosts in equal states are
#: interchangeable, so a score is worked out once for all of them.
State = tuple[tuple[int, ...], int, int, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class HostAsk:
    """A request for a share of each of some GPUs of one host, and for CPU and memory of that host."""

    cpu_milli: int
    memory_mib: int
    #: How many GPUs of one host; 0 asks for CPU alone.
    gpus: int
    #: Units of each of them; a whole one is as many units as the placer counts a GPU as (100 per cent, 1000 thousandths).
    units: int
    #: Any of these models; empty takes any.
    models: frozenset[str] = frozenset()

    def fits(self, state: State) -> bool:
        """Whether a host in that state has room."""
        gpus, cpu, memory, model = state
        if cpu < self.cpu_milli or memory < self.memory_mib or (self.models and model not in self.models):
            return False
        # GPUs are in rising order: the k-th last has the room, or fewer than k have.
        return not self.gpus or (len(gpus) >= self.gpus and gpus[-self.gpus] >= self.units)

    def options(self, state: State) -> Iterator[tuple[int, State]]:
        """Yield each way to host it that differs: the free units of the GPU it starts on, and the state after.

        One GPU can be any that has room. Of several, the fullest that have room are taken.
        """
        gpus, cpu, memory, model = state
        cpu, memory = cpu - self.cpu_milli, memory - self.memory_mib
        if not self.gpus:
            yield 0, (gpus, cpu, memory, model)
        elif self.gpus == 1:
            for index, level in enumerate(gpus):
                if level >= self.units and (not index or gpus[index - 1] != level):
                    left = tuple(sorted((*gpus[:index], *gpus[index + 1 :], level - self.units)))
                    yield level, (left, cpu, memory, model)
        else:
            start = next(index for index, level in enumerate(gpus) if level >= self.units)
            end = start + self.gpus
            left = tuple(sorted((*gpus[:start], *(level - self.units for level in gpus[start:end]), *gpus[end:])))
            yield gpus[start], (left, cpu, memory, model)


@dataclass(slots=True)
class Host:
    """A host and what is left of it."""

    name: str
    model: str
    cpu_milli: int
    memory_mib: int
    #: Free units of each GPU.
    gpus: list[int]
    state: State = field(init=False)

    def __post_init__(self) -> None:
        self._renew()

    def take(self, ask: HostAsk, gpus: tuple[int, ...]) -> None:
        """Book a request on GPUs given by index."""
        self._book(ask, gpus, -1)

    def give_back(self, ask: HostAsk, gpus: tuple[int, ...]) -> None:
        """Undo `take`."""
        self._book(ask, gpus, 1)

    def chosen(self, ask: HostAsk, level: int) -> tuple[int, ...]:
        """Return the indexes of the GPUs that an option starting on `level` free units takes, the first by number."""
        order = sorted(range(len(self.gpus)), key=lambda index: (self.gpus[index], index))
        return tuple(sorted([index for index in order if self.gpus[index] >= level][: ask.gpus]))

    def _book(self, ask: HostAsk, gpus: tuple[int, ...], sign: int) -> None:
        self.cpu_milli += sign * ask.cpu_milli
        self.memory_mib += sign * ask.memory_mib
        for index in gpus:
            self.gpus[index] += sign * ask.units
        self._renew()

    def _renew(self) -> None:
        self.state = tuple(sorted(self.gpus)), self.cpu_milli, self.memory_mib, self.model


@dataclass(frozen=True, kw_only=True, slots=True)
class HostPlan:
    """The host and the GPUs (by index) a request gets."""

    host: str
    gpus: tuple[int, ...]
