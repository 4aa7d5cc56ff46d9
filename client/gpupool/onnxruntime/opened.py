"""A model opened on a slice, and what it says about itself without asking the worker.

Attributes with an underscore carry the names ONNX Runtime's class has for them: known programs read them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any
from warnings import warn

from gpupool.lazy_names import lazy_outputs
from gpupool.onnxruntime import opening
from gpupool.onnxruntime.errors import limit, translated
from gpupool.onnxruntime.model_file import ModelFile
from gpupool.onnxruntime.node import ModelMetadata, NodeArg
from gpupool.onnxruntime.options import checked, model_options
from gpupool.onnxruntime.providers import CPU, ProviderOptions, Providers, asked_of_slice, normalize
from gpupool.onnxruntime.recording import record_of
from gpupool.onnxruntime.wheel import runtime
from gpupool.protocols import RemoteModel, SliceLike
from gpupool_wire.errors import GpupoolError, ModelRejected
from gpupool_wire.messages import ModelOptions


class OpenedModel:
    """The half of a session that opens and describes."""

    def __init__(
        self,
        path_or_bytes: str | bytes | os.PathLike[str],
        sess_options: Any,  # noqa: ANN401 - the wheel's SessionOptions or the stand-in's
        providers: Providers,
        provider_options: ProviderOptions,
        home: SliceLike | None,
        keywords: Mapping[str, Any],
        lazy: Sequence[str] = (),
        batching: bool | None = None,
    ) -> None:
        self._enable_fallback = int(keywords.get("enable_fallback", 1)) == 1
        self._file = ModelFile(path_or_bytes)
        _refuse_keywords(keywords)
        self._slice = home
        self._asked_lazy = lazy
        self._batching = batching
        self._lazy: frozenset[str] = frozenset()
        self._initial_options = sess_options
        self._fallback_providers = [CPU]
        self._model: RemoteModel | None = None
        try:
            self._open(providers, provider_options)
        except (ValueError, RuntimeError) as error:
            if isinstance(error, GpupoolError) or not self._enable_fallback:
                raise
            print("*************** EP Error ***************")
            print(f"EP Error {error} when using {providers}")
            print(f"Falling back to {self._fallback_providers} and retrying.")
            print("****************************************")
            self._open(self._fallback_providers, None)
            self._enable_fallback = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._model_path or 'bytes'} on a slice: {', '.join(self._providers)}>"

    def __getstate__(self) -> object:
        raise TypeError(f"cannot pickle '{type(self).__name__}' object")

    def _open(self, providers: Providers, provider_options: ProviderOptions) -> None:
        """Open the model anew and take over; the session stays as it was where that fails."""
        home = self._slice or opening.current_slice()
        names, settings = normalize(providers, provider_options, home.providers)
        options = checked(self._initial_options)
        named = record_of(options).providers
        if named and names:
            warn(
                "Specified 'providers'/'provider_options' when creating InferenceSession but SessionOptions has already been "
                "configured with providers. InferenceSession will only use the providers passed to InferenceSession().",
                stacklevel=4,
            )
        asked = asked_of_slice(names or [name for name, _ in named], home.providers)
        wanted = model_options(options, asked)
        model = self._open_on(home, wanted)
        opening.leave_mark()
        self._sess_options = options
        self._take(model)
        given = dict(zip(names, settings, strict=True))
        self._provider_options = {name: given.get(name, {}) for name in self._providers}

    def _open_on(self, home: SliceLike, wanted: ModelOptions) -> RemoteModel:
        with translated(self._file.path), self._file.reading():
            try:
                return home.open_model(self._file.source, wanted, batching=self._batching)
            except ModelRejected as error:
                # A worker opens no files. Locally such a model works, so its weights are put into it before it travels.
                whole = self._file.with_weights() if error.details.get("reason") == "external_data" else None
                if whole is None:
                    raise
                return home.open_model(whole, wanted, batching=self._batching)

    def _take(self, model: RemoteModel) -> None:
        """Use `model` from now on, and forget the one used before. The last one is forgotten with this object."""
        if self._model is not None:
            self._model.close()
        self._model = model
        self._inputs_meta = [NodeArg(info) for info in model.inputs]
        self._outputs_meta = [NodeArg(info) for info in model.outputs]
        self._overridable_initializers = [NodeArg(info) for info in model.initializers]
        names = [info.name for info in model.outputs]
        self._lazy = lazy_outputs(self._asked_lazy, names, self._file.path, getattr(model, "sha256", ""))
        self._model_meta = ModelMetadata(model.meta)
        self._providers = list(model.providers)
        self._types = {node.name: node.type for node in (*self._inputs_meta, *self._overridable_initializers)}

    @property
    def _remote(self) -> RemoteModel:
        """The opened model."""
        if self._model is None:
            raise RuntimeError("the session was never opened: its constructor failed")
        return self._model

    @property
    def _model_path(self) -> str | None:
        return self._file.path

    @property
    def _model_bytes(self) -> bytes | None:
        return self._file.data

    def get_session_options(self) -> Any:  # noqa: ANN401 - the wheel's SessionOptions or the stand-in's
        """Return the session options."""
        return self._sess_options

    def get_inputs(self) -> Sequence[NodeArg]:
        """Return the inputs."""
        return self._inputs_meta

    def get_outputs(self) -> Sequence[NodeArg]:
        """Return the outputs."""
        return self._outputs_meta

    def get_overridable_initializers(self) -> Sequence[NodeArg]:
        """Return the initializers a feed may replace."""
        return self._overridable_initializers

    def get_modelmeta(self) -> ModelMetadata:
        """Return what the model's file says about the model."""
        return self._model_meta

    def get_providers(self) -> Sequence[str]:
        """Return the execution providers the session runs on, on the slice's device."""
        return self._providers

    def get_provider_options(self) -> dict[str, dict[str, str]]:
        """Return the options each provider was asked for with; those of the device are the agent's."""
        return self._provider_options

    def get_input_memory_infos(self) -> Sequence[Any]:
        """Return one memory per input: this host's."""
        return [_host_memory() for _ in self._inputs_meta]

    def get_output_memory_infos(self) -> Sequence[Any]:
        """Return one memory per output: this host's."""
        return [_host_memory() for _ in self._outputs_meta]

    def set_providers(self, providers: Providers = None, provider_options: ProviderOptions = None) -> None:
        """Open the model again with these providers."""
        self._open(providers, provider_options)

    def disable_fallback(self) -> None:
        """Raise at once where the providers asked for cannot be had."""
        self._enable_fallback = False

    def enable_fallback(self) -> None:
        """Take the slice's own providers where those asked for cannot be had, when a session is opened."""
        self._enable_fallback = True


def _host_memory() -> Any:  # noqa: ANN401 - the wheel's OrtMemoryInfo or the stand-in's
    ort = runtime()
    return ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)


def _refuse_keywords(keywords: Mapping[str, Any]) -> None:
    if keywords.get("disabled_optimizers"):
        raise limit("InferenceSession(disabled_optimizers=...)", "set SessionOptions.graph_optimization_level instead")
    configured = keywords.get("read_config_from_model", os.environ.get("ORT_LOAD_CONFIG_FROM_MODEL", "0"))
    if str(configured) == "1":
        raise limit("InferenceSession(read_config_from_model=1)", "settings in a model's file are not applied by the agent")
