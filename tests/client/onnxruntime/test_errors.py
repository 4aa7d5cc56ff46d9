"""What a worker reports, as the exception a program expects."""

from __future__ import annotations

import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as state

from gpupool.onnxruntime.errors import limit, loading_text, ort_error, status_text, translated
from gpupool_wire.errors import ExecutionFailed, GpupoolError, LeaseLost, ModelRejected

STATUS = "[ONNXRuntimeError] : 10 : INVALID_GRAPH : "


def test_classes_of_onnx_runtime_and_of_python() -> None:
    assert type(ort_error("InvalidGraph", "text")) is state.InvalidGraph
    assert type(ort_error("ValueError", "text")) is ValueError
    assert type(ort_error("SystemExit", "text")) is RuntimeError
    assert type(ort_error("InferenceSession", "text")) is RuntimeError
    assert str(ort_error("InvalidGraph", "text")) == "text"


def test_the_cause_is_kept() -> None:
    with pytest.raises(state.Fail, match=r"^text$") as caught, translated():
        raise ExecutionFailed("text", ort_class="Fail")
    assert isinstance(caught.value.__cause__, ExecutionFailed)


def test_what_is_not_onnx_runtime_s_passes_as_it_is() -> None:
    for error in (LeaseLost("gone"), ModelRejected("weights in other files"), ExecutionFailed("worker's own")):
        with pytest.raises(type(error)) as caught, translated("model.onnx"):
            raise error
        assert caught.value is error


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (f"{STATUS}bad node", f"{STATUS}Load model from m.onnx failed:bad node"),
        (
            "[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Failed to load model because protobuf parsing failed.",
            "[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Load model from m.onnx failed:Protobuf parsing failed.",
        ),
        ("[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : Could not find an implementation for Relu(14) node with name ''", None),
        ("no status", None),
    ],
)
def test_texts_of_files_differ_from_those_of_bytes(message: str, shown: str | None) -> None:
    assert loading_text(message, "m.onnx") == (shown or message)
    assert loading_text(message, None) == message


def test_callbacks_see_the_text_without_its_status() -> None:
    assert status_text(state.InvalidGraph(f"{STATUS}bad node")) == "bad node"
    assert status_text(ValueError("plain")) == "plain"


def test_a_limit_is_named_and_is_a_gpupool_error() -> None:
    error = limit("IOBinding.x", "why")
    assert str(error) == "IOBinding.x cannot work on a remote slice: why"
    assert isinstance(error, GpupoolError)
    assert isinstance(error, RuntimeError)
