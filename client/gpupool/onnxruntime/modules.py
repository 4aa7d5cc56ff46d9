"""The stand-in as modules: `onnxruntime`, `onnxruntime.capi` and what programs import from there."""

from __future__ import annotations

from types import ModuleType

ROOT = "onnxruntime"
CAPI = f"{ROOT}.capi"
STATE = f"{CAPI}.onnxruntime_pybind11_state"
PYBIND = f"{CAPI}._pybind_state"
VALIDATION = f"{CAPI}.onnxruntime_validation"
COLLECTION = f"{CAPI}.onnxruntime_inference_collection"
_SUBMODULES = (CAPI, STATE, PYBIND, VALIDATION, COLLECTION)


def sessions() -> dict[str, object]:
    """Return what stands in for the names of the wheel that are bound to sessions, with or without a wheel."""
    from gpupool.onnxruntime.io_binding import IOBinding
    from gpupool.onnxruntime.session import InferenceSession, available_providers, device_name

    return {
        "IOBinding": IOBinding,
        "InferenceSession": InferenceSession,
        "get_available_providers": available_providers,
        "get_device": device_name,
    }


def build(root: ModuleType) -> dict[str, ModuleType]:
    """Make `root` the stand-in's `onnxruntime`; return its submodules by full name, for whoever registers them."""
    from gpupool.onnxruntime import facade

    names = {**facade.NAMES, **sessions()}
    made = {name: ModuleType(name, "Part of gpupool's stand-in for ONNX Runtime.") for name in _SUBMODULES}
    for name, module in made.items():
        module.__package__ = CAPI
        if name in (PYBIND, STATE, COLLECTION):
            vars(module).update({**names, **facade.ERRORS})
        if name != CAPI:
            setattr(made[CAPI], name.rpartition(".")[2], module)
    vars(made[CAPI])["__path__"] = []
    vars(made[VALIDATION])["get_package_name_and_version_info"] = lambda: (facade.package_name, facade.version, "")
    vars(root).update({**names, "capi": made[CAPI], "onnxruntime_validation": made[VALIDATION], "__doc__": facade.__doc__})
    return made
