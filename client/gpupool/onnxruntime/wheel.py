"""Which ONNX Runtime classes this process uses: the installed wheel's, or the stand-in's where there is none.

The wheel is imported at first use, never when this module is: under `gpupool run` this package is imported from the middle of the
wheel's own import.
"""

from __future__ import annotations

import importlib
from functools import cache
from types import ModuleType
from typing import Any

from gpupool.onnxruntime.modules import ROOT, build
from gpupool.onnxruntime.recording import watch


@cache
def runtime() -> Any:  # noqa: ANN401 - a module, whose names are known at run time only
    """Return the module that has SessionOptions, RunOptions, OrtValue, NodeArg and so on.

    A wheel that is installed but cannot be imported raises its own ImportError: standing in for it would hide the fault.
    """
    try:
        module = importlib.import_module(ROOT)
    except ModuleNotFoundError as error:
        if error.name != ROOT:
            raise
        module = ModuleType(ROOT)
        build(module)
    watch(module.SessionOptions, module.RunOptions)
    return module


def exceptions() -> Any:  # noqa: ANN401
    """Return the module that has ONNX Runtime's exceptions."""
    return runtime().capi.onnxruntime_pybind11_state
