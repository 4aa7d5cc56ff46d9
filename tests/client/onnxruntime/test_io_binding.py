"""Bound inputs and outputs, compared with the local binding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpupool.onnxruntime as ort

F = np.float32


@pytest.fixture
def sessions(unary: Any, local_slice: Any, local_session: Any) -> list[Any]:
    """A remote and a local session on the same model."""
    return [ort.InferenceSession(unary(), gpupool_slice=local_slice), local_session(unary())]


def test_arrays_in_and_out(sessions: list[Any]) -> None:
    for session in sessions:
        binding = session.io_binding()
        array = np.ones(2, F)
        binding.bind_cpu_input("x", array)
        binding.bind_output("y")
        array[0] = 5
        binding.synchronize_inputs()
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        assert binding.copy_outputs_to_cpu()[0].tolist() == [5, 1]
        assert binding.get_outputs()[0].numpy().tolist() == [5, 1]


def test_memory_by_address(sessions: list[Any]) -> None:
    for session in sessions:
        source, target = np.arange(3, dtype=F), np.zeros(3, F)
        binding = session.io_binding()
        binding.bind_input("x", "cpu", 0, F, source.shape, source.ctypes.data)
        binding.bind_output("y", "cpu", 0, F, target.shape, target.ctypes.data)
        session.run_with_iobinding(binding)
        assert target.tolist() == [0, 1, 2]


def test_ort_values_in_and_out(sessions: list[Any]) -> None:
    for session in sessions:
        source = ort.OrtValue.ortvalue_from_numpy(np.arange(3, dtype=F))
        target = ort.OrtValue.ortvalue_from_shape_and_type([3], F)
        binding = session.io_binding()
        binding.bind_ortvalue_input("x", source)
        binding.bind_ortvalue_output("y", target)
        session.run_with_iobinding(binding)
        assert target.numpy().tolist() == [0, 1, 2]


def test_errors_read_as_locally(sessions: list[Any]) -> None:
    def texts(session: Any) -> list[tuple[type, str]]:
        told = []

        def hear(call: Any) -> None:
            with pytest.raises(Exception) as caught:
                call()
            told.append((caught.type, str(caught.value)))

        binding = session.io_binding()
        hear(lambda: session.run_with_iobinding(binding))
        hear(lambda: binding.bind_cpu_input("z", np.ones(2, F)))
        hear(lambda: binding.bind_cpu_input("x", [1.0]))
        hear(lambda: binding.bind_output("y", buffer_ptr=1))
        binding.bind_cpu_input("x", np.ones((2, 2), F))
        binding.bind_output("y")
        hear(lambda: session.run_with_iobinding(binding))
        return told

    remote, local = map(texts, sessions)
    assert remote == local


def test_what_was_bound_can_be_forgotten(sessions: list[Any]) -> None:
    for session in sessions:
        binding = session.io_binding()
        binding.bind_cpu_input("x", np.ones(2, F))
        binding.bind_output("y")
        binding.clear_binding_outputs()
        with pytest.raises(RuntimeError, match="At least one output should be requested"):
            session.run_with_iobinding(binding)
        binding.bind_output("y")
        binding.clear_binding_inputs()
        with pytest.raises(RuntimeError, match="Error in execution"):
            session.run_with_iobinding(binding)


def test_memory_of_another_device_is_refused_by_name(sessions: list[Any]) -> None:
    binding = sessions[0].io_binding()
    with pytest.raises(RuntimeError, match=r"IOBinding.bind_input\('x', 'cuda'\) with a buffer cannot work on a remote slice"):
        binding.bind_input("x", "cuda", 0, F, [2], 4096)
    with pytest.raises(RuntimeError, match=r"IOBinding.bind_output\('y', 'cuda'\) with a buffer cannot work on a remote slice"):
        binding.bind_output("y", "cuda", 0, F, [2], 4096)
    with pytest.raises(RuntimeError, match="get_outputs_as_ortvaluevector cannot work on a remote slice"):
        binding.get_outputs_as_ortvaluevector()


def test_an_output_named_for_another_device_is_kept_here(sessions: list[Any]) -> None:
    binding = sessions[0].io_binding()
    binding.bind_cpu_input("x", np.ones(2, F))
    binding.bind_output("y", "cuda")
    sessions[0].run_with_iobinding(binding)
    assert binding.get_outputs()[0].device_name() == "cpu"


def test_a_bound_output_of_another_shape_is_refused(sessions: list[Any]) -> None:
    target = np.zeros(5, F)
    binding = sessions[0].io_binding()
    binding.bind_cpu_input("x", np.ones(2, F))
    binding.bind_output("y", "cpu", 0, F, target.shape, target.ctypes.data)
    with pytest.raises(RuntimeError, match=r"output 'y' is float32\[2\], and is bound to memory for float32\[5\]"):
        sessions[0].run_with_iobinding(binding)


def test_a_binding_belongs_to_its_session(unary: Any, local_slice: Any, sessions: list[Any]) -> None:
    other = ort.InferenceSession(unary(), gpupool_slice=local_slice)
    with pytest.raises(ValueError, match="IOBinding must be used with the session that created it"):
        other.run_with_iobinding(sessions[0].io_binding())
