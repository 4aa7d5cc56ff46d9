"""The CUDA device on a real GPU: run with `pytest -m gpu` where CuPy and onnxruntime's CUDA provider are installed."""

from __future__ import annotations

import gc
import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from gpupool_agent.core.ledger import Purpose
from gpupool_agent.core.model_scan import scan_model
from gpupool_agent.devices.base import Account, Program
from gpupool_wire.errors import Conflict, ExecutionFailed, OutOfSliceMemory
from gpupool_wire.messages import ModelOptions
from gpupool_wire.units import MIB

# onnxruntime warns about its environment (telemetry, NUMA) where it pleases.
pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore")]
cupy = pytest.importorskip("cupy", reason="needs CuPy")
LIMIT_BYTES = 2048 * MIB


def serialized(nodes: list[Any], inputs: list[Any], outputs: list[Any], stored: list[Any]) -> bytes:
    graph = helper.make_graph(nodes, "g", inputs, outputs, stored)
    return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString())


def products(size: int, steps: int) -> bytes:
    """x times a random orthogonal-ish matrix, several times: compute-bound."""
    info, rng = helper.make_tensor_value_info, np.random.default_rng(7)
    weights = rng.standard_normal((size, size), dtype=np.float32) / np.sqrt(size, dtype=np.float32)
    nodes = [helper.make_node("MatMul", [f"x{i}", "w"], [f"x{i + 1}"]) for i in range(steps)]
    return serialized(
        nodes,
        [info("x0", TensorProto.FLOAT, ["rows", size])],
        [info(f"x{steps}", TensorProto.FLOAT, ["rows", size])],
        [numpy_helper.from_array(weights.astype(np.float32), "w")],
    )


