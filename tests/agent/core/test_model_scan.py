"""What the walk over a model's bytes finds, and that it survives any bytes."""

from __future__ import annotations

import contextlib

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from gpupool_agent.core import model_scan
from gpupool_agent.core.model_scan import check_model, scan_model
from gpupool_wire.errors import GpupoolError, LimitExceeded, ModelRejected

info = helper.make_tensor_value_info
X, Y = info("x", TensorProto.FLOAT, [4]), info("y", TensorProto.FLOAT, [4])


def model_of(nodes: list[onnx.NodeProto], stored: list[onnx.TensorProto] | None = None, **imports: int) -> onnx.ModelProto:
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(domain, number) for domain, number in imports.items())]
    return helper.make_model(helper.make_graph(nodes, "g", [X], [Y], stored or []), opset_imports=opsets)


def scan(model: onnx.ModelProto) -> model_scan.ModelScan:
    return scan_model(memoryview(model.SerializeToString()))


def external() -> onnx.TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return tensor


ADD = helper.make_node("Add", ["x", "w"], ["y"])


def test_nodes_weights_and_domains_are_counted() -> None:
    stored = numpy_helper.from_array(np.ones(4, np.float32), "w")
    typed = helper.make_tensor("v", TensorProto.INT64, [3], [1, 2, 3])
    found = scan(model_of([ADD, ADD], [stored, typed], **{"com.microsoft": 1}))
    assert found.nodes == 2
    assert found.weight_bytes == 16 + 3
    assert found.domains == {"", "com.microsoft"}
    check_model(found)


def test_constants_inside_nodes_and_subgraphs_count() -> None:
    value = numpy_helper.from_array(np.ones(100, np.float32), "v")
    inner = helper.make_graph([helper.make_node("Constant", [], ["y"], value=value)], "inner", [], [Y])
    found = scan(model_of([helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)]))
    assert found.nodes == 3
    assert found.weight_bytes == 800


@pytest.mark.parametrize("place", ["initializer", "attribute", "subgraph", "sparse", "function", "training"])
def test_external_data_is_found_wherever_it_hides(place: str) -> None:
    constant = helper.make_node("Constant", [], ["w"])
    constant.attribute.append(onnx.AttributeProto(name="value", type=onnx.AttributeProto.TENSOR, t=external()))
    model = model_of([ADD])
    if place == "initializer":
        model.graph.initializer.append(external())
    elif place == "attribute":
        model.graph.node.insert(0, constant)
    elif place == "subgraph":
        inner = helper.make_graph([constant], "inner", [], [Y])
        model.graph.node.append(helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner))
    elif place == "sparse":
        model.graph.sparse_initializer.add().values.CopyFrom(external())
    elif place == "function":
        model.functions.add(name="f", domain="d").node.append(constant)
    else:
        model.training_info.add().initialization.initializer.append(external())
    with pytest.raises(ModelRejected, match="other files"):
        check_model(scan(model))


def test_the_address_marker_is_external_data() -> None:
    tensor = external()
    tensor.external_data[0].value = "*/_ORT_MEM_ADDR_/*"
    with pytest.raises(ModelRejected):
        check_model(scan(model_of([ADD], [tensor])))


def test_a_graph_given_twice_is_scanned_twice() -> None:
    """Protobuf merges repeated occurrences of a field, so the second must not go unseen."""
    clean, dirty = model_of([ADD]), model_of([ADD], [external()])
    joined = clean.SerializeToString() + dirty.SerializeToString()
    assert onnx.load_model_from_string(joined).graph.initializer[0].external_data
    with pytest.raises(ModelRejected):
        check_model(scan_model(memoryview(joined)))


def test_nodes_that_read_files_are_refused() -> None:
    with pytest.raises(ModelRejected, match="EPContext"):
        check_model(scan(model_of([helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft")])))


def test_too_many_nodes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_scan, "MAX_NODES", 3)
    with pytest.raises(LimitExceeded):
        scan(model_of([ADD] * 4))


def test_too_many_fields_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_scan, "MAX_FIELDS", 1000)
    with pytest.raises(LimitExceeded):
        scan_model(memoryview(b"\x08\x01" * 2000))


def field(number: int, payload: bytes) -> bytes:
    size, digits = len(payload), b""
    while size >= 0x80:
        digits, size = digits + bytes([size & 0x7F | 0x80]), size >> 7
    return bytes([number << 3 | 2]) + digits + bytes([size]) + payload


def nested(levels: int) -> bytes:
    graph = b""
    for _ in range(levels):
        graph = field(1, field(5, field(6, graph)))  # graph.node.attribute.g
    return field(7, graph)


def test_graphs_nested_too_deeply_are_refused() -> None:
    assert scan_model(memoryview(nested(30))).nodes == 30
    with pytest.raises(LimitExceeded, match="deeper"):
        scan_model(memoryview(nested(34)))


@given(st.binary(max_size=400))
def test_any_bytes_are_scanned_or_refused(data: bytes) -> None:
    with contextlib.suppress(ModelRejected):
        assert 0 <= scan_model(memoryview(data)).weight_bytes <= len(data)


@given(st.data())
def test_a_damaged_model_is_scanned_or_refused(data: st.DataObject) -> None:
    model = bytearray(model_of([ADD] * 3, [numpy_helper.from_array(np.ones(9, np.float32), "w")]).SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        model[data.draw(st.integers(0, len(model) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = scan_model(memoryview(bytes(model)))
    except GpupoolError:
        return
    try:
        loaded = onnx.load_model_from_string(bytes(model))
    except Exception:
        return
    hidden = any(tensor.data_location == TensorProto.EXTERNAL for tensor in loaded.graph.initializer)
    assert not hidden or found.external


@pytest.mark.parametrize(("operator", "mixes"), [("Add", False), ("NonZero", True), ("DynamicQuantizeLinear", True)])
def test_operators_that_let_rows_depend_on_one_another_are_found(operator: str, mixes: bool) -> None:
    inner = helper.make_graph([helper.make_node(operator, ["x"], ["y"])], "inner", [], [Y])
    nested = helper.make_node("SequenceMap", ["s"], ["y"], body=inner)
    assert scan(model_of([nested])).mixes_rows is mixes
