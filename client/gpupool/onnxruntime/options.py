"""What of SessionOptions and RunOptions crosses the wire, and what is refused because it cannot."""

from __future__ import annotations

from typing import Any

from gpupool.onnxruntime.errors import limit, ort_error
from gpupool.onnxruntime.recording import Record, record_of
from gpupool.onnxruntime.wheel import runtime
from gpupool_wire.messages import ModelOptions

#: Attributes that travel under their own name where they differ from the default. The others (memory arena, threads per session,
#: execution order, names of profile files) are the agent's business and change no result.
_TRAVEL = (
    "graph_optimization_level",
    "execution_mode",
    "intra_op_num_threads",
    "inter_op_num_threads",
    "enable_mem_pattern",
    "enable_mem_reuse",
    "log_severity_level",
    "log_verbosity_level",
    "logid",
    "use_deterministic_compute",
)
_REASONS = {
    "register_custom_ops_library": "a library of this host cannot be loaded on the agent",
    "add_initializer": "values of this process are not part of the uploaded model: store them in the model",
    "add_external_initializers": "values of this process are not part of the uploaded model: store them in the model",
    "add_external_initializers_from_files_in_memory": "files in this process are not part of the uploaded model",
    "add_provider_for_devices": "the devices of this host are not the slice's",
    "set_ep_context_data_read_func": "a function of this process cannot be called by the agent",
    "add_active_adapter": "LoRA adapters are loaded into ONNX Runtime's own memory",
}


def checked(session_options: Any) -> Any:  # noqa: ANN401 - the wheel's SessionOptions or the stand-in's
    """Return the session options to use, default ones for None (or anything false, as ONNX Runtime reads it).

    Raises TypeError for an object that is something else.
    """
    kind = runtime().SessionOptions
    if not session_options:
        return kind()
    if not isinstance(session_options, kind):
        raise TypeError(
            "__init__(): incompatible constructor arguments. sess_options must be onnxruntime.SessionOptions, "
            f"not {type(session_options).__name__} {session_options!r}"
        )
    return session_options


def model_options(session_options: Any, providers: list[str]) -> ModelOptions:  # noqa: ANN401
    """Return what travels of session options; raise RemoteLimit naming what is set and cannot work remotely."""
    record = record_of(session_options)
    _refuse(record, "SessionOptions")
    if session_options.enable_profiling:
        raise limit(
            "SessionOptions.enable_profiling",
            "the profile would be a file of the agent's host; `gpupool top` shows where time goes",
        )
    if session_options.optimized_model_filepath:
        raise limit("SessionOptions.optimized_model_filepath", "the file would be written on the agent's host")
    if record.load_canceled:
        raise ort_error(
            "ModelLoadCanceled", "[ONNXRuntimeError] : 12 : MODEL_LOAD_CANCELED : Graph loading canceled due to user request.\n"
        )
    default = runtime().SessionOptions()
    changed: dict[str, Any] = {}
    for name in _TRAVEL:
        value = getattr(session_options, name, None)
        if value is not None and value != getattr(default, name):
            changed[name] = value if isinstance(value, bool | str) else int(value)
    return ModelOptions(
        **changed,
        config=dict(record.config),
        free_dimensions_by_name=dict(record.free_dimensions_by_name),
        free_dimensions_by_denotation=dict(record.free_dimensions_by_denotation),
        providers=providers,
    )


def run_config(run_options: Any) -> dict[str, str]:  # noqa: ANN401 - the wheel's RunOptions, the stand-in's, or None
    """Return what travels of run options.

    Raises TypeError for another object, RemoteLimit for what cannot work remotely, and Fail where `terminate` is set already.
    """
    if run_options is None:
        return {}
    if not isinstance(run_options, runtime().RunOptions):
        raise TypeError(
            "run(): incompatible function arguments. run_options must be onnxruntime.RunOptions, "
            f"not {type(run_options).__name__} {run_options!r}"
        )
    record = record_of(run_options)
    _refuse(record, "RunOptions")
    if run_options.terminate:
        raise ort_error("Fail", "[ONNXRuntimeError] : 1 : FAIL : Exiting due to terminate flag being set to true.")
    config = dict(record.config)
    for name, default in (("log_severity_level", -1), ("log_verbosity_level", 0), ("logid", "")):
        value = getattr(run_options, name, default)
        if value != default:
            config[name] = str(value)
    return config


def _refuse(record: Record, kind: str) -> None:
    for method in record.local_only:
        raise limit(f"{kind}.{method}", _REASONS[method])
