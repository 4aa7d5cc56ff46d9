"""The few things the CUDA device asks of the driver, and CuPy doing them.

The seam a test stands in for. Every call is for the current thread's device (`use`), on the legacy default stream.
"""

from __future__ import annotations

import logging
from typing import Any, Protocol

from gpupool_wire.errors import UsageError
from gpupool_wire.tensors import Array

_log = logging.getLogger(__name__)


class Driver(Protocol):
    """What the CUDA device needs of a driver."""

    def use(self) -> None:
        """Make the device this thread's current one."""

    def allocate(self, nbytes: int) -> tuple[int, Any]:
        """Return the address of a block and the object that keeps it; raise MemoryError where there is none."""

    def copy_in(self, address: int, array: Array) -> None:
        """Copy a contiguous array to the device."""

    def copy_within(self, target: int, source: int, nbytes: int) -> None:
        """Copy from one address of the device to another."""

    def arrays(self) -> Any:  # noqa: ANN401 - a module
        """Return the array library of the device. What it allocates comes out of the same bounded pool."""

    def upload(self, array: Array) -> Any:  # noqa: ANN401 - an array of the library
        """Return an array of the library with this value."""

    def download(self, array: Any) -> Array:  # noqa: ANN401 - an array of the library
        """Return the value of an array of the library."""

    def address_of(self, array: Any) -> int:  # noqa: ANN401 - an array of the library
        """Return where a contiguous array of the library begins."""

    def mark(self) -> Any:  # noqa: ANN401 - the driver's own event
        """Return an event at this point of the stream."""

    def elapsed_ns(self, started: Any) -> int:  # noqa: ANN401 - the driver's own event
        """Wait for the stream; return the device's time from an event until now."""

    def limit(self, nbytes: int) -> None:
        """Let the pool never take more than this from the device."""

    def trim(self) -> None:
        """Give what the pool does not use back to the device."""

    def device_used_bytes(self) -> int:
        """Return what of the device's memory is in use, by anybody; 0 where that cannot be known."""


class CupyDriver:
    """CuPy's memory pool, runtime and events."""

    def __init__(self, index: int) -> None:
        import cupy

        self._cuda = cupy.cuda
        self._index = index
        try:
            count = self._cuda.runtime.getDeviceCount()
            self._bus = self._cuda.runtime.deviceGetPCIBusId(index)
        except self._cuda.runtime.CUDARuntimeError as error:
            raise UsageError(f"CUDA does not work on this node: {error}") from error
        if index >= count:
            raise UsageError(f"there is no CUDA device {index}: this process sees {count}")
        self._pool = self._cuda.MemoryPool()
        _preload_libraries()

    def __repr__(self) -> str:
        return f"<CupyDriver, device {self._index}, pool of {self._pool.total_bytes()} bytes>"

    def use(self) -> None:
        """Make the device this thread's current one."""
        self._cuda.Device(self._index).use()

    def allocate(self, nbytes: int) -> tuple[int, Any]:
        """Return the address of a block and the object that keeps it; raise MemoryError where there is none."""
        self.use()  # ONNX Runtime's threads call this, too
        block = self._pool.malloc(nbytes)  # OutOfMemoryError is a MemoryError
        return int(block.ptr), block

    def copy_in(self, address: int, array: Array) -> None:
        """Copy a contiguous array to the device."""
        self._cuda.runtime.memcpy(address, array.ctypes.data, array.nbytes, self._cuda.runtime.memcpyHostToDevice)

    def copy_within(self, target: int, source: int, nbytes: int) -> None:
        """Copy from one address of the device to another."""
        self._cuda.runtime.memcpy(target, source, nbytes, self._cuda.runtime.memcpyDeviceToDevice)

    def arrays(self) -> Any:  # noqa: ANN401 - a module
        """Return CuPy, which allocates from this driver's bounded pool from now on."""
        import cupy

        self._cuda.set_allocator(self._pool.malloc)
        return cupy

    def upload(self, array: Array) -> Any:  # noqa: ANN401 - a cupy.ndarray
        """Return an array of CuPy with this value."""
        return self.arrays().asarray(array)

    def download(self, array: Any) -> Array:  # noqa: ANN401 - a cupy.ndarray
        """Return the value of an array of CuPy."""
        value: Array = array.get()
        return value

    def address_of(self, array: Any) -> int:  # noqa: ANN401 - a cupy.ndarray
        """Return where a contiguous array of CuPy begins."""
        return int(array.data.ptr)

    def mark(self) -> Any:  # noqa: ANN401 - a cupy.cuda.Event; cupy has no types
        """Return an event at this point of the stream."""
        event = self._cuda.Event()
        event.record(self._cuda.Stream.null)
        return event

    def elapsed_ns(self, started: Any) -> int:  # noqa: ANN401 - a cupy.cuda.Event
        """Wait for the stream; return the device's time from an event until now."""
        ended = self.mark()
        ended.synchronize()
        return int(self._cuda.get_elapsed_time(started, ended) * 1_000_000)

    def limit(self, nbytes: int) -> None:
        """Let the pool never take more than this from the device."""
        self._pool.set_limit(size=nbytes)

    def trim(self) -> None:
        """Give what the pool does not use back to the device."""
        self._pool.free_all_blocks()

    def device_used_bytes(self) -> int:
        """Return what of the device's memory is in use, by anybody; 0 where that cannot be known.

        Asked of NVML, because CUDA itself can only be asked once its context has taken the memory in question.
        """
        import pynvml

        try:
            pynvml.nvmlInit()
            try:
                handle = pynvml.nvmlDeviceGetHandleByPciBusId(self._bus)
                return int(pynvml.nvmlDeviceGetMemoryInfo(handle).used)
            finally:
                pynvml.nvmlShutdown()
        except pynvml.NVMLError as error:
            _log.warning("NVML does not say what the worker takes: %s", error, extra={"action": "overhead_unknown"})
            return 0


def _preload_libraries() -> None:
    """Load CUDA's and cuDNN's libraries from their wheels where onnxruntime knows how; elsewhere the system's are found."""
    import onnxruntime as ort

    if "CUDAExecutionProvider" not in ort.get_available_providers():
        raise UsageError(
            "this onnxruntime has no CUDA provider: install gpupool[cuda12] or gpupool[cuda13], without gpupool[cpu]"
        )
    preload = getattr(ort, "preload_dlls", None)
    if preload is not None:
        preload()
