"""Taking a recogniser apart and putting it together: what comes out reads as what went in."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from gpupool_ocr.models import RECOGNITION, BadRecognizer
from gpupool_ocr.training.graph import Parts, put_together, take_apart


@pytest.fixture(scope="module")
def parts() -> Parts:
    return take_apart((files("rapidocr") / "models" / RECOGNITION).read_bytes(), RECOGNITION)


def session(model: bytes) -> ort.InferenceSession:
    return ort.InferenceSession(model, providers=["CPUExecutionProvider"])


def test_features_times_head_is_what_the_whole_model_says(parts: Parts) -> None:
    images = np.random.default_rng(1).integers(0, 256, (2, 48, 160, 3), np.uint8)
    feed = {"gpupool_image": images, "gpupool_widths": np.array([160, 90]), "gpupool_width": np.array([160])}
    (features,) = session(parts.features).run(None, feed)
    logits = features @ parts.head.weight + parts.head.bias
    planes = images.astype(np.float32).transpose(0, 3, 1, 2) / 127.5 - 1
    planes[1, :, :, 90:] = 0
    (whole,) = session(parts.whole).run(None, {"x": planes})
    softmax = np.exp(logits - logits.max(2, keepdims=True))
    # Normalising inside and outside of the graph rounds differently, and noise is far from what the network has seen.
    np.testing.assert_allclose(softmax / softmax.sum(2, keepdims=True), whole, atol=1e-3)
    assert (logits.argmax(2) == whole.argmax(2)).mean() > 0.95


def test_the_same_head_put_back_changes_nothing(parts: Parts) -> None:
    again = take_apart(put_together(parts, parts.head), "again")
    assert (again.head.weight == parts.head.weight).all()
    assert again.head.characters == parts.head.characters


def test_new_characters_come_before_the_space_and_are_not_likely(parts: Parts) -> None:
    wider = parts.head.with_characters(["ꙮ"])
    model = put_together(parts, wider)
    (output,) = session(model).run(None, {"x": np.zeros((1, 3, 48, 64), np.float32)})
    assert output.shape[2] == len(parts.head.characters) + 1
    assert take_apart(model, "wider").head.characters[-2:] == ("ꙮ", " ")
    assert output[0, :, -2].max() < 0.01


def small(*, bias: bool = True, classes: int = 4, characters: str | None = "a\nb") -> bytes:
    """A model that ends as a recogniser does, or nearly."""
    weight = helper.make_tensor("w", TensorProto.FLOAT, [3, classes], np.ones(3 * classes))
    offset = helper.make_tensor("b", TensorProto.FLOAT, [classes], np.ones(classes))
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"])]
    nodes += [helper.make_node("Add", ["m", "b"], ["s"])] if bias else []
    nodes += [helper.make_node("Softmax", ["s" if bias else "m"], ["y"], axis=2)]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", "T", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", "T", classes])],
        [weight, offset],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    if characters is not None:
        onnx.helper.set_model_props(model, {"character": characters})
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        (b"no", "no ONNX model"),
        (small(characters=None), "does not say its characters"),
        (small(characters="a\nb\nc"), "4 classes and 3 characters"),
        (small(bias=False), "no head to replace"),
    ],
)
def test_what_is_no_recogniser_is_refused(model: bytes, complaint: str) -> None:
    with pytest.raises(BadRecognizer, match=complaint):
        take_apart(model, "x")


def test_what_is_behind_the_features_is_left_out(parts: Parts) -> None:
    assert len(parts.features) < len(parts.whole) - parts.head.weight.nbytes / 2
