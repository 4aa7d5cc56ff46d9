"""The null device: opens real models, checks and accounts for everything, and computes nothing.

For tests of scale and of the pool itself. Outputs are zeros (empty texts, empty sequences, absent optionals) of the declared
types; a symbolic dimension takes the size of the input dimension of the same name, and 1 where there is none. It never claims
to be anything else: its provider has a name of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import onnx

from gpupool_agent.core.model_scan import NOT_PROTOBUF
from gpupool_agent.devices.base import Device, Execution, Program, Surface
from gpupool_wire.errors import ExecutionFailed, ModelRejected, UsageError
from gpupool_wire.messages import ModelMeta, ModelOptions, TensorInfo
from gpupool_wire.tensors import Value

#: ONNX element types as NodeArg spells them, and the dtype of their zeros. Sizes below a byte have no zeros in plain NumPy.
_ELEMENTS: Mapping[int, tuple[str, str]] = {
    onnx.TensorProto.FLOAT: ("float", "float32"),
    onnx.TensorProto.UINT8: ("uint8", "uint8"),
    onnx.TensorProto.INT8: ("int8", "int8"),
    onnx.TensorProto.UINT16: ("uint16", "uint16"),
    onnx.TensorProto.INT16: ("int16", "int16"),
    onnx.TensorProto.INT32: ("int32", "int32"),
    onnx.TensorProto.INT64: ("int64", "int64"),
    onnx.TensorProto.STRING: ("string", "object"),
    onnx.TensorProto.BOOL: ("bool", "bool"),
    onnx.TensorProto.FLOAT16: ("float16", "float16"),
    onnx.TensorProto.DOUBLE: ("double", "float64"),
    onnx.TensorProto.UINT32: ("uint32", "uint32"),
    onnx.TensorProto.UINT64: ("uint64", "uint64"),
    onnx.TensorProto.COMPLEX64: ("complex64", "complex64"),
    onnx.TensorProto.COMPLEX128: ("complex128", "complex128"),
}


class NullDevice(Device):
    """Computes nothing."""

    kind: ClassVar[str] = "null"
    providers: ClassVar[tuple[str, ...]] = ("NullExecutionProvider",)
    opens_in_quantum: ClassVar[bool] = False

    def _open(self, model: bytes, options: ModelOptions, name: str) -> Program:
        if unknown := [provider for provider in options.providers if provider not in self.providers]:
            raise UsageError(f"execution provider {unknown[0]!r} is not one of this device's: {', '.join(self.providers)}")
        try:
            proto = onnx.load_model_from_string(model)
        except Exception as error:  # the parser's own class, which its package does not export
            raise ModelRejected(NOT_PROTOBUF, ort_class="InvalidProtobuf") from error
        graph = proto.graph
        stored = {tensor.name for tensor in graph.initializer}
        surface = Surface(
            inputs=[_info(value) for value in graph.input if value.name not in stored],
            outputs=[_info(value) for value in graph.output],
            initializers=[_info(value) for value in graph.input if value.name in stored],
            meta=ModelMeta(
                custom_metadata_map={entry.key: entry.value for entry in proto.metadata_props},
                description=proto.doc_string,
                domain=proto.domain,
                graph_description=graph.doc_string,
                graph_name=graph.name,
                producer_name=proto.producer_name,
                version=max(0, proto.model_version),
            ),
            providers=list(self.providers),
        )
        return Program(name=name, surface=surface, handle={value.name: value.type for value in graph.output})

    def _run(
        self,
        program: Program,
        feed: Mapping[str, Value],
        outputs: Sequence[str] | None,
        config: Mapping[str, str],
        keep: Collection[str],
    ) -> Execution:
        inputs = program.surface.inputs
        if missing := [info.name for info in inputs if info.name not in feed and not info.type.startswith("optional")]:
            raise ExecutionFailed(
                f"Required inputs ({missing}) are missing from input feed ({list(feed)}).", ort_class="ValueError"
            )
        known = _sizes(inputs, feed)
        names = [info.name for info in program.surface.outputs] if outputs is None else outputs
        if unknown := [name for name in names if name not in program.handle]:
            raise ExecutionFailed(f"Invalid output name: {unknown[0]}", ort_class="InvalidArgument")
        return Execution(values=[_zeros(program.handle[name], known) for name in names])

    def _bound(self) -> None:
        """There is no driver to tell."""


def _sizes(inputs: list[TensorInfo], feed: Mapping[str, Value]) -> dict[str, int]:
    """Return the sizes of symbolic dimensions, as the inputs of a call have them."""
    known: dict[str, int] = {}
    for info in inputs:
        shape = getattr(feed.get(info.name), "shape", ())
        if len(shape) == len(info.shape):
            known |= {dim: size for dim, size in zip(info.shape, shape, strict=True) if isinstance(dim, str)}
    return known


def _zeros(kind: Any, known: Mapping[str, int]) -> Value:  # noqa: ANN401 - onnx.TypeProto, a generated class without types
    which = kind.WhichOneof("value")
    if which == "sequence_type":
        return []
    if which == "map_type":
        return {}
    if which == "optional_type":
        return None
    _, dtype = _ELEMENTS.get(kind.tensor_type.elem_type, ("", "float32"))
    shape = tuple(known.get(dim, 1) if isinstance(dim, str) else 1 if dim is None else dim for dim in _shape(kind))
    if dtype == "object":
        return np.full(shape, "", object)
    return np.zeros(shape, dtype)


def _shape(kind: Any) -> list[int | str | None]:  # noqa: ANN401 - onnx.TypeProto
    return [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None for dim in kind.tensor_type.shape.dim]


def _type_name(kind: Any) -> str:  # noqa: ANN401 - onnx.TypeProto
    """Return a type as NodeArg spells it."""
    match kind.WhichOneof("value"):
        case "sequence_type":
            return f"seq({_type_name(kind.sequence_type.elem_type)})"
        case "optional_type":
            return f"optional({_type_name(kind.optional_type.elem_type)})"
        case "map_type":
            key, _ = _ELEMENTS.get(kind.map_type.key_type, ("undefined", ""))
            return f"map({key},{_type_name(kind.map_type.value_type)})"
    element, _ = _ELEMENTS.get(kind.tensor_type.elem_type, (_other_element(kind.tensor_type.elem_type), ""))
    return f"tensor({element})"


def _other_element(number: int) -> str:
    """Return the name of an element type outside the table: bfloat16, float8e4m3fn, int4, ..."""
    name: str = onnx.TensorProto.DataType.Name(number).lower() if number in onnx.TensorProto.DataType.values() else "undefined"
    return name


def _info(value: Any) -> TensorInfo:  # noqa: ANN401 - onnx.ValueInfoProto
    return TensorInfo(name=value.name, type=_type_name(value.type), shape=_shape(value.type))
