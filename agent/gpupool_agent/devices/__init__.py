"""The kinds of device a worker can execute on, one file each, discovered by name."""

from __future__ import annotations

from importlib import import_module

from gpupool_agent.devices.base import Account, Device
from gpupool_wire.errors import UsageError

#: Kind -> class. The module is named like the kind and imported only in the worker that needs it: onnxruntime and cupy are heavy.
_CLASSES = {"null": "NullDevice", "cpu": "CpuDevice", "cuda": "CudaDevice"}


def open_device(kind: str, account: Account, *, index: int, threads: int) -> Device:
    """Return the device of that kind, counting on `account`; raise UsageError for an unknown kind or a missing library."""
    if kind not in _CLASSES:
        raise UsageError(f"there is no device kind {kind!r}: it is one of {', '.join(_CLASSES)}")
    try:
        module = import_module(f"gpupool_agent.devices.{kind}")
    except ImportError as error:
        extra = "cuda12" if kind == "cuda" else "cpu" if kind == "cpu" else "agent"
        raise UsageError(f"a {kind} device needs the package {error.name}: install gpupool[{extra}]") from error
    device: Device = getattr(module, _CLASSES[kind])(account, index=index, threads=threads)
    return device
