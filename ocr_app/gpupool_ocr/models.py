"""The PP-OCR models of rapidocr's wheel, with their edges moved onto the device.

    uint8 image ══ Cast, scale, transpose ══> network ══ ArgMax, ReduceMax ══> indexes and scores

Normalisation at the front takes the image as uint8, a quarter of the bytes. At the back, recognition gives 18,710
probabilities per step of which only the largest is ever read: ArgMax and ReduceMax on the device leave 8 bytes of 74,840.
The detector's map comes back as uint8. All of it is ONNX operators, so the models still run everywhere ONNX does.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

_OPSET = 13
DETECTION = "PP-OCRv6_det_small.onnx"
RECOGNITION = "PP-OCRv6_rec_small.onnx"
DIRECTION = "ch_ppocr_mobile_v2.0_cls_mobile.onnx"
_PREFIX = "gpupool_"


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSet:
    """The three networks of a pipeline, ready to be opened."""

    detection: bytes
    recognition: bytes
    direction: bytes


@cache
def packaged_models() -> ModelSet:
    """Return the PP-OCRv6 models of rapidocr's wheel with device-side edges; about 33 MB, made once a process."""
    folder = files("rapidocr") / "models"
    return ModelSet(
        detection=with_map_as_uint8(with_uint8_input((folder / DETECTION).read_bytes())),
        recognition=with_best_class_only(with_uint8_input((folder / RECOGNITION).read_bytes(), padded=True)),
        direction=with_uint8_input((folder / DIRECTION).read_bytes(), padded=True),
    )


def _load(model: bytes) -> Any:  # noqa: ANN401 - onnx is imported lazily
    import onnx
    from onnx import version_converter

    loaded = onnx.load_model_from_string(model)
    if max(entry.version for entry in loaded.opset_import if entry.domain in ("", "ai.onnx")) < _OPSET:
        loaded = version_converter.convert_version(loaded, _OPSET)
    return loaded


def with_uint8_input(model: bytes, *, padded: bool = False) -> bytes:
    """Return the model with a uint8 (N, H, W, 3) input in place of its float (N, 3, H, W) one: x / 127.5 - 1 happens inside.

    With `padded`, a second input `width` (int64, (1,)) says how wide the image shall be: zeros of the normalised range follow
    it on the right, which no uint8 pixel could express (127.5).
    """
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    loaded = _load(model)
    graph = loaded.graph
    old = graph.input[0].name
    new = f"{_PREFIX}image"
    constants: dict[str, Any] = {"scale": np.float32(1 / 127.5), "one": np.float32(1.0)}
    nodes = [
        helper.make_node("Cast", [new], [f"{_PREFIX}float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{_PREFIX}float", f"{_PREFIX}scale"], [f"{_PREFIX}scaled"]),
        helper.make_node("Sub", [f"{_PREFIX}scaled", f"{_PREFIX}one"], [f"{_PREFIX}centred"]),
        helper.make_node("Transpose", [f"{_PREFIX}centred"], [f"{_PREFIX}planes" if padded else old], perm=[0, 3, 1, 2]),
    ]
    inputs = [helper.make_tensor_value_info(new, TensorProto.UINT8, ["N", "H", "W", 3])]
    if padded:
        constants |= {"axis": np.array([3], np.int64), "end": np.array([4], np.int64), "none": np.zeros(7, np.int64)}
        nodes += [
            helper.make_node("Shape", [f"{_PREFIX}planes"], [f"{_PREFIX}shape"]),
            helper.make_node("Slice", [f"{_PREFIX}shape", f"{_PREFIX}axis", f"{_PREFIX}end"], [f"{_PREFIX}now"]),
            helper.make_node("Sub", [f"{_PREFIX}width", f"{_PREFIX}now"], [f"{_PREFIX}missing"]),
            helper.make_node("Concat", [f"{_PREFIX}none", f"{_PREFIX}missing"], [f"{_PREFIX}pads"], axis=0),
            helper.make_node("Pad", [f"{_PREFIX}planes", f"{_PREFIX}pads"], [old]),
        ]
        inputs.append(helper.make_tensor_value_info(f"{_PREFIX}width", TensorProto.INT64, [1]))
    for name, value in constants.items():
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), f"{_PREFIX}{name}"))
    del graph.input[0]
    for position, info in enumerate(inputs):
        graph.input.insert(position, info)
    for position, node in enumerate(nodes):
        graph.node.insert(position, node)
    return bytes(loaded.SerializeToString())


def with_best_class_only(model: bytes) -> bytes:
    """Return a recogniser whose outputs are `best` (int32, (N, T)), the index of the likeliest class, and `score` (float32)."""
    from onnx import TensorProto, helper

    loaded = _load(model)
    graph = loaded.graph
    old = graph.output[0].name
    graph.node.append(helper.make_node("ArgMax", [old], [f"{_PREFIX}best"], axis=2, keepdims=0))
    graph.node.append(helper.make_node("Cast", [f"{_PREFIX}best"], ["best"], to=TensorProto.INT32))
    graph.node.append(helper.make_node("ReduceMax", [old], ["score"], axes=[2], keepdims=0))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("best", TensorProto.INT32, ["N", "T"]))
    graph.output.append(helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N", "T"]))
    return bytes(loaded.SerializeToString())


def with_map_as_uint8(model: bytes) -> bytes:
    """Return a detector whose map of probabilities is rounded to uint8, 255 for certain."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    loaded = _load(model)
    graph = loaded.graph
    old = graph.output[0].name
    graph.initializer.append(numpy_helper.from_array(np.float32(255.0).reshape(()), f"{_PREFIX}full"))
    graph.node.append(helper.make_node("Mul", [old, f"{_PREFIX}full"], [f"{_PREFIX}stretched"]))
    graph.node.append(helper.make_node("Round", [f"{_PREFIX}stretched"], [f"{_PREFIX}rounded"]))
    graph.node.append(helper.make_node("Cast", [f"{_PREFIX}rounded"], ["map"], to=TensorProto.UINT8))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("map", TensorProto.UINT8, ["N", 1, "H", "W"]))
    return bytes(loaded.SerializeToString())
