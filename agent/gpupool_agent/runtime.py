"""ONNX Runtime as the devices use it: options checked, sessions described, errors translated.

The one module that knows onnxruntime's Python API. What a client asks for passes an allow-list here, whatever its library let
through: nothing on it names a file, loads code or writes outside memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as state

from gpupool_wire.errors import ExecutionFailed, GpupoolError, ModelRejected, OutOfSliceMemory, UsageError
from gpupool_wire.messages import ModelMeta, ModelOptions, TensorInfo

#: Session config entries a client may set: switches of optimizers and threads. Everything else of
#: onnxruntime_session_options_config_keys.h names files, other libraries or other sessions, or is the worker's to decide.
SESSION_CONFIG = frozenset(
    {
        "session.disable_prepacking",
        "session.set_denormal_as_zero",
        "session.disable_quant_qdq",
        "session.disable_double_qdq_remover",
        "session.enable_quant_qdq_cleanup",
        "session.qdq_matmulnbits_accuracy_level",
        "session.qdq_matmulnbits_block_size",
        "session.dynamic_block_base",
        "session.inter_op.allow_spinning",
        "session.intra_op.allow_spinning",
        "session.force_spinning_stop",
        "session.allow_released_opsets_only",
        "session.strict_shape_type_inference",
        "session.disable_aot_function_inlining",
        "session.use_device_allocator_for_initializers",
        "session.disable_cpu_ep_fallback",
        "session.x64quantprecision",
        "session.disable_specified_optimizers",
        "optimization.enable_gelu_approximation",
        "optimization.enable_cast_chain_elimination",
        "optimization.minimal_build_optimizations",
        "optimization.disable_specified_optimizers",
        "mlas.enable_gemm_fastmath_arm64_bfloat16",
        "mlas.use_lut_gemm",
        "mlas.disable_kleidiai",
    }
)
#: Run config entries a client may set, and the run options that travel under their own names.
RUN_CONFIG = frozenset({"memory.enable_memory_arena_shrinkage", "disable_synchronize_execution_providers"})
_RUN_OPTIONS: Mapping[str, Callable[[str], Any]] = {
    "log_severity_level": lambda text: max(int(text), _SILENT),
    "log_verbosity_level": lambda text: min(int(text), 0),
    "logid": str,
    "only_execute_path_to_fetches": lambda text: text in ("1", "True", "true"),
}
_PLAIN_OPTIONS = ("enable_mem_pattern", "enable_mem_reuse", "logid", "use_deterministic_compute")
#: Sessions log nothing: their errors reach the client as errors, and no client fills this node's log. Its log levels are ignored.
_SILENT = 4
_LEVELS = {
    0: ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    1: ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    2: ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    3: getattr(ort.GraphOptimizationLevel, "ORT_ENABLE_LAYOUT", ort.GraphOptimizationLevel.ORT_ENABLE_ALL),
    99: ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
_MODES = {0: ort.ExecutionMode.ORT_SEQUENTIAL, 1: ort.ExecutionMode.ORT_PARALLEL}

#: What ONNX Runtime's texts say when an allocation fails: malloc, its own arena, ours, CUDA and its libraries.
_MEMORY_TEXTS = (
    "std::bad_alloc",
    "bad allocation",
    "Failed to allocate memory",
    "Available memory of",
    "out of memory",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "p != nullptr was false",
)
#: onnxruntime's own classes, which derive from Exception alone.
ORT_ERRORS: tuple[type[Exception], ...] = tuple(
    kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception)
)
#: What its Python half raises: wrong names, types and shapes of inputs.
_FROM_PYTHON = (ValueError, TypeError, RuntimeError, KeyError, IndexError, AttributeError)


def session_options(options: ModelOptions, *, threads: int) -> ort.SessionOptions:
    """Return ONNX Runtime's options for a client's; raise UsageError for what the allow-list does not hold.

    `threads` is what the device offers: more are not given, and none asked for means all of them, as it does locally.
    """
    made = ort.SessionOptions()
    made.log_severity_level = _SILENT
    for name in _PLAIN_OPTIONS:
        value = getattr(options, name)
        if value is not None and hasattr(made, name):
            setattr(made, name, value)
    if options.graph_optimization_level is not None:
        made.graph_optimization_level = _one_of("graph_optimization_level", options.graph_optimization_level, _LEVELS)
    if options.execution_mode is not None:
        made.execution_mode = _one_of("execution_mode", options.execution_mode, _MODES)
    made.intra_op_num_threads = _bounded(options.intra_op_num_threads, threads)
    made.inter_op_num_threads = _bounded(options.inter_op_num_threads, threads)
    for key, value in options.config.items():
        if key not in SESSION_CONFIG:
            raise UsageError(
                f"session config entry {key!r} is not passed on to the pool; allowed are {', '.join(sorted(SESSION_CONFIG))}"
            )
        made.add_session_config_entry(key, value)
    for name, size in options.free_dimensions_by_name.items():
        made.add_free_dimension_override_by_name(name, size)
    for name, size in options.free_dimensions_by_denotation.items():
        made.add_free_dimension_override_by_denotation(name, size)
    return made


def run_options(config: Mapping[str, str]) -> ort.RunOptions | None:
    """Return ONNX Runtime's run options, None where there are none; raise UsageError for what the allow-list does not hold."""
    if not config:
        return None  # the session's own
    made = ort.RunOptions()
    made.log_severity_level = _SILENT
    for key, value in config.items():
        if key in _RUN_OPTIONS:
            try:
                setattr(made, key, _RUN_OPTIONS[key](value))
            except ValueError as error:
                raise UsageError(f"run option {key} cannot be {value!r}") from error
        elif key in RUN_CONFIG:
            made.add_run_config_entry(key, value)
        else:
            allowed = ", ".join(sorted(RUN_CONFIG | _RUN_OPTIONS.keys()))
            raise UsageError(f"run config entry {key!r} is not passed on to the pool; allowed are {allowed}")
    return made


