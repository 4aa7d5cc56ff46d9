"""What every device does, whichever its driver: opens, runs, accounts to the byte, refuses with the numbers, gives back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpupool_agent.core.ledger import Purpose
from gpupool_agent.devices import open_device
from gpupool_agent.devices.base import Account, Device
from gpupool_wire.errors import Conflict, ExecutionFailed, ModelRejected, OutOfSliceMemory, UsageError
from gpupool_wire.messages import ModelOptions
from gpupool_wire.units import MIB

Opened = Callable[..., Any]
Adding = Callable[..., bytes]
X = {"x": np.arange(8, dtype=np.float32)}


def test_a_model_shows_what_onnxruntime_shows(device: Device, opened: Opened, adding: Adding) -> None:
    program = opened(device, adding())
    surface = program.surface
    assert [(info.name, info.type, info.shape) for info in surface.inputs] == [("x", "tensor(float)", ["n"])]
    assert [info.name for info in surface.outputs] == ["y"]
    assert surface.meta.producer_name == "gpupool-tests"
    assert surface.meta.graph_name == "adding"
    assert surface.providers == list(device.providers)
    device.close(program)


def test_a_call_answers_in_the_declared_shape_and_type(device: Device, opened: Opened, adding: Adding) -> None:
    program = opened(device, adding())
    (y,) = device.run(program, X, None, {}).values
    assert (y.shape, y.dtype) == ((8,), np.float32)
    if device.kind != "null":
        assert np.array_equal(y, X["x"] + 1)
    device.close(program)


def test_weights_are_charged_while_the_program_is_open(device: Device, opened: Opened, adding: Adding) -> None:
    program = opened(device, adding(10))
    assert program.weight_bytes == pytest.approx(10 * MIB, abs=1024)
    assert device.account.by_purpose()[Purpose.WEIGHTS] == program.weight_bytes
    device.close(program)
    assert device.account.used_bytes == 0


def test_a_call_leaves_nothing_charged(device: Device, opened: Opened, adding: Adding) -> None:
    program = opened(device, adding(1))
    held = device.account.used_bytes
    for _ in range(5):
        device.run(program, {"x": np.zeros(2**18, np.float32)}, None, {})
        assert device.account.used_bytes == held
    device.close(program)


def test_weights_beyond_the_slice_are_refused_with_the_numbers(device: Device, opened: Opened, adding: Adding) -> None:
    program = opened(device, adding(40))
    with pytest.raises(OutOfSliceMemory) as caught:
        opened(device, adding(30))
    assert caught.value.details["limit_bytes"] == 64 * MIB
    assert caught.value.details["asked_bytes"] == 30 * MIB
    assert "model 123" in caught.value.message
    device.close(program)


def test_inputs_beyond_the_slice_are_refused_and_the_next_call_runs(device: Device, opened: Opened, adding: Adding) -> None:
    program = opened(device, adding())
    with pytest.raises(OutOfSliceMemory):
        device.run(program, {"x": np.zeros(80 * 2**18, np.float32)}, None, {})
    assert len(device.run(program, X, None, {}).values) == 1
    device.close(program)


def test_outputs_beyond_the_slice_are_refused(device: Device, opened: Opened, adding: Adding) -> None:
    program = opened(device, adding())
    with pytest.raises(OutOfSliceMemory):
        device.run(program, {"x": np.zeros(40 * 2**18, np.float32)}, None, {})
    device.close(program)


def test_a_missing_input_fails_in_onnxruntimes_words(device: Device, opened: Opened, adding: Adding) -> None:
    program = opened(device, adding())
    with pytest.raises(ExecutionFailed, match=r"Required inputs \(\['x'\]\) are missing from input feed \(\['z'\]\)") as caught:
        device.run(program, {"z": X["x"]}, None, {})
    assert caught.value.details["ort_class"] == "ValueError"
    device.close(program)


def test_an_unknown_output_fails(device: Device, opened: Opened, adding: Adding) -> None:
    program = opened(device, adding())
    with pytest.raises(ExecutionFailed):
        device.run(program, X, ["nothing"], {})
    device.close(program)


def test_what_is_no_model_is_rejected_and_costs_nothing(device: Device, opened: Opened) -> None:
    with pytest.raises(ModelRejected):
        device.open(
            b"\x08\x09nothing", __import__("gpupool_agent.core.model_scan").core.model_scan.ModelScan(), ModelOptions(), "m"
        )
    assert device.account.used_bytes == 0


def test_another_devices_provider_is_refused(device: Device, opened: Opened, adding: Adding) -> None:
    with pytest.raises(UsageError, match="OtherExecutionProvider"):
        opened(device, adding(), ModelOptions(providers=["OtherExecutionProvider"]))


def test_the_slice_grows_at_once_and_shrinks_to_its_use(device: Device, opened: Opened, adding: Adding) -> None:
    if device.kind != "cpu":  # which would bound this very process; a worker's test does that
        device.bound()
    program = opened(device, adding(40))
    with pytest.raises(Conflict, match=r"40\.0 MiB"):
        device.resize(30 * MIB)
    assert device.account.limit_bytes == 64 * MIB
    device.resize(128 * MIB)
    larger = opened(device, adding(60))
    device.close(larger)
    device.resize(100 * MIB)
    assert len(device.run(program, {"x": np.ones(1, np.float32)}, None, {}).values) == 1
    device.close(program)


def test_threads_may_open_and_run_at_the_same_time(device: Device, opened: Opened, adding: Adding) -> None:
    program = opened(device, adding(2))
    failures: list[BaseException] = []

    def run() -> None:
        try:
            for size in range(1, 40):
                (y,) = device.run(program, {"x": np.ones(2 * 2**18, np.float32)}, None, {}).values
                assert y.shape == (2 * 2**18,)
                if size % 13 == 0:
                    device.close(opened(device, adding(1)))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not failures
    device.close(program)


def test_an_unknown_kind_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="abacus"):
        open_device("abacus", Account(1), index=0, threads=1)
