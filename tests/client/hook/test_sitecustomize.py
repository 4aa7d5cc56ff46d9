"""The hook under unmodified programs: with the wheel, without it, and where it cannot work."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import gpupool

RUN = """
import onnxruntime as ort
session = ort.InferenceSession(b"model", providers=["CPUExecutionProvider"])
print(session.run(None, {"x": np.ones(2, np.float32)})[0].tolist())
"""


def lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_sessions_of_a_program_run_on_the_slice(program: Any) -> None:
    assert lines(program(RUN)) == ["[2.0, 2.0]"]


def test_no_local_session_can_be_opened_in_these_tests(program: Any) -> None:
    text = "state.InferenceSession(state.get_default_session_options(), b'', False, False)"
    assert "AssertionError: a local session was opened" in program(text).stderr


def test_the_same_where_there_is_no_wheel(program: Any, python_without_wheel: str) -> None:
    assert lines(program(RUN, python=python_without_wheel)) == ["[2.0, 2.0]"]


IMPORTS = [
    "from onnxruntime import InferenceSession",
    "from onnxruntime.capi.onnxruntime_inference_collection import InferenceSession",
    "import onnxruntime.capi.onnxruntime_inference_collection as c; InferenceSession = c.InferenceSession",
    "import importlib; InferenceSession = importlib.import_module('onnxruntime').InferenceSession",
    "from onnxruntime.capi._pybind_state import get_device; from onnxruntime import *; import onnxruntime; "
    "InferenceSession = onnxruntime.InferenceSession",
]


@pytest.mark.parametrize("statement", IMPORTS)
@pytest.mark.parametrize("has_wheel", [True, False], ids=["wheel", "no wheel"])
def test_however_it_is_imported(statement: str, has_wheel: bool, program: Any, python_without_wheel: str) -> None:
    text = f"{statement}\nprint(InferenceSession.__module__, InferenceSession(b'').run(None, {{'x': np.ones(1)}})[0].tolist())"
    done = program(text, python=sys.executable if has_wheel else python_without_wheel, is_poisoned=False)
    assert lines(done) == ["gpupool.onnxruntime.session [2.0]"]


def test_every_other_class_of_the_wheel_stays_genuine(program: Any) -> None:
    text = """
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as state
from onnxruntime.capi.onnxruntime_inference_collection import Session
for name in dir(state):
    if isinstance(getattr(state, name), type) and hasattr(ort, name) and name not in ("InferenceSession",):
        wrapped = ("AdapterFormat", "ModelCompiler", "OrtDevice", "OrtValue", "SparseTensor")
        assert name in wrapped or getattr(ort, name) is getattr(state, name), name
session = ort.InferenceSession(b"model", ort.SessionOptions())
print(isinstance(session, ort.InferenceSession), isinstance(session, Session))
print(isinstance(session.get_inputs()[0], ort.NodeArg), isinstance(session.get_modelmeta(), ort.ModelMetadata))
print(isinstance(session.get_session_options(), state.SessionOptions), ort.get_available_providers(), ort.get_device())
import onnxruntime.tools, onnxruntime.datasets
"""
    assert lines(program(text)) == ["True True", "True True", "True ['CPUExecutionProvider'] CPU"]


def test_settings_that_cannot_be_read_back_travel(program: Any) -> None:
    text = """
import onnxruntime as ort
options = ort.SessionOptions()
options.add_session_config_entry("session.dynamic_block_base", "4")
options.add_free_dimension_override_by_name("N", 3)
options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
ort.InferenceSession(b"model", options)
asked = Slice.asked[0]
print(asked.config, asked.free_dimensions_by_name, asked.graph_optimization_level)
"""
    assert lines(program(text)) == ["{'session.dynamic_block_base': '4'} {'N': 3} 1"]


def test_a_program_that_never_imports_onnxruntime_pays_nothing(program: Any) -> None:
    text = "import sys; print([n for n in sys.modules if n.split('.')[0] in ('gpupool', 'gpupool_wire', 'zmq', 'onnxruntime')])"
    assert lines(program(text, has_slice=False)) == ["[]"]


CHILDREN = {
    "spawn": """
