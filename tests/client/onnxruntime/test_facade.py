"""The stand-in for hosts without the wheel: the names, values and refusals of the wheel's module."""

from __future__ import annotations

import subprocess
import sys
from enum import IntEnum
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime as local
import pytest

from gpupool.onnxruntime import facade
from gpupool.onnxruntime.facade import unavailable
from gpupool.onnxruntime.modules import build
from gpupool.onnxruntime.recording import record_of, watch

F = np.float32


@pytest.fixture(scope="module")
def stand_in() -> Any:
    """The stand-in's `onnxruntime`, registered nowhere."""
    root = ModuleType("onnxruntime")
    build(root)
    watch(root.SessionOptions, root.RunOptions)
    watch(local.SessionOptions, local.RunOptions)
    return root


def test_every_public_name_of_the_wheel_is_there(stand_in: Any) -> None:
    """Modules aside: which ones a package shows depends on what else the process has imported."""
    public = {name for name, value in vars(local).items() if not name.startswith("_") and not isinstance(value, ModuleType)}
    assert public <= set(dir(stand_in))
    assert {"capi", "InferenceSession"} <= set(dir(stand_in))
    assert hasattr(stand_in, "__version__")


@pytest.mark.parametrize("name", [*unavailable.CLASSES, *unavailable.FUNCTIONS])
def test_a_name_that_cannot_work_says_so(name: str, stand_in: Any) -> None:
    with pytest.raises(RuntimeError, match=rf"onnxruntime\.{name} cannot work on a host without the onnxruntime wheel: "):
        getattr(stand_in, name)()


def test_exceptions_have_the_names_and_the_module_of_the_wheel(stand_in: Any) -> None:
    state = local.capi.onnxruntime_pybind11_state
    own = stand_in.capi.onnxruntime_pybind11_state
    for name in dir(state):
        kind = getattr(state, name)
        if isinstance(kind, type) and issubclass(kind, Exception):
            assert (getattr(own, name).__module__, getattr(own, name).__mro__[1]) == (kind.__module__, Exception)


def test_enumerations_have_the_members_of_the_wheel(stand_in: Any) -> None:
    for name, kind in facade.NAMES.items():
        if isinstance(kind, type) and issubclass(kind, IntEnum):
            genuine = getattr(local, name)
            assert {key: int(value) for key, value in kind.__members__.items()} == {
                key: int(value) for key, value in genuine.__members__.items()
            }
            for key in kind.__members__:
                assert str(kind[key]) == str(genuine.__members__[key])


@pytest.mark.parametrize("name", ["SessionOptions", "RunOptions"])
def test_options_have_the_attributes_and_defaults_of_the_wheel(name: str, stand_in: Any) -> None:
    own, genuine = getattr(stand_in, name)(), getattr(local, name)()
    public = [attribute for attribute in dir(genuine) if not attribute.startswith("_")]
    assert not [attribute for attribute in public if not hasattr(own, attribute)]
    for attribute in public:
        value = getattr(genuine, attribute)
        if not callable(value):
            assert getattr(own, attribute) == (int(value) if hasattr(value, "__int__") and not isinstance(value, str) else value)


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("intra_op_num_threads", "2"),
        ("intra_op_num_threads", 2.0),
        ("graph_optimization_level", 99),
        ("graph_optimization_level", "all"),
        ("logid", 5),
        ("no_such_setting", 1),
    ],
)
def test_options_refuse_what_the_wheel_refuses(attribute: str, value: Any, stand_in: Any) -> None:
    for options in (stand_in.SessionOptions(), local.SessionOptions()):
        with pytest.raises((TypeError, AttributeError)) as caught:
            setattr(options, attribute, value)
        assert caught.type is (AttributeError if attribute == "no_such_setting" else TypeError)


def test_options_take_what_the_wheel_takes(stand_in: Any) -> None:
    for options in (stand_in.SessionOptions(), local.SessionOptions()):
        options.intra_op_num_threads = np.int64(2)
        options.enable_mem_pattern = 0
        options.add_session_config_entry("a", "b")
        assert (options.intra_op_num_threads, options.enable_mem_pattern) == (2, False)
        assert options.get_session_config_entry("a") == "b"
        with pytest.raises(RuntimeError, match="SessionOptions does not have configuration with key: z"):
            options.get_session_config_entry("z")
        with pytest.raises(RuntimeError, match="Config key is empty or longer than maximum length 1024"):
            options.add_session_config_entry("", "b")
        with pytest.raises(TypeError):
            options.add_free_dimension_override_by_name("N", "3")
    assert record_of(options).config["a"] == "b"


