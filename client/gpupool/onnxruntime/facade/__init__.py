"""A stand-in for the module `onnxruntime` on hosts where its wheel is not installed.

Classes that carry values and settings are here; sessions are `gpupool.onnxruntime.InferenceSession`. What needs ONNX Runtime in
this process is there by name and says so when it is used. The names follow version 1.31.
"""

from __future__ import annotations

from gpupool.onnxruntime.facade import errors
from gpupool.onnxruntime.facade.enums import (
    ExecutionMode,
    ExecutionOrder,
    GraphOptimizationLevel,
    OrtAllocatorType,
    OrtCompileApiFlags,
    OrtDeviceMemoryType,
    OrtDeviceVendorId,
    OrtExecutionProviderDevicePolicy,
    OrtHardwareDeviceType,
    OrtMemoryInfoDeviceType,
    OrtMemType,
    OrtSparseFormat,
)
from gpupool.onnxruntime.facade.functions import (
    API_VERSION,
    disable_telemetry_events,
    enable_telemetry_events,
    get_all_providers,
    get_build_info,
    get_ep_devices,
    get_version_string,
    has_collective_ops,
    preload_dlls,
    print_debug_info,
    set_default_logger_severity,
    set_default_logger_verbosity,
    set_global_thread_pool_sizes,
    set_seed,
)
from gpupool.onnxruntime.facade.metadata import OrtMemoryInfo
from gpupool.onnxruntime.facade.options import RunOptions, SessionOptions
from gpupool.onnxruntime.facade.unavailable import stand_ins
from gpupool.onnxruntime.facade.values import OrtDevice, OrtValue, copy_tensors
from gpupool.onnxruntime.node import ModelMetadata, NodeArg

__version__ = version = API_VERSION
package_name = "gpupool"
cuda_version = ""
import_capi_exception = None

#: What the stand-in provides, sessions apart.
NAMES: dict[str, object] = {
    **stand_ins(),
    "ExecutionMode": ExecutionMode,
    "ExecutionOrder": ExecutionOrder,
    "GraphOptimizationLevel": GraphOptimizationLevel,
    "ModelMetadata": ModelMetadata,
    "NodeArg": NodeArg,
    "OrtAllocatorType": OrtAllocatorType,
    "OrtCompileApiFlags": OrtCompileApiFlags,
    "OrtDevice": OrtDevice,
    "OrtDeviceMemoryType": OrtDeviceMemoryType,
    "OrtDeviceVendorId": OrtDeviceVendorId,
    "OrtExecutionProviderDevicePolicy": OrtExecutionProviderDevicePolicy,
    "OrtHardwareDeviceType": OrtHardwareDeviceType,
    "OrtMemType": OrtMemType,
    "OrtMemoryInfo": OrtMemoryInfo,
    "OrtMemoryInfoDeviceType": OrtMemoryInfoDeviceType,
    "OrtSparseFormat": OrtSparseFormat,
    "OrtValue": OrtValue,
    "RunOptions": RunOptions,
    "SessionOptions": SessionOptions,
    "__version__": __version__,
    "copy_tensors": copy_tensors,
    "cuda_version": cuda_version,
    "disable_telemetry_events": disable_telemetry_events,
    "enable_telemetry_events": enable_telemetry_events,
    "get_all_providers": get_all_providers,
    "get_build_info": get_build_info,
    "get_ep_devices": get_ep_devices,
    "get_version_string": get_version_string,
    "has_collective_ops": has_collective_ops,
    "import_capi_exception": import_capi_exception,
    "package_name": package_name,
    "preload_dlls": preload_dlls,
    "print_debug_info": print_debug_info,
    "set_default_logger_severity": set_default_logger_severity,
    "set_default_logger_verbosity": set_default_logger_verbosity,
    "set_global_thread_pool_sizes": set_global_thread_pool_sizes,
    "set_seed": set_seed,
    "version": version,
}
#: The exceptions, by name.
ERRORS: dict[str, type[Exception]] = {kind.__name__: kind for kind in errors.ALL}


def __getattr__(name: str) -> object:
    try:
        return NAMES[name] if name in NAMES else ERRORS[name]
    except KeyError:
        raise AttributeError(f"module 'onnxruntime' (gpupool's stand-in) has no attribute {name!r}") from None
