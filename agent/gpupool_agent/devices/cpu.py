"""The host CPU as a device: ONNX Runtime's CPU provider, bounded by ledger and operating system.

Weights and tensors of calls are counted in the ledger before they are used. What ONNX Runtime allocates inside a call is not
its Python API's to count, so the kernel holds that bound: RLIMIT_DATA (all private writable memory, see setrlimit(2)) is the
process as it stands at start, plus the allowances below, plus the slice. A refused malloc inside ONNX Runtime is an error of
that call, which becomes OutOfSliceMemory; the worker lives on. Its memory arena is off, because an arena keeps what it has once
taken, which a limit that is shared and resized cannot use.

RLIMIT_DATA counts addresses, and malloc's heap has holes: where models of 50 MiB come and go, it was measured to span 400 MiB
with 60 in use. What was freed there is given back to the kernel, the addresses cannot be. So whenever a model has come or gone,
and once at a refusal before the work is tried again, the limit is moved up by the holes, as far as the memory that is really
there (RssAnon) leaves room.
"""

from __future__ import annotations

import ctypes
import gc
import resource
import threading
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import onnxruntime as ort

from gpupool_agent.core.ledger import mib
from gpupool_agent.devices.base import Account, Device, Execution, Program, Surface
from gpupool_agent.devices.library import ArrayLibrary, numpy_library
from gpupool_agent.runtime import (
    chosen_providers,
    describe,
    is_out_of_memory,
    metadata,
    run_options,
    session_options,
    silence,
    translation,
)
from gpupool_wire.errors import ExecutionFailed, ModelRejected, OutOfSliceMemory
from gpupool_wire.messages import ModelOptions
from gpupool_wire.tensors import Value
from gpupool_wire.units import MIB

#: Beside the slice: frames on their way in and out, Python's own objects, malloc's slack. Two full-size messages' worth of
#: frames in flight and as much again; measured, an idle worker that has served ten thousand calls holds a quarter of it.
BASE_ALLOWANCE_BYTES = 256 * MIB
#: Stack of each of the runtime's threads (glibc's default, which is mapped whole and counts whole).
STACK_BYTES = 8 * MIB
#: While a model is opened, ONNX Runtime holds its bytes, the parsed file and the session's own copy of the weights.
OPENING_COPIES = 3


