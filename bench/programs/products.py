"""A model whose calls take as long as one likes: a chain of matrix products."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from gpupool import Slice
from gpupool_wire.messages import ModelOptions

SIZE = 192


def products(steps: int) -> bytes:
    """A chain of matrix products: a call's length is proportional to `steps`."""
    info, rng = helper.make_tensor_value_info, np.random.default_rng(1)
    weights = rng.standard_normal((SIZE, SIZE), dtype=np.float32) / np.float32(np.sqrt(SIZE))
    nodes = [helper.make_node("MatMul", [f"x{i}", "w"], [f"x{i + 1}"]) for i in range(steps)]
    shape = [SIZE, SIZE]
    graph = helper.make_graph(
        nodes,
        "g",
        [info("x0", TensorProto.FLOAT, shape)],
        [info(f"x{steps}", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(weights, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


def steps_of(slice_: Slice, call_ms: float) -> int:
    """Return how many steps take so long on the slice's device."""
    options = ModelOptions(intra_op_num_threads=1, inter_op_num_threads=1)
    probe = slice_.open_model(products(200), options)
    for _ in range(5):
        probe.run({"x0": np.ones((SIZE, SIZE), np.float32)})
    timing = probe.last_timing
    probe.close()
    return max(1, round(200 * call_ms * 1e6 / timing.execute_ns)) if timing else 200
