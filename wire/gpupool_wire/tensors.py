"""Tensors as frames: a spec in the header, then raw little-endian, C-contiguous buffers.

    array ──pack──> (spec, [memoryview, ...])  ══ frames ══>  (spec, [buffer, ...]) ──unpack──> array

Packing never copies a contiguous array, unless it is tiny: its frames are views of it. Unpacking one aligned frame gives a
read-only view of the frame; several frames (a tensor over CHUNK_BYTES) are gathered into one new array. Nothing is ever pickled:
string tensors travel as a MessagePack list of texts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from gpupool_wire.errors import LocalProtocolError, RemoteProtocolError
from gpupool_wire.gathering import Buffer as Buffer
from gpupool_wire.gathering import gather
from gpupool_wire.limits import CHUNK_BYTES, MAX_MESSAGE_BYTES, MAX_NDIM

Array = NDArray[Any]

_NATIVE = [
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
    "complex64",
    "complex128",
]
#: Element types NumPy knows only through ml_dtypes (which onnx and JAX also use); both ends need it to exchange them.
_EXTENDED = [
    "bfloat16",
    "float8_e4m3fn",
    "float8_e4m3fnuz",
    "float8_e5m2",
    "float8_e5m2fnuz",
    "float8_e8m0fnu",
    "int4",
    "uint4",
    "int2",
    "uint2",
    "float4_e2m1fn",
]
STRING = "string"
#: The coding of a tensor that travels as it is in memory. Others: see gpupool_wire.coding.
RAW = "raw"

Dimension = Annotated[int, Meta(ge=0, le=2**48)]


class TensorSpec(msgspec.Struct, frozen=True, array_like=True, tag="t"):
    """One tensor: its dtype by name, its shape, and how many frames it takes."""

    dtype: str
    shape: Annotated[tuple[Dimension, ...], Meta(max_length=MAX_NDIM)]
    frames: Annotated[int, Meta(ge=0, le=4096)]
    #: Bytes of the payload as it travels. For raw tensors that is their size in memory.
    nbytes: Annotated[int, Meta(ge=0, le=MAX_MESSAGE_BYTES)]
    coding: str = RAW
    #: Its content's digest (see gpupool_wire.coding.seen) where it is to be kept for calls that name it by that, else empty.
    digest: Annotated[bytes, Meta(max_length=32)] = b""


class NoneSpec(msgspec.Struct, frozen=True, array_like=True, tag="n"):
    """An absent optional."""


class MapSpec(msgspec.Struct, frozen=True, array_like=True, tag="m"):
    """A map from int64 or string keys to numbers, as ONNX's ZipMap returns it."""

    keys: TensorSpec
    values: TensorSpec


class SequenceSpec(msgspec.Struct, frozen=True, array_like=True, tag="s"):
    """A list of tensors, maps or absent values. ONNX nests no deeper, so neither do we."""

    items: list[TensorSpec | MapSpec | NoneSpec]


class HeldSpec(msgspec.Struct, frozen=True, array_like=True, tag="h"):
    """A tensor that stays on the device: its id there, and what it is. A caller's word for the latter is not taken."""

    id: Annotated[int, Meta(ge=0, le=2**53)]
    dtype: str = ""
    shape: Annotated[tuple[Dimension, ...], Meta(max_length=MAX_NDIM)] = ()


class SeenSpec(msgspec.Struct, frozen=True, array_like=True, tag="k"):
    """A tensor that was sent before and kept: its digest. What it is stands in the digest, and here for who only passes it on."""

    digest: Annotated[bytes, Meta(min_length=32, max_length=32)]
    dtype: str
    shape: Annotated[tuple[Dimension, ...], Meta(max_length=MAX_NDIM)]


PackedSpec = TensorSpec | NoneSpec | MapSpec | SequenceSpec
ValueSpec = PackedSpec | HeldSpec | SeenSpec
#: What a model takes and gives: arrays, lists of them, maps, None.
Value = Any

#: Both ways for the common types: looking at dtype.name takes longer than packing a small array.
_DTYPES: dict[str, np.dtype[Any]] = {name: np.dtype(name) for name in _NATIVE} | {STRING: np.dtype(object)}
_NAMES: dict[np.dtype[Any], str] = {dtype: name for name, dtype in _DTYPES.items()}
#: Up to this size a copy is quicker than a view.
_COPIED_BYTES = 4096


