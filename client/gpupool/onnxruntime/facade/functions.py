"""Functions of the wheel's module that make sense without it."""

from __future__ import annotations

import platform
import sys

#: The version of the surface that is provided, not of what runs on the agent.
API_VERSION = "1.31.1"

#: Every execution provider ONNX Runtime knows of, best first.
KNOWN_PROVIDERS = (
    "NvTensorRTRTXExecutionProvider",
    "TensorrtExecutionProvider",
    "CUDAExecutionProvider",
    "MIGraphXExecutionProvider",
    "OpenVINOExecutionProvider",
    "DnnlExecutionProvider",
    "VitisAIExecutionProvider",
    "QNNExecutionProvider",
    "NnapiExecutionProvider",
    "VSINPUExecutionProvider",
    "JsExecutionProvider",
    "CoreMLExecutionProvider",
    "ACLExecutionProvider",
    "DmlExecutionProvider",
    "RknpuExecutionProvider",
    "WebNNExecutionProvider",
    "WebGpuExecutionProvider",
    "XnnpackExecutionProvider",
    "CANNExecutionProvider",
    "AzureExecutionProvider",
    "CPUExecutionProvider",
)


def get_all_providers() -> list[str]:
    """Return the names of all execution providers, whether a slice offers them or not."""
    return list(KNOWN_PROVIDERS)


def get_version_string() -> str:
    """Return the version of the surface that is provided here."""
    return API_VERSION


def get_build_info() -> str:
    """Say that this is not ONNX Runtime itself."""
    return f"gpupool stand-in for ONNX Runtime {API_VERSION}: sessions run on a slice of a GPU pool"


def get_ep_devices() -> list[object]:
    """Return the devices of this host that ONNX Runtime could use: none."""
    return []


def has_collective_ops() -> bool:
    """Whether collective operators are there: never on a slice."""
    return False


def set_default_logger_severity(severity: int) -> None:
    """Accept a level from 0 to 4. There is no logger on this side; SessionOptions.log_severity_level travels."""
    if not 0 <= int(severity) <= 4:
        raise RuntimeError(f"Invalid logging severity {severity}: it is 0 (verbose) to 4 (fatal)")


def set_default_logger_verbosity(verbosity: int) -> None:
    """Accept a level. There is no logger on this side; SessionOptions.log_verbosity_level travels."""
    int(verbosity)


def set_global_thread_pool_sizes(intra_op_num_threads: int = 0, inter_op_num_threads: int = 0) -> None:
    """Accept sizes. Sessions run on the agent, which decides about its threads."""
    int(intra_op_num_threads), int(inter_op_num_threads)


def set_seed(seed: int) -> None:
    """Refuse: a seed of this process does not reach the agent, and results would silently differ."""
    raise RuntimeError(
        f"onnxruntime.set_seed({int(seed)}) cannot work on a remote slice: give the random nodes a seed in the model"
    )


def enable_telemetry_events() -> None:
    """Do nothing: nothing is ever sent."""


def disable_telemetry_events() -> None:
    """Do nothing: nothing is ever sent."""


def preload_dlls(cuda: bool = True, cudnn: bool = True, msvc: bool = True, directory: str | None = None) -> None:
    """Do nothing: the device's libraries are loaded on the agent."""


def print_debug_info() -> None:
    """Print what stands in for ONNX Runtime here."""
    sys.stdout.write(f"{get_build_info()}\nplatform: {platform.platform()}\npython: {sys.version}\n")
