"""What every device is: an account of its memory, a few public verbs, and the verbs a device file fills in.

    open(model) ──> Program        run(program, feed) ──> Execution(values, device_ns)        close(program)
        │ weights charged              │ inputs and outputs charged                              │ weights given back
        ▼                              ▼                                                         ▼
    _open                          _run                                                      _close

Accounting, refusals and timing are written here once; a device file knows only its driver.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from gpupool_agent.core.ledger import Charge, Ledger, Purpose
from gpupool_agent.core.meetings import rows_are_free
from gpupool_agent.core.model_scan import ModelScan
from gpupool_agent.devices.library import ArrayLibrary
from gpupool_wire.errors import OutOfSliceMemory, UsageError
from gpupool_wire.messages import ModelMeta, ModelOptions, TensorInfo
from gpupool_wire.tensors import Value


class Account:
    """The slice's ledger, for several threads."""

    def __init__(self, limit_bytes: int) -> None:
        self._ledger = Ledger(limit_bytes)
        # Reentrant: a session the garbage collector frees in the middle of `take` gives its memory back from there.
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"<Account of {self._ledger!r}>"

    @property
    def used_bytes(self) -> int:
        """What is charged now."""
        return self._ledger.used_bytes

    @property
    def peak_bytes(self) -> int:
        """The most that was ever charged."""
        return self._ledger.peak_bytes

    @property
    def limit_bytes(self) -> int:
        """What may be charged."""
        return self._ledger.limit_bytes

    def take(self, nbytes: int, purpose: Purpose, name: str) -> Charge:
        """Charge; raise OutOfSliceMemory where it does not fit."""
        with self._lock:
            return self._ledger.take(nbytes, purpose, name)

    def give(self, charge: Charge) -> None:
        """End a charge."""
        with self._lock:
            self._ledger.give(charge)

    def resize(self, limit_bytes: int) -> None:
        """Set another limit; raise Conflict where more is in use."""
        with self._lock:
            self._ledger.resize(limit_bytes)

    def refusal(self, nbytes: int, what: str) -> OutOfSliceMemory:
        """Return the error for an allocation that failed outside the ledger."""
        with self._lock:
            return self._ledger.refusal(nbytes, what)

    def by_purpose(self) -> dict[Purpose, int]:
        """Return the bytes held for each purpose."""
        with self._lock:
            return self._ledger.by_purpose()


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """What a client sees of an opened model."""

    inputs: list[TensorInfo]
    outputs: list[TensorInfo]
    initializers: list[TensorInfo]
    meta: ModelMeta
    providers: list[str]


@dataclass(slots=True, kw_only=True)
class Program:
    """An opened model on a device."""

    name: str
    surface: Surface
    #: The driver's own object.
    handle: Any
    weight_bytes: int = 0
    charge: Charge | None = None
    #: Whether calls may be tried as one: the first dimension is free, and no operator is known to mix rows.
    has_free_rows: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """What one call gave."""

    values: list[Value]
    #: Device time where the driver measures it; None where executed wall time is the measure.
    device_ns: int | None = None


