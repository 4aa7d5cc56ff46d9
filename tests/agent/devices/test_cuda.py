"""What only the CUDA device does: counts ONNX Runtime's allocations, measures with events, and never runs without the GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from gpupool_agent.devices.cuda import CudaDevice
from gpupool_wire.errors import ExecutionFailed, OutOfSliceMemory, UsageError
from gpupool_wire.messages import ModelOptions
from gpupool_wire.units import MIB

Opened = Callable[..., Any]
Adding = Callable[..., bytes]
X = {"x": np.arange(8, dtype=np.float32)}


def test_device_time_is_what_the_events_measure(cuda_device: CudaDevice, opened: Opened, adding: Adding) -> None:
    program = opened(cuda_device, adding())
    assert cuda_device.run(program, X, None, {}).device_ns == 5_000_000
    cuda_device.close(program)


def test_inputs_are_copied_into_counted_memory_and_bound(
    cuda_device: CudaDevice, driver: Any, opened: Opened, adding: Adding
) -> None:
    program = opened(cuda_device, adding())
    before = driver.copies
    cuda_device.run(program, X, ["y"], {})
    assert driver.copies == before + 1
    assert cuda_device.account.peak_bytes >= 512 + MIB
    cuda_device.close(program)


def test_other_layouts_arrive_with_the_same_values(cuda_device: CudaDevice, opened: Opened, adding: Adding) -> None:
    program = opened(cuda_device, adding())
    strided = np.arange(32, dtype=np.float32)[::2]
    (y,) = cuda_device.run(program, {"x": strided}, None, {}).values
    assert np.array_equal(y, strided + 1)
    cuda_device.close(program)


def test_every_block_is_given_back_to_the_pool(cuda_device: CudaDevice, driver: Any, opened: Opened, adding: Adding) -> None:
    program = opened(cuda_device, adding(4))
    for _ in range(3):
        cuda_device.run(program, {"x": np.ones(1, np.float32)}, None, {})
    assert driver.used_bytes == cuda_device.account.used_bytes == program.weight_bytes
    cuda_device.close(program)
    assert driver.used_bytes == 0


def test_a_wrong_shape_is_never_bound_by_address(cuda_device: CudaDevice, driver: Any, opened: Opened, adding: Adding) -> None:
    program = opened(cuda_device, adding())
    before = driver.copies
    for wrong in (np.zeros((2, 2), np.float32), np.zeros(4, np.int64), np.array(["a"], object)):
        with pytest.raises(ExecutionFailed):
            cuda_device.run(program, {"x": wrong}, None, {})
    assert driver.copies == before
    cuda_device.close(program)


def test_types_without_a_plain_layout_run_through_onnxruntime(
    cuda_device: CudaDevice, driver: Any, opened: Opened, make_model: Callable[..., bytes]
) -> None:
    info = helper.make_tensor_value_info
    node = helper.make_node("Identity", ["x"], ["y"])
    values = [info("x", TensorProto.STRING, ["n"])], [info("y", TensorProto.STRING, ["n"])]
    program = opened(cuda_device, make_model(helper.make_graph([node], "texts", *values)))
    before = driver.copies
    execution = cuda_device.run(program, {"x": np.array(["slice"], object)}, None, {})
    assert execution.values[0].tolist() == ["slice"]
    assert driver.copies == before
    cuda_device.close(program)


def test_a_device_that_has_less_than_promised_is_the_slices_error(
    cuda_device: CudaDevice, driver: Any, opened: Opened, adding: Adding
) -> None:
    program = opened(cuda_device, adding())
    driver.size_bytes = 2 * MIB
    with pytest.raises(OutOfSliceMemory) as caught:
        cuda_device.run(program, {"x": np.zeros(8 * 2**18, np.float32)}, None, {})
    assert caught.value.details["asked_bytes"] == 8 * MIB
    assert driver.trims > 0
    cuda_device.close(program)


def test_the_pool_is_bounded_by_the_slice(cuda_device: CudaDevice, driver: Any) -> None:
    cuda_device.bound()
    assert driver.limit_bytes == cuda_device.account.limit_bytes
    cuda_device.resize(32 * MIB)
    assert driver.limit_bytes == 32 * MIB


def test_the_workers_own_cost_is_measured_and_not_the_slices(cuda_device: CudaDevice) -> None:
    assert cuda_device.overhead_bytes == 200 * MIB
    assert cuda_device.account.peak_bytes == 0


def test_a_provider_that_did_not_start_is_an_error(
    cuda_device: CudaDevice, opened: Opened, adding: Adding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """onnxruntime itself falls back to the CPU with a warning."""
    make_session = cuda_device._make_session
    monkeypatch.setattr(make_session, "get_providers", lambda _: ["CPUExecutionProvider"])
    with pytest.raises(UsageError, match="CUDA provider"):
        opened(cuda_device, adding())


def test_a_session_may_be_kept_on_the_cpu(cuda_device: CudaDevice, opened: Opened, adding: Adding) -> None:
    program = opened(cuda_device, adding(), ModelOptions(providers=["CPUExecutionProvider"]))
    assert program.surface.providers == ["CPUExecutionProvider"]
    cuda_device.close(program)
