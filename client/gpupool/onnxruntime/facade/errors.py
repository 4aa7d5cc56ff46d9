"""ONNX Runtime's exceptions for hosts without its wheel.

Same names, same module path and same base (Exception) as the wheel's, so that `except` clauses and logs read the same.
"""

from __future__ import annotations

#: Where the wheel's own exceptions say they live.
MODULE = "onnxruntime.capi.onnxruntime_pybind11_state"


class Fail(Exception):
    """Status 1, FAIL."""


class InvalidArgument(Exception):
    """Status 2, INVALID_ARGUMENT."""


class NoSuchFile(Exception):
    """Status 3, NO_SUCHFILE."""


class NoModel(Exception):
    """Status 4, NO_MODEL."""


class EngineError(Exception):
    """Status 5, ENGINE_ERROR."""


class RuntimeException(Exception):
    """Status 6, RUNTIME_EXCEPTION."""


class InvalidProtobuf(Exception):
    """Status 7, INVALID_PROTOBUF."""


class ModelLoaded(Exception):
    """Status 8, MODEL_LOADED."""


class NotImplemented(Exception):  # noqa: A001 - ONNX Runtime's own name for it
    """Status 9, NOT_IMPLEMENTED."""


class InvalidGraph(Exception):
    """Status 10, INVALID_GRAPH."""


class EPFail(Exception):
    """Status 11, EP_FAIL."""


class ModelLoadCanceled(Exception):
    """Status 12, MODEL_LOAD_CANCELED."""


class ModelRequiresCompilation(Exception):
    """Status 13, MODEL_REQUIRES_COMPILATION."""


class NotFound(Exception):
    """Status 14, NOT_FOUND."""


class DeviceReset(Exception):
    """Status 15, DEVICE_RESET."""


ALL: tuple[type[Exception], ...] = (
    Fail,
    InvalidArgument,
    NoSuchFile,
    NoModel,
    EngineError,
    RuntimeException,
    InvalidProtobuf,
    ModelLoaded,
    NotImplemented,
    InvalidGraph,
    EPFail,
    ModelLoadCanceled,
    ModelRequiresCompilation,
    NotFound,
    DeviceReset,
)

for _kind in ALL:
    _kind.__module__ = MODULE