def chosen_providers(asked: list[str], offered: tuple[str, ...]) -> list[str]:
    """Return the execution providers of a session: those asked for, else the device's own; raise UsageError for others."""
    if unknown := [name for name in asked if name not in offered]:
        raise UsageError(f"execution provider {unknown[0]!r} is not one of this device's: {', '.join(offered)}")
    return asked or list(offered)


def describe(args: list[Any]) -> list[TensorInfo]:
    """Return inputs, outputs or initializers of a session as they travel."""
    return [TensorInfo(name=arg.name, type=arg.type, shape=list(arg.shape)) for arg in args]


def metadata(session: ort.InferenceSession) -> ModelMeta:
    """Return a session's model metadata as it travels."""
    meta = session.get_modelmeta()
    return ModelMeta(
        custom_metadata_map=dict(meta.custom_metadata_map),
        description=meta.description,
        domain=meta.domain,
        graph_description=meta.graph_description,
        graph_name=meta.graph_name,
        producer_name=meta.producer_name,
        version=meta.version,
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that an allocation failed."""
    return isinstance(error, MemoryError) or any(text in str(error) for text in _MEMORY_TEXTS)


def translation(
    error: Exception, kind: type[ModelRejected | ExecutionFailed], refusal: Callable[[], OutOfSliceMemory]
) -> Exception:
    """Return what to raise for an error of ONNX Runtime: `kind` with its own class and text; `refusal()` for lack of memory.

    An error of gpupool's own, and one ONNX Runtime does not raise, comes back as it is.
    """
    if isinstance(error, GpupoolError):
        return error
    if is_out_of_memory(error):
        return refusal()
    if isinstance(error, _FROM_PYTHON + ORT_ERRORS):
        return kind(str(error), ort_class=type(error).__name__)
    return error


def silence() -> None:
    """Let ONNX Runtime's own logger be silent, too."""
    ort.set_default_logger_severity(_SILENT)


def default_threads() -> int:
    """Return how many cores this process may run on."""
    return len(os.sched_getaffinity(0))


def _bounded(asked: int | None, threads: int) -> int:
    return threads if not asked or asked < 0 else min(asked, threads)


def _one_of(name: str, value: int, table: Mapping[int, Any]) -> Any:  # noqa: ANN401 - an enum of onnxruntime's, which has no types
    if value not in table:
        raise UsageError(f"{name} cannot be {value}: it is one of {', '.join(map(str, table))}")
    return table[value]