def convolutions(channels: int = 32) -> bytes:
    """Three convolutions with ReLU, as the front of a recognition model."""
    info, rng = helper.make_tensor_value_info, np.random.default_rng(3)
    nodes, stored = [], []
    for i, (ins, outs) in enumerate([(3, channels), (channels, channels), (channels, 8)]):
        kernel = (rng.standard_normal((outs, ins, 3, 3)) * 0.1).astype(np.float32)
        stored.append(numpy_helper.from_array(kernel, f"k{i}"))
        nodes.append(helper.make_node("Conv", [f"x{i}", f"k{i}"], [f"c{i}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"x{i + 1}"]))
    shape = ["n", 3, "h", "w"]
    return serialized(nodes, [info("x0", TensorProto.FLOAT, shape)], [info("x3", TensorProto.FLOAT, ["n", 8, "h", "w"])], stored)


def filling() -> bytes:
    info = helper.make_tensor_value_info
    value = helper.make_tensor("value", TensorProto.FLOAT, [1], [1.0])
    node = helper.make_node("ConstantOfShape", ["shape"], ["f"], value=value)
    add = helper.make_node("Mul", ["f", "f"], ["y"])
    return serialized([node, add], [info("shape", TensorProto.INT64, [1])], [info("y", TensorProto.FLOAT, ["n"])], [])


@pytest.fixture(scope="module")
def cuda() -> Any:
    """The device; its slice is resized back by whoever resizes it."""
    from gpupool_agent.devices.cuda import CudaDevice

    device = CudaDevice(Account(LIMIT_BYTES), index=0, threads=4)
    device.bound()
    return device


@pytest.fixture
def opened(cuda: Any) -> Iterator[Callable[[bytes], Program]]:
    """Open models; they are closed, and everything is given back, when the test is over."""
    programs: list[Program] = []

    def open_model(model: bytes) -> Program:
        digest = hashlib.sha256(model).hexdigest()[:8]
        programs.append(cuda.open(model, scan_model(memoryview(model)), ModelOptions(), f"model {digest}"))
        return programs[-1]

    yield open_model
    for program in programs:
        cuda.close(program)
    gc.collect()
    assert cuda.account.used_bytes == 0, cuda.account.by_purpose()
    assert cuda.account.limit_bytes == LIMIT_BYTES


def locally(model: bytes, feed: dict[str, Any]) -> list[Any]:
    import onnxruntime as ort

    return list(ort.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, feed))


def test_the_fixed_cost_of_a_worker_is_measured(cuda: Any) -> None:
    print(f"\nfixed cost of a CUDA worker: {cuda.overhead_bytes / MIB:.0f} MiB")
    assert 50 * MIB < cuda.overhead_bytes < 4096 * MIB


@pytest.mark.parametrize("rows", [1, 33, 700])
def test_products_are_right_to_rounding(cuda: Any, opened: Any, rows: int) -> None:
    model = products(512, 3)
    x = np.random.default_rng(1).standard_normal((rows, 512)).astype(np.float32)
    program = opened(model)
    assert program.surface.providers[0] == "CUDAExecutionProvider"
    (y,) = cuda.run(program, {"x0": x}, None, {}).values
    np.testing.assert_allclose(y, locally(model, {"x0": x})[0], rtol=2e-2, atol=2e-2)  # TF32 is on, as it is locally


def test_convolutions_of_changing_shapes_are_right_to_rounding(cuda: Any, opened: Any) -> None:
    model, rng = convolutions(), np.random.default_rng(2)
    program = opened(model)
    for shape in ((1, 3, 48, 320), (6, 3, 48, 200), (1, 3, 17, 33)):
        x = rng.standard_normal(shape).astype(np.float32)
        (y,) = cuda.run(program, {"x0": x}, None, {}).values
        np.testing.assert_allclose(y, locally(model, {"x0": x})[0], rtol=2e-2, atol=2e-2)


def test_the_same_call_gives_the_same_bits(cuda: Any, opened: Any) -> None:
    program = opened(convolutions())
    x = np.random.default_rng(5).standard_normal((2, 3, 48, 320)).astype(np.float32)
    first, *others = (cuda.run(program, {"x0": x}, None, {}).values[0] for _ in range(4))
    assert all(np.array_equal(first, other) for other in others)


def test_weights_and_activations_are_counted(cuda: Any, opened: Any) -> None:
    program = opened(products(4096, 2))
    assert program.weight_bytes >= 64 * MIB
    assert cuda.account.by_purpose()[Purpose.WEIGHTS] == program.weight_bytes
    held = cuda.account.used_bytes
    cuda.run(program, {"x0": np.ones((4096, 4096), np.float32)}, None, {})
    assert cuda.account.peak_bytes >= held + 2 * 64 * MIB  # the input, and at least one product
    assert cuda.account.used_bytes == held


def test_device_time_is_within_the_wall_time(cuda: Any, opened: Any) -> None:
    program = opened(products(2048, 30))
    feed = {"x0": np.ones((2048, 2048), np.float32)}
    for _ in range(3):
        cuda.run(program, feed, None, {})
    started = time.perf_counter_ns()
    execution = cuda.run(program, feed, None, {})
    wall_ns = time.perf_counter_ns() - started
    assert execution.device_ns is not None
    print(f"\ndevice {execution.device_ns / 1e6:.2f} ms of {wall_ns / 1e6:.2f} ms wall")
    assert wall_ns * 0.3 < execution.device_ns <= wall_ns


@pytest.mark.parametrize("gib", [3, 30, 3000])
def test_more_than_the_slice_is_refused_and_the_next_call_runs(cuda: Any, opened: Any, gib: int) -> None:
    program = opened(filling())
    for _ in range(3):
        with pytest.raises(OutOfSliceMemory) as caught:
            cuda.run(program, {"shape": np.array([gib * 2**28])}, None, {})
        assert caught.value.details["limit_bytes"] == LIMIT_BYTES
    (y,) = cuda.run(program, {"shape": np.array([2**20])}, None, {}).values
    assert y.sum() == 2**20


def test_weights_beyond_the_slice_are_refused(cuda: Any, opened: Any) -> None:
    opened(products(8192, 1))  # 256 MiB
    cuda.resize(300 * MIB)
    try:
        with pytest.raises(OutOfSliceMemory):
            opened(products(4096, 1))
        with pytest.raises(Conflict):
            cuda.resize(100 * MIB)
    finally:
        cuda.resize(LIMIT_BYTES)
    opened(products(4096, 1))


def test_a_wrong_shape_fails_in_onnxruntimes_words(cuda: Any, opened: Any) -> None:
    program = opened(products(512, 1))
    with pytest.raises(ExecutionFailed) as caught:
        cuda.run(program, {"x0": np.ones((3, 100), np.float32)}, None, {})
    assert caught.value.details["ort_class"] == "InvalidArgument"


def test_threads_open_run_and_close_at_the_same_time(cuda: Any, opened: Any) -> None:
    program = opened(convolutions())
    x = np.ones((1, 3, 48, 320), np.float32)
    expected = cuda.run(program, {"x0": x}, None, {}).values[0]
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            model = products(256 + number, 2)
            for _ in range(20):
                assert np.array_equal(cuda.run(program, {"x0": x}, None, {}).values[0], expected)
                other = cuda.open(model, scan_model(memoryview(model)), ModelOptions(), f"model of thread {number}")
                cuda.run(other, {"x0": np.ones((4, 256 + number), np.float32)}, None, {})
                cuda.close(other)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert not failures


def test_a_worker_serves_the_gpu_over_its_socket(tmp_path: Path) -> None:
    import zmq

    from gpupool_agent.standalone import StandaloneWorker
    from gpupool_wire import messages as m
    from gpupool_wire.codec import FROM_WORKER, encode
    from gpupool_wire.tensors import pack_values, unpack_values

    model = convolutions()
    sha256 = hashlib.sha256(model).hexdigest()
    x = np.random.default_rng(9).standard_normal((1, 3, 48, 320)).astype(np.float32)
    with StandaloneWorker(tmp_path, kind="cuda", memory_mib=1024) as worker, zmq.Context() as context:
        print(f"\nworker's fixed cost: {worker.ready.overhead_bytes / MIB:.0f} MiB")
        socket = context.socket(zmq.DEALER)
        socket.linger = 0
        socket.rcvtimeo = 60_000
        socket.connect(worker.address)

        def ask(message: m.Message, frames: Any = ()) -> tuple[Any, Any]:
            socket.send_multipart(encode(message, frames))
            while True:
                answer, rest = FROM_WORKER.decode([part.buffer for part in socket.recv_multipart(copy=False)])
                if not isinstance(answer, m.Probe):
                    return answer, rest

        assert isinstance(ask(m.Join(version=m.PROTOCOL_VERSION, ticket=worker.admit("link")))[0], m.Joined)
        request = m.OpenModel(call_id=1, sha256=sha256, nbytes=len(model))
        assert isinstance(ask(request)[0], m.ModelMissing)
        assert isinstance(ask(m.PutModel(call_id=2, sha256=sha256, offset=0, nbytes=len(model)), [model])[0], m.ModelStored)
        opened, _ = ask(request)
        assert isinstance(opened, m.SessionOpened), opened
        assert opened.providers[0] == "CUDAExecutionProvider"
        specs, frames = pack_values([x])
        durations = []
        for _ in range(200):
            began = time.perf_counter()
            result, tensors = ask(m.Run(call_id=3, session_id=opened.session_id, feed=[("x0", specs[0])]), frames)
            durations.append(time.perf_counter() - began)
            assert isinstance(result, m.Result), result
        (y,) = unpack_values(result.outputs, tensors)
        np.testing.assert_allclose(y, locally(model, {"x0": x})[0], rtol=2e-2, atol=2e-2)
        print(f"round trip {np.median(durations) * 1e6:.0f} us, of which executed {result.timing.execute_ns / 1e3:.0f} us")
        socket.close()
