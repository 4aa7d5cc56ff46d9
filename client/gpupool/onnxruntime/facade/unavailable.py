"""Names of the wheel that need ONNX Runtime in this process: each is there, and says by name why it cannot be used."""

from __future__ import annotations

from collections.abc import Callable

#: Why, by name of the wheel's module.
CLASSES = {
    "AdapterFormat": "LoRA adapter files are written and read by ONNX Runtime itself",
    "LoraAdapter": "LoRA adapters are loaded into ONNX Runtime's own memory",
    "ModelCompiler": "models are compiled by ONNX Runtime itself, for the devices of its own host",
    "OrtArenaCfg": "the allocator is the agent's, and it enforces the slice's memory",
    "OrtEpAssignedNode": "which node runs where is known to ONNX Runtime on the agent only",
    "OrtEpAssignedSubgraph": "which node runs where is known to ONNX Runtime on the agent only",
    "OrtEpContextData": "compiled contexts are read and written by ONNX Runtime itself",
    "OrtEpContextDataBuffer": "compiled contexts are read and written by ONNX Runtime itself",
    "OrtEpDevice": "the devices of the agent are not this host's: a slice has exactly one",
    "OrtExternalInitializerInfo": "external initializers are files of the agent's host, which a slice may not open",
    "OrtHardwareDevice": "the devices of the agent are not this host's: a slice has exactly one",
    "OrtSyncStream": "a stream belongs to a device of this host, and there is none",
    "SessionIOBinding": "use InferenceSession.io_binding()",
    "SparseTensor": "sparse tensors do not travel",
}
FUNCTIONS = {
    "create_and_register_allocator": "the allocator is the agent's, and it enforces the slice's memory",
    "create_and_register_allocator_v2": "the allocator is the agent's, and it enforces the slice's memory",
    "register_execution_provider_library": "a library of this host cannot be loaded on the agent",
    "unregister_execution_provider_library": "a library of this host cannot be loaded on the agent",
}


def refusal(name: str, reason: str) -> str:
    """Return the sentence that says so."""
    return f"onnxruntime.{name} cannot work on a host without the onnxruntime wheel: {reason}"


def _refuse(name: str, reason: str) -> Callable[..., object]:
    def refuse(*args: object, **kwargs: object) -> object:
        raise RuntimeError(refusal(name, reason))

    refuse.__name__ = refuse.__qualname__ = name
    refuse.__doc__ = refusal(name, reason)
    return refuse


def stand_ins() -> dict[str, object]:
    """Return a class or function for each name. Classes serve `isinstance`; making an instance is what is refused."""
    classes = {
        name: type(name, (), {"__doc__": refusal(name, why), "__init__": _refuse(name, why)}) for name, why in CLASSES.items()
    }
    functions = {name: _refuse(name, why) for name, why in FUNCTIONS.items()}
    return {**classes, **functions}