import multiprocessing
def work(queue):
    import onnxruntime, sys
    queue.put(onnxruntime.InferenceSession.__module__)
if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    child = context.Process(target=work, args=(queue,))
    child.start(); print(queue.get(timeout=30)); child.join(30)
""",
    "fork": """
import os, sys
pid = os.fork()
if pid == 0:
    import onnxruntime
    print(onnxruntime.InferenceSession.__module__); sys.stdout.flush(); os._exit(0)
os.waitpid(pid, 0)
""",
    "subprocess": """
import subprocess, sys
print(subprocess.run([sys.executable, "-c", "import onnxruntime; print(onnxruntime.InferenceSession.__module__)"],
    capture_output=True, text=True, check=True).stdout.strip())
""",
}


@pytest.mark.parametrize("kind", CHILDREN)
def test_it_survives_child_processes(kind: str, program: Any) -> None:
    assert lines(program(CHILDREN[kind], has_slice=False)) == ["gpupool.onnxruntime.session"]


def test_a_sitecustomize_of_the_program_still_runs(program: Any, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "sitecustomize.py").write_text("import sys; sys.own_ran = __name__")
    hook = Path(str(gpupool.__file__)).parent / "hook"
    text = "import sys, sitecustomize, onnxruntime; print(sys.own_ran, onnxruntime.InferenceSession.__module__)"
    done = program(text, has_slice=False, environment={"PYTHONPATH": f"{hook}:{own}"})
    assert lines(done) == ["sitecustomize gpupool.onnxruntime.session"]


def test_an_interpreter_that_lacks_what_gpupool_needs_is_told_so(program: Any, python_without_zmq: str) -> None:
    done = program("import onnxruntime", python=python_without_zmq, has_slice=False)
    assert done.returncode == 1
    assert f"this program's Python ({python_without_zmq}" in done.stderr
    assert "it lacks zmq, msgspec; install gpupool into it" in done.stderr


def test_parts_of_the_wheel_that_the_stand_in_lacks_say_so(program: Any, python_without_wheel: str) -> None:
    done = program("import onnxruntime.quantization", python=python_without_wheel, has_slice=False)
    assert done.returncode == 1
    assert "ModuleNotFoundError: onnxruntime.quantization needs the onnxruntime wheel" in done.stderr


def test_errors_of_the_stand_in_have_the_names_of_the_wheel(program: Any, python_without_wheel: str) -> None:
    text = """
import onnxruntime as ort
from onnxruntime.capi.onnxruntime_pybind11_state import NoSuchFile
from onnxruntime.capi import onnxruntime_pybind11_state
from gpupool_wire.errors import ModelRejected
def refuse(self, model, options=None, **asked):
    open(model)
Slice.open_model = refuse
try:
    ort.InferenceSession("missing.onnx")
except NoSuchFile as error:
    print(type(error).__module__, type(error).__name__, error)
import pickle
print(pickle.loads(pickle.dumps(NoSuchFile("x"))).args)
"""
    assert lines(program(text, python=python_without_wheel)) == [
        "onnxruntime.capi.onnxruntime_pybind11_state NoSuchFile [ONNXRuntimeError] : 3 : NO_SUCHFILE : Load model from "
        "missing.onnx failed:Load model missing.onnx failed. File doesn't exist",
        "('x',)",
    ]


VERSION = """
from importlib import metadata
print(metadata.version("onnxruntime"), [d for d in metadata.distributions() if d.name == "onnxruntime" and d.files is None])
"""


def test_programs_that_look_the_version_up_find_one(program: Any, python_without_wheel: str) -> None:
    assert lines(program(VERSION, python=python_without_wheel, has_slice=False)) == ["1.31.1 []"]
    assert lines(program(VERSION, has_slice=False)) == [f"{metadata.version('onnxruntime')} []"]


def test_the_hook_leaves_its_mark(program: Any, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    lines(program("", has_slice=False, environment={"GPUPOOL_RUN_MARKS": str(marks)}))
    assert [mark.name for mark in marks.iterdir()] == ["hooked"]
    lines(program(RUN, environment={"GPUPOOL_RUN_MARKS": str(marks)}))
    assert sorted(mark.name for mark in marks.iterdir()) == ["hooked", "opened"]