def dtype_named(name: str) -> np.dtype[Any]:
    """Return the NumPy dtype of a wire name; raise RemoteProtocolError for one that is not on the list or not installed."""
    if (dtype := _DTYPES.get(name)) is not None:
        return dtype
    if name in _EXTENDED:
        try:
            import ml_dtypes
        except ImportError as error:
            raise RemoteProtocolError(f"a tensor of dtype {name} needs the package ml_dtypes on this side", dtype=name) from error
        if hasattr(ml_dtypes, name):
            extended: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
            return extended
    raise RemoteProtocolError(f"dtype {name[:40]!r} is not one a tensor can have", dtype=name[:40])


def name_of(dtype: np.dtype[Any]) -> str:
    """Return the wire name of a NumPy dtype; raise LocalProtocolError where it has none."""
    if (name := _NAMES.get(dtype)) is not None:
        return name
    if dtype.kind in "OUSTV" and dtype.name not in _EXTENDED:
        if dtype.kind in "OUST":
            return STRING
        raise LocalProtocolError(f"arrays of dtype {dtype} cannot travel", dtype=str(dtype))
    if dtype.name in _NATIVE or dtype.name in _EXTENDED:
        return dtype.name
    raise LocalProtocolError(f"arrays of dtype {dtype} cannot travel", dtype=str(dtype))


def chunks(view: memoryview) -> list[memoryview]:
    """Return a payload cut into frames of at most CHUNK_BYTES, views of it."""
    return [view[start : start + CHUNK_BYTES] for start in range(0, len(view), CHUNK_BYTES)]


def _texts(array: Array) -> bytes:
    flat = array.ravel().tolist()
    try:
        return msgspec.msgpack.encode([item.decode() if isinstance(item, bytes) else str(item) for item in flat])
    except UnicodeError as error:
        raise LocalProtocolError(f"a string tensor holds bytes that are not UTF-8: {error}") from error


def pack_tensor(array: Array) -> tuple[TensorSpec, list[memoryview]]:
    """Return the spec and frames of an array; the frames are views of it where it is C-contiguous and little-endian."""
    name = name_of(array.dtype)
    if array.ndim > MAX_NDIM:
        raise LocalProtocolError(f"an array of {array.ndim} dimensions cannot travel; the limit is {MAX_NDIM}")
    if name == STRING:
        view = memoryview(_texts(array))
    else:
        if array.dtype.byteorder == ">":
            array = array.astype(array.dtype.newbyteorder("<"))
        if array.nbytes <= _COPIED_BYTES:
            payload = array.tobytes()
            frames = [memoryview(payload)] if payload else []
            return TensorSpec(name, tuple(array.shape), len(frames), len(payload)), frames
        # ascontiguousarray would turn 0-d into 1-d, hence the reshape through a flat uint8 view.
        flat = np.ascontiguousarray(array).reshape(-1)
        view = flat.view(np.uint8).data if flat.size else memoryview(b"")
    if len(view) > MAX_MESSAGE_BYTES:
        raise LocalProtocolError(
            f"a tensor of {len(view)} bytes is over the {MAX_MESSAGE_BYTES} bytes one message may carry: split it",
            nbytes=len(view),
            limit=MAX_MESSAGE_BYTES,
        )
    frames = chunks(view)
    return TensorSpec(name, tuple(array.shape), len(frames), len(view)), frames


def unpack_tensor(spec: TensorSpec, frames: Sequence[Buffer]) -> Array:
    """Return the array of a spec and its frames, read-only where it is a view of a frame.

    Raises RemoteProtocolError where spec and frames do not agree.
    """
    dtype = dtype_named(spec.dtype)
    size = math.prod(spec.shape)
    arrived = sum(map(len, frames))
    if spec.coding != RAW:
        return _decoded(spec, dtype, frames, arrived)
    expected = spec.nbytes if spec.dtype == STRING else size * dtype.itemsize
    if len(frames) != spec.frames or arrived != spec.nbytes or expected != spec.nbytes:
        raise RemoteProtocolError(
            f"a tensor of {spec.dtype}{list(spec.shape)} takes {expected} bytes; its header says {spec.nbytes} in "
            f"{spec.frames} frames and {arrived} arrived in {len(frames)}"
        )
    if spec.dtype == STRING:
        return _from_texts(spec, size, b"".join(frames))
    if not frames:
        return np.empty(spec.shape, dtype)
    array = gather(frames, spec.nbytes).view(dtype)
    if not array.flags.aligned:
        array = array.copy()  # small messages arrive inside libzmq's receive buffer, at any offset
    return array.reshape(spec.shape)


