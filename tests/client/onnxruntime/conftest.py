"""A slice whose worker is the local ONNX Runtime, reached through the wire's coding and nothing else."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from gpupool.protocols import CallTiming
from gpupool_wire.errors import ErrorInfo, ExecutionFailed, ModelRejected, from_info
from gpupool_wire.messages import ModelMeta, ModelOptions, TensorInfo
from gpupool_wire.tensors import Value, pack_values, unpack_values

onnxruntime.set_default_logger_severity(4)
LocalSession = onnxruntime.InferenceSession


def _reported(error: Exception, code: str) -> Exception:
    """Return an exception of ONNX Runtime as it arrives: code, text and class name, nothing else."""
    return from_info(ErrorInfo(code=code, message=str(error), details={"ort_class": type(error).__name__}))


def _across(values: Sequence[Value]) -> list[Value]:
    """Return values after a journey: packed into frames, copied, unpacked."""
    specs, frames = pack_values(values)
    return unpack_values(specs, [bytes(frame) for frame in frames])


def _infos(nodes: Sequence[Any]) -> list[TensorInfo]:
    return [TensorInfo(name=node.name, type=node.type, shape=node.shape) for node in nodes]


class LocalModel:
    """A RemoteModel that local ONNX Runtime executes."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.inputs = _infos(session.get_inputs())
        self.outputs = _infos(session.get_outputs())
        self.initializers = _infos(session.get_overridable_initializers())
        meta = session.get_modelmeta()
        self.meta = ModelMeta(**{name: getattr(meta, name) for name in ModelMeta.__struct_fields__})
        self.providers = session.get_providers()
        self.last_timing: CallTiming | None = None
        self.run_configs: list[Mapping[str, str]] = []
        self.is_closed = False

    def run(
        self, feed: Mapping[str, Value], outputs: Sequence[str] | None = None, run_config: Mapping[str, str] | None = None
    ) -> list[Value]:
        self.run_configs.append(run_config or {})
        fed = dict(zip(feed, _across(list(feed.values())), strict=True))
        try:
            results = self._session.run(outputs, fed)
        except Exception as error:
            raise _reported(error, ExecutionFailed.code) from error
        return copy.deepcopy(_across(results))  # fresh and writable, as a RemoteModel promises

    def close(self) -> None:
        self.is_closed = True


class LocalSlice:
    """A SliceLike on this machine. Keeps what it was asked for."""

    slice_id = "slice-1"
    device = "cpu-0"
    kind = "cpu"

    def __init__(self) -> None:
        self.providers = ["CPUExecutionProvider"]
        self.options: list[ModelOptions] = []
        self.models: list[LocalModel] = []
        self.refuses_external_data = False

    def open_model(self, model: Any, options: ModelOptions | None = None, *, batching: bool | None = None) -> LocalModel:
        self.batching = batching
        data = model if isinstance(model, bytes) else Path(model).read_bytes()
        if self.refuses_external_data and b"location" in data:
            raise ModelRejected("the model keeps weights in other files", reason="external_data")
        options = options or ModelOptions()
        self.options.append(options)
        settings = onnxruntime.SessionOptions()
        for key, value in options.config.items():
            settings.add_session_config_entry(key, value)
        for name, size in options.free_dimensions_by_name.items():
            settings.add_free_dimension_override_by_name(name, size)
        try:
            session = LocalSession(data, settings, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise _reported(error, ModelRejected.code) from error
        self.models.append(LocalModel(session))
        return self.models[-1]


@pytest.fixture
def local_slice() -> LocalSlice:
    return LocalSlice()


@pytest.fixture
def local_session() -> Any:
    """The genuine class, for what to compare with."""
    return LocalSession


ModelMaker = Callable[..., Any]


@pytest.fixture(scope="session")
def unary() -> ModelMaker:
    """Returns a model of one node from "x" to "y"."""

    def make(
        element: int = TensorProto.FLOAT,
        shape: Sequence[int | str | None] | None = ("N",),
        op: str = "Identity",
        domain: str = "",
        ir: int = 10,
    ) -> Any:
        node = helper.make_node(op, ["x"], ["y"], domain=domain)
        ends = [helper.make_tensor_value_info(name, element, shape) for name in "xy"]
        opsets = [helper.make_opsetid("", 20)] + ([helper.make_opsetid(domain, 1)] if domain else [])
        graph = helper.make_graph([node], "unary", ends[:1], ends[1:])
        return helper.make_model(graph, opset_imports=opsets, ir_version=ir).SerializeToString()

    return make


@pytest.fixture(scope="session")
def sequence_model() -> ModelMaker:
    """Returns a model that gives back a sequence of tensors."""

    def make(element: int = TensorProto.FLOAT) -> Any:
        ends = [helper.make_tensor_sequence_value_info(name, element, None) for name in "xy"]
        graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "sequence", ends[:1], ends[1:])
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10).SerializeToString()

    return make


@pytest.fixture(scope="session")
def optional_model() -> Any:
    """A model that says whether its optional input is there."""
    inner = helper.make_optional_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, [2]))
    graph = helper.make_graph(
        [helper.make_node("OptionalHasElement", ["x"], ["y"])],
        "optional",
        [helper.make_value_info("x", inner)],
        [helper.make_tensor_value_info("y", TensorProto.BOOL, [])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()


def _map_type(key: int) -> onnx.TypeProto:
    kind = onnx.TypeProto()
    kind.map_type.key_type = key
    kind.map_type.value_type.tensor_type.elem_type = TensorProto.FLOAT
    return kind


_ML = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 1)]


@pytest.fixture(scope="session")
def map_model() -> Any:
    """A model that takes a map from texts to numbers."""
    node = helper.make_node("DictVectorizer", ["x"], ["y"], domain="ai.onnx.ml", string_vocabulary=["a", "b"])
    ends = (
        [helper.make_value_info("x", _map_type(TensorProto.STRING))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    return helper.make_model(helper.make_graph([node], "map", *ends), opset_imports=_ML, ir_version=8).SerializeToString()


@pytest.fixture(scope="session")
def zip_model() -> Any:
    """A model that returns a list of maps."""
    result = onnx.TypeProto()
    result.sequence_type.elem_type.CopyFrom(_map_type(TensorProto.INT64))
    node = helper.make_node("ZipMap", ["x"], ["y"], domain="ai.onnx.ml", classlabels_int64s=[5, 7])
    ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])], [helper.make_value_info("y", result)]
    return helper.make_model(helper.make_graph([node], "zip", *ends), opset_imports=_ML, ir_version=8).SerializeToString()
