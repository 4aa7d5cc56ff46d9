"""The seam between the pipelines and whoever runs their models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray


class Argument(Protocol):
    """An input or output of a model."""

    @property
    def name(self) -> str: ...


class ModelMetadata(Protocol):
    """What a model says of itself."""

    @property
    def custom_metadata_map(self) -> Mapping[str, str]: ...


class Session(Protocol):
    """The part of onnxruntime.InferenceSession that the pipelines use."""

    def run(self, output_names: Sequence[str] | None, input_feed: Mapping[str, NDArray[Any]]) -> list[Any]: ...

    def get_inputs(self) -> Sequence[Argument]: ...

    def get_modelmeta(self) -> ModelMetadata: ...


class SessionFactory(Protocol):
    """Opens models: in this process, or on a slice of the pool."""

    def open(self, model: bytes) -> Session:
        """Return a session on an ONNX model."""
