"""The PP-OCR models of rapidocr's wheel, with their edges moved onto the device.

    uint8 image ══ Cast, scale, transpose ══> network ══ ArgMax, ReduceMax ══> indexes and scores

Normalisation at the front takes the image as uint8, a quarter of the bytes, a twelfth where it is grey. At the back,
recognition gives 18,710 probabilities per step of which only the largest is ever read: ArgMax and ReduceMax on the device leave
8 bytes of 74,840. The detector's map comes back as uint8. All of it is ONNX operators, so the models still run everywhere ONNX
does.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from gpupool_wire.errors import UsageError

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
    """Return the model with a uint8 (N, H, W, C) input in place of its float (N, 3, H, W) one: x / 127.5 - 1 happens inside.

    C is 3, or 1 for grey images, which are made three equal colours inside: scans are grey more often than not.

    With `padded`, a second input `widths` (int64, (N,)) says how wide each image really is and a third, `width` (int64, (1,)),
    how wide the network shall see them: what lies right of an image becomes zero in the normalised range, which no uint8 pixel
    could express (127.5). So images of unequal widths share a call, and of each the network sees what it would see of it alone.
    """
    from onnx import TensorProto, helper

    loaded = _load(model)
    graph = loaded.graph
    old = graph.input[0].name
    image = f"{_PREFIX}image"
    nodes = [
        _node("Expand", ["image", "colours"], "coloured"),
        _node("Cast", ["coloured"], "float", to=TensorProto.FLOAT),
        _node("Mul", ["float", "scale"], "scaled"),
        _node("Sub", ["scaled", "one"], "centred"),
    ]
    inputs = [helper.make_tensor_value_info(image, TensorProto.UINT8, ["N", "H", "W", "C"])]
    if padded:
        nodes += _blank_beyond_widths()
        inputs.append(helper.make_tensor_value_info(f"{_PREFIX}widths", TensorProto.INT64, ["N"]))
        inputs.append(helper.make_tensor_value_info(f"{_PREFIX}width", TensorProto.INT64, [1]))
    nodes.append(_node("Transpose", ["padded" if padded else "centred"], "planes", perm=[0, 3, 1, 2]))
    nodes[-1].output[0] = old
    graph.initializer.extend(_constants(padded))
    del graph.input[0]
    for position, info in enumerate(inputs):
        graph.input.insert(position, info)
    for position, node in enumerate(nodes):
        graph.node.insert(position, node)
    return bytes(loaded.SerializeToString())


def _node(kind: str, inputs: list[str], output: str, **attributes: int | list[int]) -> Any:  # noqa: ANN401 - onnx is imported lazily
    """Return a node between tensors of ours."""
    from onnx import helper

    return helper.make_node(kind, [_PREFIX + name for name in inputs], [_PREFIX + output], **attributes)


def _blank_beyond_widths() -> list[Any]:
    """Return the nodes that zero what lies right of each image's own width, and widen the batch to `width`."""
    return [
        _node("Shape", ["image"], "shape"),
        _node("Gather", ["shape", "axis_w"], "now"),
        _node("Range", ["from", "now", "step"], "columns"),
        _node("Unsqueeze", ["widths", "axis_1"], "limits"),
        _node("Less", ["columns", "limits"], "inside"),
        _node("Unsqueeze", ["inside", "axes_1_3"], "visible"),
        _node("Where", ["visible", "centred", "zero"], "blanked"),
        _node("Sub", ["width", "now"], "missing"),
        _node("Concat", ["none", "missing", "last"], "pads", axis=0),
        _node("Pad", ["blanked", "pads"], "padded"),
    ]


def _constants(padded: bool) -> list[Any]:
    """Return the constants that the nodes above read."""
    import numpy as np
    from onnx import numpy_helper

    values: dict[str, Any] = {"scale": np.float32(1 / 127.5), "one": np.float32(1.0), "colours": np.array([1, 1, 1, 3], np.int64)}
    if padded:
        values |= {"axis_w": np.int64(2), "from": np.int64(0), "step": np.int64(1), "zero": np.float32(0.0)}
        values |= {"axis_1": np.array([1], np.int64), "axes_1_3": np.array([1, 3], np.int64)}
        # Pads of (N, H, W, 3): nothing before and behind but `missing` columns behind the images.
        values |= {"none": np.zeros(6, np.int64), "last": np.zeros(1, np.int64)}
    return [numpy_helper.from_array(np.asarray(value), _PREFIX + name) for name, value in values.items()]


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


class BadRecognizer(UsageError):
    """A model is no recogniser of lines."""

    code = "bad_recognizer"


def with_recognizer(model: bytes, source: str) -> ModelSet:
    """Return the packaged models with another recogniser, as PP-OCR ships them or `gpupool ocr tune` writes them.

    Raises BadRecognizer, naming `source`, where it is no ONNX model, names no characters, or has other classes than characters.
    """
    import onnx

    try:
        loaded = onnx.load_model_from_string(model)
    except Exception as error:
        raise BadRecognizer(f"{source} is no ONNX model: {error}") from error
    check_classes(loaded, source)
    recognition = with_best_class_only(with_uint8_input(model, padded=True))
    return ModelSet(detection=packaged_models().detection, recognition=recognition, direction=packaged_models().direction)


def check_classes(model: Any, source: str) -> None:  # noqa: ANN401 - onnx is imported lazily
    """Raise BadRecognizer where a recogniser's classes are not its characters, the blank and the space."""
    characters = next((entry.value.splitlines() for entry in model.metadata_props if entry.key == "character"), None)
    if characters is None:
        raise BadRecognizer(f"{source} does not say its characters (metadata `character`, one a line)")
    if len(model.graph.input) != 1 or len(model.graph.output) != 1:
        raise BadRecognizer(
            f"{source} has {len(model.graph.input)} inputs and {len(model.graph.output)} outputs: one each is needed"
        )
    dimensions = model.graph.output[0].type.tensor_type.shape.dim
    classes = dimensions[2].dim_value if len(dimensions) == 3 else 0
    if classes != len(characters) + 2:
        raise BadRecognizer(
            f"{source} has {classes} classes and {len(characters)} characters: with the blank and the space, "
            f"{len(characters) + 2} classes are needed"
        )