class Device(ABC):
    """One device as one slice's worker sees it. Several threads may run programs at the same time."""

    kind: ClassVar[str]
    #: Execution providers, as ONNX Runtime names them.
    providers: ClassVar[tuple[str, ...]]
    #: Whether opening a model occupies the device itself, and so belongs into a quantum.
    opens_in_quantum: ClassVar[bool]
    #: Whether the driver's own allocator charges the account for everything; if not, weights and tensors are charged here.
    driver_counts: ClassVar[bool] = False
    #: Whether unpacking inputs and packing results is work of the device itself, and so counts as device time.
    does_host_work: ClassVar[bool] = False
    #: Where inputs have to begin. What arrives in a frame begins anywhere.
    aligned_bytes: ClassVar[int] = 1
    #: Calls that may run at the same time.
    parallel_calls: int = 2

    def __init__(self, account: Account, *, index: int, threads: int) -> None:
        self.account = account
        self.index = index
        self.threads = threads
        #: What the worker itself takes of the device before any session.
        self.overhead_bytes = 0
        self._arrays: ArrayLibrary | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.index}, {self.account!r}>"

    # ── for workers ──────

    def open(self, model: bytes, scan: ModelScan, options: ModelOptions, name: str) -> Program:
        """Open a model, its weights charged before the driver is asked; raise ModelRejected, OutOfSliceMemory or UsageError."""
        account = self.account
        charge = account.take(scan.weight_bytes, Purpose.WEIGHTS, name)
        if self.driver_counts:
            account.give(charge)  # it was only to see whether it can fit at all
        try:
            program = self._open(model, options, name)
        except BaseException:
            if not self.driver_counts:
                account.give(charge)
            raise
        if not self.driver_counts:
            program.charge = charge
        program.weight_bytes = program.weight_bytes or scan.weight_bytes
        program.has_free_rows = not scan.mixes_rows and rows_are_free(program.surface.inputs, program.surface.outputs)
        return program

    def run(
        self,
        program: Program,
        feed: Mapping[str, Value],
        outputs: Sequence[str] | None,
        config: Mapping[str, str],
        *,
        held: Collection[str] = (),
        keep: Collection[str] = (),
    ) -> Execution:
        """Run a program once; raise ExecutionFailed, OutOfSliceMemory or UsageError. `outputs` None asks for all.

        Inputs named in `held` are arrays of the device's library, charged already; outputs named in `keep` are to be such arrays.
        """
        if self.driver_counts:
            return self._run(program, feed, outputs, config, keep)
        # Every microsecond here is one of every small call's: no context managers, each of which costs five.
        account = self.account
        sent = [feed[name] for name in feed if name not in held] if held else feed.values()
        inputs = account.take(_nbytes(sent), Purpose.ARRAYS, program.name)
        try:
            execution = self._run(program, feed, outputs, config, keep)
            # The outputs exist by now; where they do not fit, the caller gets the refusal and they go.
            account.give(account.take(_nbytes(execution.values), Purpose.ARRAYS, program.name))
        finally:
            account.give(inputs)
        return execution

    @property
    def library(self) -> ArrayLibrary:
        """The library whose arrays live on this device. Raises UsageError where there is none."""
        if self._arrays is None:
            self._arrays = self._library()
        return self._arrays

    def timed(self, work: Callable[[], object]) -> int | None:
        """Do array work; return its device time where the driver measures it, else None: the time it took counts."""
        work()
        return None

    def close(self, program: Program) -> None:
        """Forget a program and give its weights back."""
        self._close(program)
        if program.charge is not None:
            self.account.give(program.charge)
            program.charge = None

    def relieve(self) -> None:  # noqa: B027 - most devices keep nothing
        """Give back what is only kept for reuse, after an allocation of the worker itself has failed."""

    def bound(self) -> None:
        """Let operating system or driver hold the limit, too, from now on. Called once, when the worker stands."""
        self._bound()

    def resize(self, limit_bytes: int) -> None:
        """Set another memory limit; raise Conflict, and change nothing, where more is in use."""
        self.account.resize(limit_bytes)
        self._bound()

    # ── for device files ──────

    @abstractmethod
    def _open(self, model: bytes, options: ModelOptions, name: str) -> Program:
        """Open a model in the driver. `weight_bytes` of the answer: what it took, 0 for as much as the file holds."""

    @abstractmethod
    def _run(
        self,
        program: Program,
        feed: Mapping[str, Value],
        outputs: Sequence[str] | None,
        config: Mapping[str, str],
        keep: Collection[str],
    ) -> Execution:
        """Run a program in the driver."""

    def _library(self) -> ArrayLibrary:
        """Return the library whose arrays live on this device."""
        raise UsageError(f"a {self.kind} device has no arrays: it computes nothing")

    def _close(self, program: Program) -> None:
        """Let the driver forget a program."""
        program.handle = None

    @abstractmethod
    def _bound(self) -> None:
        """Make operating system or driver hold the account's limit, where they can."""


def _nbytes(values: Any) -> int:  # noqa: ANN401 - what models take: arrays, lists, maps, None
    """Return the bytes of the arrays among values; texts and numbers of maps are small and counted as nothing."""
    total = 0
    for value in values:
        if isinstance(value, list):
            total += _nbytes(value)
        else:
            total += getattr(value, "nbytes", 0)
    return total
