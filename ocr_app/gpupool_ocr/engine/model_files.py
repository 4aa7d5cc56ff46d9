"""Model files of a snapshot: found, checked, and given the edges that run on the device."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from gpupool_ocr.models import packaged_models, with_best_class_only, with_map_as_uint8, with_uint8_input
from gpupool_ocr.plans.spec import ModelSpec
from gpupool_wire.errors import UsageError

PACKAGED = "packaged"
#: The largest PP-OCR server model has 170 MB.
MAX_BYTES = 512 << 20
#: Hex digits of a hash in what people read.
SHORT = 8


class ModelError(UsageError):
    """The model cannot be used."""

    code = "model"


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFile:
    """A model ready to be opened."""

    role: str
    content: bytes
    #: Of the content, which is what sessions are shared by.
    sha256: str
    #: The version people gave it, and the first digits of the file's hash.
    version: str


def load_model(name: str, spec: ModelSpec) -> ModelFile:
    """Return a model of a snapshot. Raises ModelError where it is missing, another one than meant, or does not fit its role."""
    if spec.source == PACKAGED:
        raw = content = bytes(getattr(packaged_models(), spec.role))
    else:
        raw = _read(name, Path(spec.source))
        content = _with_edges(name, spec.role, raw)
    digest = hashlib.sha256(raw).hexdigest()
    if spec.sha256 is not None and digest != spec.sha256:
        raise ModelError(f"model {name!r}: {spec.source} has SHA-256 {digest}; the snapshot wants {spec.sha256}")
    sha256 = hashlib.sha256(content).hexdigest()
    return ModelFile(role=spec.role, content=content, sha256=sha256, version=f"{spec.version}@{digest[:SHORT]}")


def _read(name: str, path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ModelError(f"model {name!r}: {path} has {path.stat().st_size} bytes; the limit is {MAX_BYTES}")
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"model {name!r}: {path} cannot be read: {error.strerror}") from error


@lru_cache(maxsize=8)
def _with_edges(name: str, role: str, raw: bytes) -> bytes:
    """Return a PP-OCR model with its edges moved onto the device, see gpupool_ocr.models."""
    import onnx

    try:
        _check(name, role, onnx.load_model_from_string(raw))
        if role == "detection":
            return with_map_as_uint8(with_uint8_input(raw))
        if role == "recognition":
            return with_best_class_only(with_uint8_input(raw, padded=True))
        return with_uint8_input(raw, padded=True)
    except ModelError:
        raise
    except Exception as error:  # onnx raises protobuf's errors and its own, and promises none
        raise ModelError(f"model {name!r} is no ONNX model that can be used: {error}") from error


def _check(name: str, role: str, model: Any) -> None:  # noqa: ANN401 - onnx is imported lazily
    """Refuse a model of another shape, and a recogniser whose classes do not fit its characters."""
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    axes = [len(value.type.tensor_type.shape.dim) for value in graph.input if value.name not in constants]
    if axes != [4] or len(graph.output) != 1:
        raise ModelError(
            f"model {name!r} has inputs of {axes} axes and {len(graph.output)} outputs; "
            f"a {role} model has one input of 4 axes and one output"
        )
    if role != "recognition":
        return
    entries = {entry.key: entry.value for entry in model.metadata_props}
    if "character" not in entries:
        raise ModelError(f"model {name!r} does not say its characters: its metadata lacks the key 'character'")
    characters = len(entries["character"].splitlines()) + 2  # the blank and the space
    shape = graph.output[0].type.tensor_type.shape.dim
    classes = shape[2].dim_value if len(shape) == 3 else 0
    if classes and classes != characters:
        raise ModelError(
            f"model {name!r} has {classes} classes, but {characters} characters with blank and space: "
            "take a model with a list of its own"
        )
