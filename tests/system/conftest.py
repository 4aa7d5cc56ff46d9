"""A whole pool of real processes on free ports, whose parts can be killed and started again."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper, numpy_helper

import gpupool
from gpupool.daemons import Daemon
from gpupool.rest import RestClient
from gpupool_wire.addresses import parse_address

START_S = 60.0
#: What a program under `gpupool run` may take in all.
DEADLINE_S = 60.0
#: What a program is given before its own text, so that nothing of it can be executed in its own process.
POISON = """
from onnxruntime.capi import onnxruntime_pybind11_state as _state

def _poisoned(self, *args, **kwargs):
    raise AssertionError("a local session was opened")

if _state.InferenceSession.__module__ == _state.__name__:
    _state.InferenceSession.__init__ = _poisoned
"""


class WholePool:
    """Broker and agents with their state under one folder. `gpupool` finds it through `environ`."""

    def __init__(self, folder: Path, *broker: str) -> None:
        self.home = folder
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith("GPUPOOL_")}
        self.environ["GPUPOOL_HOME"] = str(folder)
        self.agents: dict[str, Daemon] = {}
        self.url, self.http = "tcp://127.0.0.1:0", "http://127.0.0.1:0"
        self.start_broker(*broker)
        self.environ |= {"GPUPOOL_URL": self.url, "GPUPOOL_HTTP": self.http}

    def start_broker(self, *more: str) -> None:
        """Start the broker, again at its old addresses where it had some."""
        options = [*more, "--bind", str(parse_address(self.url, 0)), "--http", self.http.partition("://")[2]]
        options += ["--home", str(self.home), "--admin-token-file", str(self.home / "admin.token")]
        self.broker = Daemon("broker", options, folder=self.home, environ=self.environ)
        ready = self.broker.wait_ready(START_S, lambda: False)
        self.url, self.http = ready["url"], ready["http"]
        self.rest = RestClient(self.http, self.token)
        _until(self._answers)

    def _answers(self) -> bool:
        try:
            self.rest.get("/whoami")
        except gpupool.PoolUnreachable:
            return False
        return True

    @property
    def token(self) -> str:
        return (self.home / "admin.token").read_text().strip()

    def start_agent(self, node: str = "one", *options: str) -> Daemon:
        """Start a node; an agent that has been here before comes back with its credential."""
        home = self.home / node
        environ = self.environ | {"GPUPOOL_HOME": str(home)}
        if not (home / "agent" / "credential").exists():
            environ["GPUPOOL_JOIN_TOKEN"] = self.rest.post("/tokens", {"role": "join"})["token"]
        told = ["--broker", self.url, "--node", node, "--bind", "127.0.0.1:0", "--worker-ports", "0", "--metrics", "none"]
        told += ["--home", str(home), *([] if "--device" in options else ["--device", "cpu"]), "--cpu-memory", "4GiB", *options]
        agent = self.agents[node] = Daemon("agent", told, folder=home, environ=environ)
        agent.wait_ready(START_S, lambda: False)
        return agent

    def connect(self) -> gpupool.Pool:
        return gpupool.connect(self.url, self.token)

    def workers(self, node: str = "one") -> list[psutil.Process]:
        """The worker processes of a node."""
        found: list[psutil.Process] = psutil.Process(self.agents[node].pid).children()
        return found

    def slices(self, state: str = "live") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.rest.get("/slices", state=state)
        return found

    def close(self) -> None:
        for daemon in [*self.agents.values(), self.broker]:
            daemon.stop()


def kill(process: Daemon | psutil.Process) -> None:
    os.kill(process.pid, signal.SIGKILL)


def _until(holds: Callable[[], bool], within_s: float = 30.0) -> float:
    """Wait until something holds; return the seconds it took."""
    start = time.monotonic()
    while not holds():
        assert time.monotonic() - start < within_s, f"it did not come true within {within_s} s"
        time.sleep(0.01)
    return time.monotonic() - start


@pytest.fixture
def until() -> Callable[..., float]:
    return _until


@pytest.fixture
def killed() -> Callable[..., None]:
    return kill


@pytest.fixture(scope="session")
def system_pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholePool]:
    """A pool that tests share. They give back what they take, and kill nothing of it."""
    pool = WholePool(tmp_path_factory.mktemp("shared-pool"))
    try:
        pool.start_agent()
        yield pool
    finally:
        pool.close()


@pytest.fixture(scope="session")
def make_pool() -> type[WholePool]:
    return WholePool


@pytest.fixture
def own_pool(tmp_path: Path) -> Iterator[WholePool]:
    """A pool of the test's own, to be broken."""
    pool = WholePool(tmp_path)
    try:
        pool.start_agent()
        yield pool
    finally:
        pool.close()


@pytest.fixture(scope="session")
def doubling() -> bytes:
    """y = 2 x."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "doubling", [x], [y])
    return _bytes_of(graph)


@pytest.fixture(scope="session")
def slow_model() -> bytes:
    """Some tenths of a second of matrix products: time enough to be killed in."""
    size, steps = 768, 24
    weights = numpy_helper.from_array(np.eye(size, dtype=np.float32), "w")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [size, size]) for name in ("x", "y"))
    names = ["x", *(f"h{step}" for step in range(steps - 1)), "y"]
    nodes = [helper.make_node("MatMul", [a, "w"], [b]) for a, b in itertools.pairwise(names)]
    return _bytes_of(helper.make_graph(nodes, "slow", [x], [y], [weights]))


def _bytes_of(graph: onnx.GraphProto) -> bytes:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    serialized: bytes = model.SerializeToString()
    return serialized


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The state directory of a pool that runs as long as this module's tests."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPUPOOL_HOME", str(folder))
        patch.delenv("GPUPOOL_URL", raising=False)
        with gpupool.embedded_pool():
            yield folder


@pytest.fixture
def command(tmp_path: Path, home: Path) -> Callable[..., list[str]]:
    """Returns the words that run a program's text under `gpupool run`."""

    def words(text: str, *arguments: str, python: str = sys.executable, options: Sequence[str] = ()) -> list[str]:
        program = tmp_path / "program.py"
        program.write_text(POISON + textwrap.dedent(text))
        size = options or ("--compute", "100", "--memory", "2GiB")
        return [sys.executable, "-m", "gpupool", "run", *size, "--", python, str(program), *arguments]

    return words


@pytest.fixture
def run(command: Callable[..., list[str]], tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a program's text under `gpupool run`."""

    def run(*given: Any, **how: Any) -> subprocess.CompletedProcess[str]:
        words = command(*given, **how)
        return subprocess.run(words, capture_output=True, text=True, timeout=DEADLINE_S, check=False, cwd=tmp_path)

    return run


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with weights: y = softmax(x · w), of 64 numbers."""
    weights = np.random.default_rng(1).standard_normal((64, 64)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Softmax", ["h"], ["y"])]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 64]) for name in "xy"]
    graph = helper.make_graph(nodes, "small", ends[:1], ends[1:], [numpy_helper.from_array(weights, "w")])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    path = tmp_path_factory.mktemp("model") / "small.onnx"
    path.write_bytes(made.SerializeToString())
    return path