class CpuDevice(Device):
    """The host CPU."""

    kind: ClassVar[str] = "cpu"
    providers: ClassVar[tuple[str, ...]] = ("CPUExecutionProvider",)
    #: Optimizing and pre-packing a model is work of the cores.
    opens_in_quantum: ClassVar[bool] = True
    does_host_work: ClassVar[bool] = True
    #: As NumPy's own arrays: sums are vectorized from the first aligned element on, so the last bit of a result depends on it.
    aligned_bytes: ClassVar[int] = 16

    def __init__(self, account: Account, *, index: int, threads: int) -> None:
        super().__init__(account, index=index, threads=threads)
        silence()
        self._libc = ctypes.CDLL(None)
        self._lock = threading.Lock()
        self._programs = 0
        self._opening_bytes = 0
        self._base_bytes = 0
        self._base_resident_bytes = 0
        #: Addresses without memory behind them that the limit was moved up by.
        self._hollow_bytes = 0

    def bound(self) -> None:
        """Let the kernel hold the slice's limit from now on. The process as it stands is the base."""
        self._base_bytes, self._base_resident_bytes = data_bytes(), resident_bytes()
        super().bound()

    def _bound(self) -> None:
        if not self._base_bytes:
            return  # not yet: the device is being set up, or a test uses it inside its own process
        limit = self._limit_bytes() + self._hollow_bytes
        resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.getrlimit(resource.RLIMIT_DATA)[1]))

    def _allowed_bytes(self) -> int:
        """Return what the process may take beside its base and its stacks."""
        return BASE_ALLOWANCE_BYTES + self.account.limit_bytes + self._opening_bytes

    def _limit_bytes(self) -> int:
        """Return the limit of a process without holes."""
        return self._base_bytes + self._allowed_bytes() + self._programs * 2 * self.threads * STACK_BYTES

    def relieve(self) -> None:
        """Give freed memory back to the kernel, and see how much of what counts as data is only addresses."""
        self._trim()
        if not self._base_bytes:
            return
        with self._lock:
            limit = self._limit_bytes()
            left = self._base_resident_bytes + self._allowed_bytes() - resident_bytes()
            # Holes may be filled again without the kernel's asking: more than as much again as is allowed is not let go by.
            self._hollow_bytes = max(0, min(data_bytes() + left - limit, self._allowed_bytes()))
            self._bound()

    def _open(self, model: bytes, options: ModelOptions, name: str) -> Program:
        providers = chosen_providers(options.providers, self.providers)
        made = session_options(options, threads=self.threads)
        made.enable_cpu_mem_arena = False
        # Threads that spin between operators hold cores that other slices and, on one machine, the callers themselves need; after
        # a call they would spin in the next slice's quantum. Measured on two busy cores, sleeping takes a fifth to a half less.
        if "session.intra_op.allow_spinning" not in options.config:
            made.add_session_config_entry("session.intra_op.allow_spinning", "0")
        with self._lock:
            self._programs += 1
            self._opening_bytes += OPENING_COPIES * len(model)
            self._bound()
        try:
            session = self._opened(model, made, providers)
        except Exception as error:
            with self._lock:
                self._programs -= 1
            raise translation(error, ModelRejected, lambda: self._refusal(f"opening {name}")) from error
        finally:
            with self._lock:
                self._opening_bytes -= OPENING_COPIES * len(model)
            self.relieve()
        surface = Surface(
            inputs=describe(session.get_inputs()),
            outputs=describe(session.get_outputs()),
            initializers=describe(session.get_overridable_initializers()),
            meta=metadata(session),
            providers=session.get_providers(),
        )
        return Program(name=name, surface=surface, handle=session)

    def _opened(self, model: bytes, options: ort.SessionOptions, providers: list[str]) -> ort.InferenceSession:
        try:
            return ort.InferenceSession(model, options, providers=providers)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            self.relieve()
            return ort.InferenceSession(model, options, providers=providers)

    def _run(
        self,
        program: Program,
        feed: Mapping[str, Value],
        outputs: Sequence[str] | None,
        config: Mapping[str, str],
        keep: Collection[str],
    ) -> Execution:
        session: ort.InferenceSession = program.handle
        try:
            options = run_options(config)
            try:
                values = session.run(outputs, feed, options)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                # malloc keeps freed memory for reuse, in pieces that may be too small: give them back and try once more.
                self.relieve()
                values = session.run(outputs, feed, options)
        except Exception as error:
            raise translation(error, ExecutionFailed, lambda: self._refusal(f"a call of {program.name}")) from error
        return Execution(values=values)

    def _library(self) -> ArrayLibrary:
        return numpy_library()

    def _close(self, program: Program) -> None:
        super()._close(program)
        with self._lock:
            self._programs -= 1
        self.relieve()

    def _trim(self) -> None:
        gc.collect()
        self._libc.malloc_trim(0)

    def _refusal(self, what: str) -> OutOfSliceMemory:
        """Return the error for an allocation the kernel refused. How large it was, ONNX Runtime does not say."""
        used = max(self.account.used_bytes, data_bytes() - self._base_bytes)
        limit = self.account.limit_bytes
        left = max(0, limit - used)
        return OutOfSliceMemory(
            f"{what} asked for more than the {mib(left)} left: the worker uses {mib(used)} of the slice's {mib(limit)}, of which "
            f"{mib(self.account.used_bytes)} are weights and tensors of calls: ask for a larger slice, or close a session",
            used_bytes=used,
            asked_over_bytes=left,
            limit_bytes=limit,
        )


def data_bytes() -> int:
    """Return this process's private writable memory as RLIMIT_DATA counts it (VmData of proc(5))."""
    return _status("VmData:")


def resident_bytes() -> int:
    """Return how much of it has memory behind it (RssAnon of proc(5))."""
    return _status("RssAnon:")


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {name}")