def _decoded(spec: TensorSpec, dtype: np.dtype[Any], frames: Sequence[Buffer], arrived: int) -> Array:
    """Return the array of coded frames."""
    from gpupool_wire.coding import decode_tensor  # many tensors travel raw, and programs that send no other need not wait for it

    nbytes = math.prod(spec.shape) * dtype.itemsize
    if spec.dtype == STRING or nbytes > MAX_MESSAGE_BYTES or len(frames) != spec.frames or arrived != spec.nbytes:
        raise RemoteProtocolError(
            f"a tensor of {spec.dtype}{list(spec.shape)}, {spec.coding[:40]!r} in {spec.nbytes} bytes and {spec.frames} frames, "
            f"cannot be in the {arrived} bytes and {len(frames)} frames that arrived"
        )
    return decode_tensor(spec.coding, dtype, spec.shape, nbytes, frames)


def _from_texts(spec: TensorSpec, size: int, payload: bytes) -> Array:
    try:
        texts = msgspec.msgpack.decode(payload, type=list[str])
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise RemoteProtocolError(f"the payload of a string tensor is malformed: {error}") from error
    if len(texts) != size:
        raise RemoteProtocolError(f"a string tensor of shape {list(spec.shape)} holds {size} texts, not {len(texts)}")
    array = np.empty(size, object)
    array[:] = texts
    return array.reshape(spec.shape)


#: What returns a tensor that does not travel, and how an array that does is packed.
Holder = Callable[[HeldSpec | SeenSpec], Value]
Packer = Callable[[Array], tuple[TensorSpec, list[memoryview]]]


def pack_value(value: Value, pack: Packer = pack_tensor) -> tuple[PackedSpec, list[memoryview]]:
    """Return spec and frames of an array, a list of arrays or maps, a map, or None. `pack`: how an array is packed."""
    if isinstance(value, np.ndarray):
        return pack(value)
    if value is None:
        return NoneSpec(), []
    if isinstance(value, Mapping):
        keys, key_frames = pack_tensor(np.array(list(value.keys())))
        values, value_frames = pack_tensor(np.array(list(value.values())))
        return MapSpec(keys, values), key_frames + value_frames
    if isinstance(value, list):
        items: list[TensorSpec | MapSpec | NoneSpec] = []
        frames: list[memoryview] = []
        for item in value:
            spec, item_frames = pack_value(item, pack)
            if isinstance(spec, SequenceSpec):
                raise LocalProtocolError("a sequence of sequences cannot travel: ONNX has no such type")
            items.append(spec)
            frames += item_frames
        return SequenceSpec(items), frames
    return pack(np.asarray(value))


def unpack_value(spec: ValueSpec, frames: Iterator[Buffer], held: Holder | None = None) -> Value:
    """Take this value's frames from `frames` and return the value; raise RemoteProtocolError where they do not agree.

    `held` returns what stands for a tensor that does not travel: on the device, or seen before.
    """
    match spec:
        case TensorSpec():
            return unpack_tensor(spec, list(islice(frames, spec.frames)))
        case NoneSpec():
            return None
        case SequenceSpec():
            return [unpack_value(item, frames) for item in spec.items]
        case MapSpec():
            keys, values = unpack_value(spec.keys, frames), unpack_value(spec.values, frames)
            if keys.shape != values.shape or keys.ndim != 1:
                raise RemoteProtocolError(f"a map of {keys.shape} keys and {values.shape} values is malformed")
            return dict(zip(keys.tolist(), values.tolist(), strict=True))
        case HeldSpec() | SeenSpec():
            if held is None:
                raise RemoteProtocolError(f"a tensor is said to be here already, where none is kept: {spec}")
            return held(spec)


def pack_values(values: Iterable[Value]) -> tuple[list[ValueSpec], list[memoryview]]:
    """Return the specs of several values and all their frames, in order."""
    specs: list[ValueSpec] = []
    frames: list[memoryview] = []
    for value in values:
        spec, more = pack_value(value)
        specs.append(spec)
        frames += more
    return specs, frames


def unpack_values(specs: Iterable[ValueSpec], frames: Iterable[Buffer], held: Holder | None = None) -> list[Value]:
    """Return the values of `specs` (see `unpack_value`); raise RemoteProtocolError where frames are missing or left over."""
    rest = iter(frames)
    values = [unpack_value(spec, rest, held) for spec in specs]
    if next(rest, None) is not None:
        raise RemoteProtocolError("a message carries more frames than its header names")
    return values
