"""The seam between the pipelines and whoever runs their models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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


@dataclass(frozen=True, kw_only=True, slots=True)
class SliceWish:
    """What is asked of the pool for one slice."""

    #: For people.
    label: str
    #: Per cent of a device.
    compute: int
    #: A text such as "2GiB".
    memory: str
    #: Labels of device or node, and GPU models of which it must be one.
    labels: Mapping[str, str] = field(default_factory=dict)
    gpus: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldSlice:
    """A slice of the pool, ours until it is released."""

    factory: SessionFactory
    #: Where it is, for people: node, device, id.
    where: str
    release: Callable[[], None]


class SliceSource(SessionFactory, Protocol):
    """Opens models on a slice of its own, and holds further slices."""

    def hold(self, wish: SliceWish) -> HeldSlice:
        """Return a slice. Raises UsageError where there is no pool, SliceRefused where it does not fit."""
