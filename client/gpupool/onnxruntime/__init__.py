"""A drop-in for the module `onnxruntime` whose sessions run on a slice of the pool.

    import gpupool.onnxruntime as ort      # instead of: import onnxruntime as ort

Where the onnxruntime wheel is installed, every other name is the wheel's own; where it is not, a stand-in's. Importing this
module imports neither the wheel nor the network: that happens when a name or a session is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpupool.onnxruntime.io_binding import IOBinding
from gpupool.onnxruntime.session import InferenceSession
from gpupool.onnxruntime.session import available_providers as get_available_providers
from gpupool.onnxruntime.session import device_name as get_device

if TYPE_CHECKING:
    from gpupool.onnxruntime.facade.enums import ExecutionMode, ExecutionOrder, GraphOptimizationLevel
    from gpupool.onnxruntime.facade.functions import (
        get_all_providers,
        get_version_string,
        set_default_logger_severity,
        set_default_logger_verbosity,
    )
    from gpupool.onnxruntime.facade.options import RunOptions, SessionOptions
    from gpupool.onnxruntime.facade.values import OrtDevice, OrtValue
    from gpupool.onnxruntime.node import ModelMetadata, NodeArg

__all__ = [  # noqa: RUF022 - sessions first
    "InferenceSession",
    "IOBinding",
    "get_available_providers",
    "get_device",
    "ExecutionMode",
    "ExecutionOrder",
    "GraphOptimizationLevel",
    "ModelMetadata",
    "NodeArg",
    "OrtDevice",
    "OrtValue",
    "RunOptions",
    "SessionOptions",
    "get_all_providers",
    "get_version_string",
    "set_default_logger_severity",
    "set_default_logger_verbosity",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any name of the module this stands in for
    if name.startswith("__") and name != "__version__":
        raise AttributeError(f"module 'gpupool.onnxruntime' has no attribute {name!r}")
    from gpupool.onnxruntime.wheel import runtime

    return getattr(runtime(), name)
