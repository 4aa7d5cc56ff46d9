"""What an ONNX file contains, found without loading it.

    bytes ──walk over protobuf fields──> ModelScan(nodes, weight_bytes, external data, domains)

A model is data from a stranger. Before ONNX Runtime parses it, this walk says whether it names files outside itself (external
data, compiled contexts) and how large it is. It skips tensor contents, so it costs by the field, not by the byte: a recognition
model takes a few milliseconds. Field numbers are those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from gpupool_wire.errors import LimitExceeded, ModelRejected

#: Ten times the largest models in public collections; each node costs ONNX Runtime's optimizers memory and time.
MAX_NODES = 200_000
#: Fields walked in all: bounds the time (about a microsecond each) that a hostile file can take.
MAX_FIELDS = 8_000_000
#: Messages inside messages (a graph in an attribute of a node of a graph takes three): protobuf's own limit.
MAX_DEPTH = 100
#: What ONNX Runtime says of such bytes (they are not handed to it: its parser might see more in them than this walk does).
NOT_PROTOBUF = "[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Failed to load model because protobuf parsing failed."

_VARINT, _I64, _LEN, _I32 = 0, 1, 2, 5

#: Message kind -> field number -> kind of the message in that field. Everything not named here is skipped.
_CHILDREN: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 8: "opset", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 9: "opset", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "external": {},
    "tensor": {13: "external"},
    "opset": {},
}
#: Operators where one row's values decide what becomes of another's: scales of the whole tensor, numbers of rows that depend on
#: values, branches, random numbers. Calls of such a model are not executed as one.
ROW_MIXERS = frozenset(
    {
        b"DynamicQuantizeLinear",
        b"DynamicQuantizeMatMul",
        b"DynamicQuantizeLSTM",
        b"NonZero",
        b"NonMaxSuppression",
        b"Unique",
        b"Compress",
        b"If",
        b"Loop",
        b"Scan",
        b"RandomNormal",
        b"RandomNormalLike",
        b"RandomUniform",
        b"RandomUniformLike",
        b"Bernoulli",
        b"Multinomial",
    }
)
#: Fields of a tensor that hold its elements: float, int32, string, int64, raw, double, uint64.
_ELEMENTS = frozenset({4, 5, 6, 7, 9, 10, 11})


@dataclass(kw_only=True, slots=True)
class ModelScan:
    """What the walk found."""

    nodes: int = 0
    #: Bytes of all tensors stored in the file.
    weight_bytes: int = 0
    #: Operator domains the model imports; "" is ONNX itself.
    domains: set[str] = field(default_factory=set)
    #: Keys and values of external data entries, as written.
    external: list[str] = field(default_factory=list)
    #: Node types that read files by themselves.
    file_readers: set[str] = field(default_factory=set)
    #: Whether a node is one of ROW_MIXERS.
    mixes_rows: bool = False


class _Malformed(Exception):
    """Not protobuf."""


def scan_model(model: memoryview) -> ModelScan:
    """Return what a model contains.

    Raises ModelRejected where it is not protobuf, and LimitExceeded where it passes a limit above.
    """
    found = ModelScan()
    pending: list[tuple[str, int, int, int]] = [("model", 0, len(model), 0)]
    fields = 0
    try:
        while pending:
            kind, start, end, depth = pending.pop()
            if depth > MAX_DEPTH:
                raise LimitExceeded(f"the model nests deeper than {MAX_DEPTH} levels", limit=MAX_DEPTH)
            children = _CHILDREN[kind]
            for number, wire, at, until in _fields(model, start, end):
                fields += 1
                if wire == _LEN and number in children:
                    pending.append((children[number], at, until, depth + 1))
                _note(found, kind, number, wire, model, at, until)
                if fields > MAX_FIELDS or found.nodes > MAX_NODES:
                    raise LimitExceeded(f"the model passes {MAX_NODES} nodes or {MAX_FIELDS} fields", limit=MAX_NODES)
    except _Malformed as error:
        raise ModelRejected(NOT_PROTOBUF, ort_class="InvalidProtobuf", found=str(error)) from error
    return found


def check_model(found: ModelScan) -> None:
    """Raise ModelRejected where a model needs anything outside its own bytes."""
    if found.external:
        raise ModelRejected(
            f"the model keeps weights in other files ({'; '.join(found.external[:4])}): save it as one file, as "
            "onnx.save_model(model, path, save_as_external_data=False) does",
            reason="external_data",
        )
    if found.file_readers:
        raise ModelRejected(
            f"the model holds {', '.join(sorted(found.file_readers))}, which reads files of the machine it runs on: "
            "export it without compiled contexts",
            reason="file_reader",
        )


def _note(found: ModelScan, kind: str, number: int, wire: int, model: memoryview, at: int, until: int) -> None:
    """Write down what one field says."""
    if kind == "tensor":
        if number in _ELEMENTS:
            found.weight_bytes += until - at if wire == _LEN else 8
        elif number == 14 and wire == _VARINT and _varint(model, at, until)[0] == 1:
            found.external.append("data_location: EXTERNAL")
    elif kind == "node":
        if number == 4:
            operator = bytes(model[at:until])
            found.mixes_rows |= operator in ROW_MIXERS
            if operator == b"EPContext":
                found.file_readers.add("EPContext")
    elif kind in ("graph", "function"):
        found.nodes += number == (1 if kind == "graph" else 7) and wire == _LEN
    elif kind == "opset" and number == 1 and wire == _LEN:
        found.domains.add(bytes(model[at:until]).decode("utf-8", "replace"))
    elif kind == "external" and wire == _LEN:
        found.external.append(bytes(model[at : min(until, at + 200)]).decode("utf-8", "replace"))


def _fields(model: memoryview, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield (number, wire type, start, end of the value) of every field of one message."""
    at = start
    while at < end:
        key = model[at]
        at += 1
        if key & 0x80:
            key, at = _varint(model, at - 1, end)
        wire = key & 7
        if wire == _LEN:
            size = model[at] if at < end else 0x80
            at += 1
            if size & 0x80:
                size, at = _varint(model, at - 1, end)
            until = at + size
        elif wire == _VARINT:
            until = _varint(model, at, end)[1]
        elif wire == _I32:
            until = at + 4
        elif wire == _I64:
            until = at + 8
        else:
            raise _Malformed(f"wire type {wire} at byte {at}")
        if until > end or key < 8:
            raise _Malformed(f"a field at byte {at} ends beyond its message")
        yield key >> 3, wire, at, until
        at = until


def _varint(model: memoryview, at: int, end: int) -> tuple[int, int]:
    """Return a base-128 number of at most ten bytes and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = model[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _Malformed(f"an unfinished number at byte {at}")
