"""Settings that travel, settings that stay, and settings that are refused by name."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as local
import pytest

import gpupool.onnxruntime as ort
from gpupool.onnxruntime.facade.options import RunOptions as OwnRunOptions
from gpupool.onnxruntime.facade.options import SessionOptions as OwnOptions
from gpupool.onnxruntime.recording import _records, record_of, watch
from gpupool_wire.messages import ModelOptions


def asked(local_slice: Any, model: bytes, options: Any) -> ModelOptions:
    ort.InferenceSession(model, options, gpupool_slice=local_slice)
    wanted: ModelOptions = local_slice.options[-1]
    return wanted


def test_defaults_travel_as_nothing(unary: Any, local_slice: Any) -> None:
    assert asked(local_slice, unary(), ort.SessionOptions()) == ModelOptions()
    assert asked(local_slice, unary(), None) == ModelOptions()


def test_attributes_travel(unary: Any, local_slice: Any) -> None:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.execution_mode = ort.ExecutionMode.ORT_PARALLEL
    options.intra_op_num_threads, options.inter_op_num_threads = 2, 1
    options.enable_mem_pattern = options.enable_mem_reuse = options.enable_cpu_mem_arena = False
    options.log_severity_level, options.log_verbosity_level, options.logid = 3, 1, "mine"
    options.use_deterministic_compute = True
    assert asked(local_slice, unary(), options) == ModelOptions(
        graph_optimization_level=1,
        execution_mode=1,
        intra_op_num_threads=2,
        inter_op_num_threads=1,
        enable_mem_pattern=False,
        enable_mem_reuse=False,
        log_severity_level=3,
        log_verbosity_level=1,
        logid="mine",
        use_deterministic_compute=True,
    )


def test_write_only_settings_travel(unary: Any, local_slice: Any) -> None:
    options = ort.SessionOptions()
    options.add_session_config_entry("session.dynamic_block_base", "4")
    options.add_session_config_entry("session.dynamic_block_base", "2")
    options.add_free_dimension_override_by_name("N", 3)
    options.add_free_dimension_override_by_denotation("BATCH", int(np.int64(4)))
    assert asked(local_slice, unary(), options) == ModelOptions(
        config={"session.dynamic_block_base": "2"},
        free_dimensions_by_name={"N": 3},
        free_dimensions_by_denotation={"BATCH": 4},
    )
    session = ort.InferenceSession(unary(), options, gpupool_slice=local_slice)
    assert session.get_inputs()[0].shape == [3]


def test_a_setting_the_class_refuses_is_not_recorded() -> None:
    options = ort.SessionOptions()
    with pytest.raises(RuntimeError, match="Config key is empty"):
        options.add_session_config_entry("", "1")
    with pytest.raises(TypeError):
        options.add_free_dimension_override_by_name("N", "3")  # type: ignore[arg-type]
    assert not record_of(options).config
    assert not record_of(options).free_dimensions_by_name


def test_providers_named_on_the_options_are_recorded() -> None:
    watch(OwnOptions, OwnRunOptions)
    options = OwnOptions()
    options.add_provider("CUDAExecutionProvider", {})
    assert options.has_providers()
    assert record_of(options).providers == [("CUDAExecutionProvider", {})]


def test_a_record_ends_with_its_object() -> None:
    options = ort.SessionOptions()
    options.add_session_config_entry("a", "b")
    before = len(_records)
    del options
    gc.collect()
    assert len(_records) == before - 1


def test_watching_twice_records_once() -> None:
    original = ort.SessionOptions.add_session_config_entry
    watch(ort.SessionOptions, ort.RunOptions)
    assert ort.SessionOptions.add_session_config_entry is original


def test_what_cannot_work_remotely_is_refused_by_name(unary: Any, local_slice: Any, tmp_path: Path) -> None:
    profiled = ort.SessionOptions()
    profiled.enable_profiling = True
    saved = ort.SessionOptions()
    saved.optimized_model_filepath = str(tmp_path / "saved.onnx")
    replaced = ort.SessionOptions()
    value = ort.OrtValue.ortvalue_from_numpy(np.ones(1, np.float32))
    replaced.add_initializer("w", value)
    external = ort.SessionOptions()
    external.add_external_initializers(["w"], [value])
    refused = {
        "enable_profiling": profiled,
        "optimized_model_filepath": saved,
        "add_initializer": replaced,
        "add_external_initializers": external,
    }
    for name, options in refused.items():
        with pytest.raises(RuntimeError, match=rf"SessionOptions\.{name} cannot work on a remote slice: "):
            ort.InferenceSession(unary(), options, gpupool_slice=local_slice)
    assert local_slice.options == []


def test_a_library_of_custom_operators_is_recorded_as_local_only() -> None:
    watch(OwnOptions, OwnRunOptions)
    options = OwnOptions()
    options.register_custom_ops_library("/usr/lib/ops.so")
    assert record_of(options).local_only == ["register_custom_ops_library"]


def test_a_canceled_load_raises_as_locally(unary: Any, local_slice: Any, local_session: Any) -> None:
    options = ort.SessionOptions()
    options.set_load_cancellation_flag(True)
    kind = local.capi.onnxruntime_pybind11_state.ModelLoadCanceled
    for session in (local_session, lambda *a: ort.InferenceSession(*a, gpupool_slice=local_slice)):
        with pytest.raises(kind, match="Graph loading canceled due to user request"):
            session(unary(), options)
