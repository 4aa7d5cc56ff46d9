"""Taking a recogniser apart at its last projection, and putting it together again with another one.

image ──network──> features (N, T, F) ──MatMul weight, Add bias──> logits ──Softmax──> (N, T, C)
                                       └── the head: found here, replaced here
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpupool_ocr.models import BadRecognizer, check_classes, with_uint8_input

Weights = NDArray[np.float32]
_CHARACTER = "character"
#: What may stand between the projection and the output.
_PASSING = frozenset({"Identity", "Softmax", "Cast"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """The last projection of a recogniser: logits = features @ weight + bias; class 0 is the blank, the last one the space."""

    #: float32 (F, C) and (C,).
    weight: Weights
    bias: Weights
    #: The text of every class, the blank's being empty.
    characters: tuple[str, ...]

    def with_characters(self, new: list[str]) -> Head:
        """Return a head that also has these characters, none of which it has, before the space, not yet likelier than anything.

        A new class starts from no weights and the lowest bias there is.
        """
        weight = np.concatenate([self.weight[:, :-1], np.zeros((len(self.weight), len(new)), np.float32), self.weight[:, -1:]], 1)
        low = np.full(len(new), self.bias.min(), np.float32)
        bias = np.concatenate([self.bias[:-1], low, self.bias[-1:]])
        return Head(weight=weight, bias=bias, characters=(*self.characters[:-1], *new, self.characters[-1]))


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """A recogniser taken apart."""

    #: The network up to the head, with the inputs of recognition.py and the output `features`.
    features: bytes
    head: Head
    #: The recogniser as it was.
    whole: bytes


def take_apart(model: bytes, source: str) -> Parts:
    """Return the frozen part and the head of a recogniser; raise BadRecognizer where its end is no projection and softmax."""
    import onnx
    from onnx import numpy_helper

    try:
        loaded = onnx.load_model_from_string(model)
    except Exception as error:
        raise BadRecognizer(f"{source} is no ONNX model: {error}") from error
    check_classes(loaded, source)
    projection, weight, bias = _projection(loaded.graph, source)
    characters = next(entry.value for entry in loaded.metadata_props if entry.key == _CHARACTER).splitlines()
    head = Head(
        weight=np.array(numpy_helper.to_array(weight), np.float32),
        bias=np.array(numpy_helper.to_array(bias), np.float32),
        characters=("", *characters, " "),
    )
    if head.weight.shape != (len(head.weight), len(head.characters)) or head.bias.shape != (len(head.characters),):
        raise BadRecognizer(
            f"{source} projects to {head.weight.shape} with a bias of {head.bias.shape}, but names {len(characters)} characters"
        )
    return Parts(features=_cut(loaded, projection.input[0], len(head.weight)), head=head, whole=model)


def _projection(graph: Any, source: str) -> tuple[Any, Any, Any]:  # noqa: ANN401 - onnx is imported lazily
    """Return the MatMul node at the end of a graph, and the initializers of its weight and of the bias that is added."""
    makers = {name: node for node in graph.node for name in node.output}
    known = {tensor.name: tensor for tensor in graph.initializer}
    node = makers.get(graph.output[0].name)
    while node is not None and node.op_type in _PASSING:
        node = makers.get(node.input[0])
    if node is not None and node.op_type == "Add":
        names = sorted(node.input, key=lambda name: name in known)
        product = makers.get(names[0])
        while product is not None and product.op_type == "Identity":
            product = makers.get(product.input[0])
        if names[1] in known and product is not None and product.op_type == "MatMul" and product.input[1] in known:
            return product, known[product.input[1]], known[names[1]]
    raise BadRecognizer(f"{source} does not end in MatMul, Add, Softmax with weights of its own: there is no head to replace")


def _cut(loaded: Any, features: str, width: int) -> bytes:  # noqa: ANN401 - onnx is imported lazily
    """Return the model up to the tensor `features`, what is behind it left out, with uint8 images as input."""
    import onnx
    from onnx import TensorProto, helper

    graph = loaded.graph
    needed, wanted = {features}, []
    for node in reversed(graph.node):
        if needed & set(node.output):
            wanted.append(node)
            needed |= set(node.input)
    short = onnx.ModelProto()
    short.CopyFrom(loaded)
    del short.graph.node[:]
    short.graph.node.extend(reversed(wanted))
    del short.graph.initializer[:]
    short.graph.initializer.extend(tensor for tensor in graph.initializer if tensor.name in needed)
    del short.graph.output[:]
    short.graph.output.append(helper.make_tensor_value_info(features, TensorProto.FLOAT, ["N", "T", width]))
    return with_uint8_input(short.SerializeToString(), padded=True)


def put_together(parts: Parts, head: Head) -> bytes:
    """Return the recogniser with another head: a model in the form it came in, its classes and characters those of the head."""
    import onnx
    from onnx import numpy_helper

    loaded = onnx.load_model_from_string(parts.whole)
    _, weight, bias = _projection(loaded.graph, "the recogniser")
    weight.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(head.weight), weight.name))
    bias.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(head.bias), bias.name))
    loaded.graph.output[0].type.tensor_type.shape.dim[2].dim_value = len(head.characters)
    del loaded.graph.value_info[:]
    entry = next(entry for entry in loaded.metadata_props if entry.key == _CHARACTER)
    entry.value = "\n".join(head.characters[1:-1])
    return bytes(loaded.SerializeToString())
