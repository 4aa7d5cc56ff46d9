"""Interpreters and programs to put the hook under. Nothing here can execute a model with the local ONNX Runtime."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest

import gpupool
import gpupool_wire

#: Run before the program: its slice is one whose worker doubles what it gets.
SLICE = """
import gpupool
import numpy as np
from gpupool_wire.messages import ModelMeta, TensorInfo

class Model:
    inputs = [TensorInfo(name="x", type="tensor(float)", shape=["N"])]
    outputs = [TensorInfo(name="y", type="tensor(float)", shape=["N"])]
    initializers = []
    meta = ModelMeta(graph_name="doubling")
    providers = ["CPUExecutionProvider"]
    def run(self, feed, outputs=None, run_config=None):
        return [np.asarray(feed["x"]) * 2]
    def close(self):
        pass

class Slice:
    slice_id, device, kind, providers = "slice-1", "cpu-0", "cpu", ["CPUExecutionProvider"]
    asked = []
    def open_model(self, model, options=None, *, batching=None):
        self.asked.append(options)
        return Model()

gpupool.current_slice = Slice
"""
#: Makes any session of the wheel's own binding an error.
POISON = """
from onnxruntime.capi import onnxruntime_pybind11_state as state

def poisoned(self, *args, **kwargs):
    raise AssertionError("a local session was opened")

if state.InferenceSession.__module__ == state.__name__:
    state.InferenceSession.__init__ = poisoned
"""
HOOK = Path(gpupool.__file__).parent / "hook"
Program = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Runs a program's text under the hook; returns what it printed and how it ended."""

    def run(
        text: str,
        *,
        python: str = sys.executable,
        arguments: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
        has_slice: bool = True,
        is_poisoned: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        script = tmp_path / "program.py"
        script.write_text((SLICE if has_slice else "") + (POISON if has_slice and is_poisoned else "") + text)
        packages = os.pathsep.join(os.path.dirname(str(module.__file__)) for module in (gpupool, gpupool_wire))
        settings = {"PYTHONPATH": str(HOOK), "GPUPOOL_RUN_PACKAGES": packages, **(environment or {})}
        return subprocess.run(
            [python, *arguments, str(script)],
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=tmp_path,
        )

    return run


def _environment(folder: Path, packages: list[str]) -> str:
    """Make a virtual environment that has these packages and nothing else; return its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=60)
    (site,) = folder.glob("lib/python3*/site-packages")
    for name in packages:
        spec = find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        origin = Path(spec.origin)
        source = origin.parent if origin.name == "__init__.py" else origin
        (site / source.name).symlink_to(source)
        libraries = source.parent / f"{ {'zmq': 'pyzmq'}.get(name, name) }.libs"
        if libraries.exists():
            (site / libraries.name).symlink_to(libraries)
    return str(folder / "bin" / "python")


@pytest.fixture(scope="session")
def python_without_wheel(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter with what gpupool needs, without gpupool and without onnxruntime."""
    return _environment(tmp_path_factory.mktemp("no_wheel"), ["numpy", "zmq", "msgspec"])


@pytest.fixture(scope="session")
def python_without_zmq(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter that lacks what gpupool needs."""
    return _environment(tmp_path_factory.mktemp("no_zmq"), ["numpy"])
