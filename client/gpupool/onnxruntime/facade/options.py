"""SessionOptions and RunOptions for hosts without the wheel: the same attributes, checked for type as they are set.

What is set by a method is kept by `gpupool.onnxruntime.recording`, the same way as for the wheel's own classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from gpupool.onnxruntime.facade.enums import ExecutionMode, ExecutionOrder, GraphOptimizationLevel

_MAX_KEY_CHARS = 1024
_MAX_VALUE_CHARS = 8192


class Settings:
    """A set of typed attributes, their defaults, and configuration entries; unknown attributes are refused, as the wheel does."""

    _defaults: ClassVar[Mapping[str, object]]

    def __init__(self) -> None:
        for name, value in self._defaults.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_config", {})

    def __setattr__(self, name: str, value: object) -> None:
        default = self._defaults.get(name)
        if default is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        expected = type(default)
        if expected is bool and isinstance(value, int):
            value = bool(value)
        elif expected is int and hasattr(value, "__index__"):
            value = int(value.__index__())
        if not isinstance(value, expected):
            raise TypeError(f"{type(self).__name__}.{name} must be {expected.__name__}, not {type(value).__name__} {value!r}")
        object.__setattr__(self, name, value)

    def __getstate__(self) -> object:
        raise TypeError(f"cannot pickle '{type(self).__module__}.{type(self).__name__}' object")

    def _add(self, key: str, value: str) -> None:
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"configuration entries are texts, not {type(key).__name__} and {type(value).__name__}")
        if not 0 < len(key) <= _MAX_KEY_CHARS:
            raise RuntimeError(f"Config key is empty or longer than maximum length {_MAX_KEY_CHARS}")
        if len(value) > _MAX_VALUE_CHARS:
            raise RuntimeError(f"Config value is longer than maximum length: {_MAX_VALUE_CHARS}")
        self._entries()[key] = value

    def _get(self, key: str) -> str:
        try:
            return self._entries()[key]
        except KeyError:
            raise RuntimeError(f"{type(self).__name__} does not have configuration with key: {key}") from None

    def _entries(self) -> dict[str, str]:
        entries: dict[str, str] = object.__getattribute__(self, "_config")
        return entries


class SessionOptions(Settings):
    """How a session is to be built."""

    __module__ = "onnxruntime.capi.onnxruntime_pybind11_state"
    _defaults: ClassVar[Mapping[str, object]] = {
        "enable_cpu_mem_arena": True,
        "enable_mem_pattern": True,
        "enable_mem_reuse": True,
        "enable_profiling": False,
        "execution_mode": ExecutionMode.ORT_SEQUENTIAL,
        "execution_order": ExecutionOrder.DEFAULT,
        "graph_optimization_level": GraphOptimizationLevel.ORT_ENABLE_ALL,
        "inter_op_num_threads": 0,
        "intra_op_num_threads": 0,
        "log_severity_level": -1,
        "log_verbosity_level": 0,
        "logid": "",
        "optimized_model_filepath": "",
        "profile_file_prefix": "onnxruntime_profile_",
        "use_deterministic_compute": False,
        "use_per_session_threads": True,
    }

    def add_session_config_entry(self, key: str, value: str) -> None:
        """Add a configuration entry."""
        self._add(key, value)

    def get_session_config_entry(self, key: str) -> str:
        """Return a configuration entry; RuntimeError where there is none."""
        return self._get(key)

    def add_free_dimension_override_by_name(self, name: str, value: int) -> None:
        """Fix a symbolic dimension by its name."""
        _check_dimension(name, value)

    def add_free_dimension_override_by_denotation(self, denotation: str, value: int) -> None:
        """Fix a symbolic dimension by its denotation."""
        _check_dimension(denotation, value)

    def add_provider(self, name: str, options: Mapping[str, str]) -> None:
        """Name an execution provider."""

    def add_provider_for_devices(self, devices: Sequence[object], options: Mapping[str, str]) -> None:
        """Name an execution provider by its devices."""

    def has_providers(self) -> bool:
        """Whether execution providers were named here."""
        from gpupool.onnxruntime.recording import record_of

        return bool(record_of(self).providers)

    def add_initializer(self, name: str, value: object) -> None:
        """Replace an initializer."""

    def add_external_initializers(self, names: Sequence[str], values: Sequence[object]) -> None:
        """Give the values of external initializers."""

    def add_external_initializers_from_files_in_memory(
        self, names: Sequence[str], buffers: Sequence[bytes], lengths: Sequence[int]
    ) -> None:
        """Give the files that hold external initializers."""

    def register_custom_ops_library(self, path: str) -> None:
        """Name a library of custom operators."""

    def set_load_cancellation_flag(self, value: bool) -> None:
        """Cancel the loading of the model."""

    def set_provider_selection_policy(self, policy: object) -> None:
        """Let ONNX Runtime choose the device; a slice has exactly one."""

    def set_provider_selection_policy_delegate(self, delegate: Callable[..., object]) -> None:
        """Let a function choose the device; a slice has exactly one."""

    def set_ep_context_data_read_func(self, read_func: Callable[..., object], max_data_size: int) -> None:
        """Read EPContext data through a function."""

    def clear_ep_context_data_read_func(self) -> None:
        """Forget that function."""


class RunOptions(Settings):
    """How one call is to run."""

    __module__ = "onnxruntime.capi.onnxruntime_pybind11_state"
    _defaults: ClassVar[Mapping[str, object]] = {
        "log_severity_level": -1,
        "log_verbosity_level": 0,
        "logid": "",
        "only_execute_path_to_fetches": False,
        "terminate": False,
    }

    def add_run_config_entry(self, key: str, value: str) -> None:
        """Add a configuration entry."""
        self._add(key, value)

    def get_run_config_entry(self, key: str) -> str:
        """Return a configuration entry; RuntimeError where there is none."""
        return self._get(key)

    def add_active_adapter(self, adapter: object) -> None:
        """Name a LoRA adapter."""


def _check_dimension(name: str, value: int) -> None:
    if not isinstance(name, str) or not hasattr(value, "__index__"):
        raise TypeError(f"a dimension is a name and an integer, not {type(name).__name__} and {type(value).__name__} {value!r}")
