"""Models of calls: one that adds 16 numbers, one shaped as PP-OCR's recognition of a line, [1, 3, 48, 320] to [1, 40, 6625], and
one of layers that are read once for each call, [1, 1024] to [1, 1024].

The second has about a millisecond of work, the third half as much.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

SHAPE = (1, 3, 48, 320)
STEPS, CLASSES = 40, 6625
#: Decides how much there is to do: 2 * 40 * (1152 + 6625) * WIDTH operations, about a millisecond of one core at 128.
WIDTH = 128


def recognition() -> bytes:
    """The model: columns of eight pixels become features, features become scores of characters. The batch is free."""
    info, rng = helper.make_tensor_value_info, np.random.default_rng(1)
    column = SHAPE[1] * SHAPE[2] * (SHAPE[3] // STEPS)

    def weights(rows: int, columns: int, name: str) -> object:
        return numpy_helper.from_array(rng.standard_normal((rows, columns), np.float32) / np.float32(np.sqrt(rows)), name)

    nodes = [
        helper.make_node("Reshape", ["image", "columns"], ["strips"]),
        helper.make_node("MatMul", ["strips", "w1"], ["features"]),
        helper.make_node("Relu", ["features"], ["active"]),
        helper.make_node("MatMul", ["active", "w2"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "recognition",
        [info("image", TensorProto.FLOAT, ["N", *SHAPE[1:]])],
        [info("scores", TensorProto.FLOAT, ["N", STEPS, CLASSES])],
        [
            numpy_helper.from_array(np.array([-1, STEPS, column], np.int64), "columns"),
            weights(column, WIDTH, "w1"),
            weights(WIDTH, CLASSES, "w2"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def image(seed: int = 0) -> np.ndarray:
    """An input: float32 values of a real image would do as well; nothing here depends on them."""
    return np.random.default_rng(seed).standard_normal(SHAPE, np.float32)


def dense(layers: int = 4, width: int = 1024) -> bytes:
    """A model that multiplies a vector by one matrix after the other: which costs reading 16 MB of them. The batch is free."""
    info, rng = helper.make_tensor_value_info, np.random.default_rng(2)
    nodes = [helper.make_node("MatMul", [f"h{layer}", f"w{layer}"], [f"h{layer + 1}"]) for layer in range(layers)]
    weights = [
        numpy_helper.from_array(rng.standard_normal((width, width), np.float32) / np.float32(np.sqrt(width)), f"w{layer}")
        for layer in range(layers)
    ]
    ends = [info("h0", TensorProto.FLOAT, ["N", width])], [info(f"h{layers}", TensorProto.FLOAT, ["N", width])]
    model = helper.make_model(
        helper.make_graph(nodes, "dense", *ends, weights), opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    )
    return bytes(model.SerializeToString())


def doubling() -> bytes:
    """A model that adds its input to itself."""
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "g",
        [info("x", TensorProto.FLOAT, [16])],
        [info("y", TensorProto.FLOAT, [16])],
    )
    return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString())