ARRAYS = [np.ones((2, 3), F), np.array(3, np.int64), np.zeros((0, 2), np.uint8), np.ones(2, np.float16), np.ones(2, bool)]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: str(array.dtype))
def test_values_describe_themselves_as_the_wheel_s(array: Any, stand_in: Any) -> None:
    own, genuine = stand_in.OrtValue.ortvalue_from_numpy(array), local.OrtValue.ortvalue_from_numpy(array)
    for name in (
        "shape",
        "data_type",
        "element_type",
        "device_name",
        "tensor_size_in_bytes",
        "is_tensor",
        "is_sparse_tensor",
        "is_tensor_sequence",
        "has_value",
    ):
        assert getattr(own, name)() == getattr(genuine, name)()
    assert np.asarray(own).tobytes() == array.tobytes()
    assert own.data_ptr() == array.ctypes.data


def test_values_share_memory_and_are_updated_in_place(stand_in: Any) -> None:
    array = np.zeros(2, F)
    value = stand_in.OrtValue.ortvalue_from_numpy(array)
    value.update_inplace(np.ones(2, F))
    assert array.tolist() == [1, 1]
    with pytest.raises(RuntimeError, match=r"float32\[2\] cannot take float32\[3\]"):
        value.update_inplace(np.ones(3, F))
    other = stand_in.OrtValue.ortvalue_from_shape_and_type([2], 1)
    stand_in.copy_tensors([value], [other])
    assert other.numpy().tolist() == [1, 1]
    assert stand_in.OrtValue.from_dlpack(np.ones(2, F)).shape() == [2]


def test_values_elsewhere_and_of_texts_are_refused(stand_in: Any) -> None:
    with pytest.raises(RuntimeError, match="an OrtValue on 'cuda' cannot be made here"):
        stand_in.OrtValue.ortvalue_from_numpy(np.ones(2, F), "cuda")
    with pytest.raises(RuntimeError, match="only supported from non-string numpy arrays"):
        stand_in.OrtValue.ortvalue_from_numpy(np.array(["a"]))
    with pytest.raises(Exception, match="Unsupported device type: tpu"):
        stand_in.OrtDevice.make("tpu", 0)
    device = stand_in.OrtDevice.make("cpu", 0)
    assert (device.device_id(), device.device_type(), device.device_mem_type(), device.device_vendor_id()) == (0, 0, 0, 0)


def test_functions_answer(stand_in: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert stand_in.get_version_string() == stand_in.__version__ == "1.31.1"
    assert set(local.get_all_providers()) <= set(stand_in.get_all_providers())
    assert "gpupool" in stand_in.get_build_info()
    assert not stand_in.has_collective_ops()
    assert stand_in.get_ep_devices() == []
    stand_in.set_default_logger_severity(3)
    stand_in.disable_telemetry_events()
    stand_in.preload_dlls()
    stand_in.print_debug_info()
    assert "gpupool stand-in for ONNX Runtime" in capsys.readouterr().out
    with pytest.raises(RuntimeError, match="set_seed"):
        stand_in.set_seed(1)
    with pytest.raises(RuntimeError, match="Invalid logging severity 9"):
        stand_in.set_default_logger_severity(9)
    assert stand_in.onnxruntime_validation.get_package_name_and_version_info() == ("gpupool", "1.31.1", "")


def test_a_session_with_options_of_the_stand_in(unary: Any) -> None:
    """In a process of its own, where the wheel is hidden before anything asks for it."""
    text = """
import sys
sys.modules["onnxruntime"] = None
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "onnxruntime":
            raise ModuleNotFoundError(name, name="onnxruntime")
del sys.modules["onnxruntime"]
sys.meta_path.insert(0, Hide())
import gpupool.onnxruntime as ort
options = ort.SessionOptions()
options.add_session_config_entry("a", "b")
from gpupool.onnxruntime.options import model_options
print(ort.SessionOptions.__name__, model_options(options, []).config, ort.capi.onnxruntime_pybind11_state.Fail.__module__)
print(isinstance(ort.NodeArg, type), "onnxruntime" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == [
        "SessionOptions {'a': 'b'} onnxruntime.capi.onnxruntime_pybind11_state",
        "True False",
    ]


def test_importing_the_drop_in_imports_neither_the_wheel_nor_the_network() -> None:
    text = "import sys, gpupool.onnxruntime; print([n for n in ('onnxruntime', 'zmq') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
