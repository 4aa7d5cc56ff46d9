"""Unmodified programs under `gpupool run`: children of every kind, threads, pytest, servers, modules of their own."""

from __future__ import annotations

import concurrent.futures
import json
import signal
import socket
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from .conftest import DEADLINE_S, POISON

pytestmark = pytest.mark.system

Run = Callable[..., "subprocess.CompletedProcess[str]"]
X = np.arange(128, dtype=np.float32).reshape(2, 64) / 100
#: A module that a program imports in whatever process needs it.
INFER = f"""{POISON}
import os, numpy as np, onnxruntime as ort

def infer(path):
    session = ort.InferenceSession(path)
    (y,) = session.run(None, {{"x": np.arange(128, dtype=np.float32).reshape(2, 64) / 100}})
    return os.getpid(), y.tobytes().hex()
"""


@pytest.fixture
def expected(model: Path) -> str:
    (y,) = onnxruntime.InferenceSession(model).run(None, {"x": X})
    return str(np.asarray(y).tobytes().hex())


@pytest.fixture(autouse=True)
def infer(tmp_path: Path) -> None:
    """A module beside the program that infers."""
    (tmp_path / "infer.py").write_text(INFER)


@pytest.fixture
def state_model(tmp_path: Path) -> Path:
    """As a voice detector: y, next = f(x, state)."""
    info = helper.make_tensor_value_info
    nodes = [helper.make_node("Add", ["x", "state"], ["next"]), helper.make_node("Tanh", ["next"], ["y"])]
    ends = [info(name, TensorProto.FLOAT, ["n"]) for name in ("x", "state", "y", "next")]
    graph = helper.make_graph(nodes, "state", ends[:2], ends[2:])
    path = tmp_path / "state.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10).SerializeToString())
    return path


PROGRAMS = {
    "subprocess": """
        import subprocess, sys
        code = "import sys, infer; print(*infer.infer(sys.argv[1]))"
        for _ in range(2):
            subprocess.run([sys.executable, "-c", code, sys.argv[1]], check=True)
    """,
    "a shell between": """
        import os, subprocess, sys
        code = "import sys, infer; print(*infer.infer(sys.argv[1]))"
        subprocess.run(f"'{sys.executable}' -c '{code}' '{sys.argv[1]}'; '{sys.executable}' -c '{code}' '{sys.argv[1]}'",
                       shell=True, check=True)
    """,
    "forkserver": """
        import concurrent.futures, multiprocessing, sys, infer
        if __name__ == "__main__":
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(["infer"])
            with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as workers:
                for answer in workers.map(infer.infer, [sys.argv[1]] * 4):
                    print(*answer)
            print(*infer.infer(sys.argv[1]))
    """,
    "multiprocessing.Process, fork after connect": """
        import multiprocessing, sys, infer
        print(*infer.infer(sys.argv[1]), flush=True)

        def child():
            print(*infer.infer(sys.argv[1]), flush=True)

        workers = [multiprocessing.get_context("fork").Process(target=child) for _ in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
            assert worker.exitcode == 0
        print(*infer.infer(sys.argv[1]))
    """,
    "multiprocessing.Pool, spawn": """
        import multiprocessing, sys, infer
        if __name__ == "__main__":
            with multiprocessing.get_context("spawn").Pool(2) as workers:
                for answer in workers.map(infer.infer, [sys.argv[1]] * 4):
                    print(*answer)
            print(*infer.infer(sys.argv[1]))
    """,
    "threads": """
        import concurrent.futures, sys, infer
        with concurrent.futures.ThreadPoolExecutor(8) as workers:
            for answer in workers.map(infer.infer, [sys.argv[1]] * 24):
                print(*answer)
    """,
    "fork while threads call": """
        import os, sys, threading, infer
        import numpy as np, onnxruntime as ort
        session, over = ort.InferenceSession(sys.argv[1]), threading.Event()
        feed = {"x": np.arange(128, dtype=np.float32).reshape(2, 64) / 100}

        def call():
            while not over.is_set():
                session.run(None, feed)

        threads = [threading.Thread(target=call) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(5):
            pid = os.fork()
            if pid == 0:
                print(os.getpid(), session.run(None, feed)[0].tobytes().hex(), flush=True)
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
        over.set()
        for thread in threads:
            thread.join()
    """,
    "asyncio": """
        import asyncio, sys, infer

        async def main():
            for answer in await asyncio.gather(*(asyncio.to_thread(infer.infer, sys.argv[1]) for _ in range(8))):
                print(*answer)

        asyncio.run(main())
    """,
    "exec": """
        import os, sys
        os.execv(sys.executable, [sys.executable, "-c", "import sys, infer; print(*infer.infer(sys.argv[1]))", sys.argv[1]])
    """,
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_process_of_a_program_computes_on_its_slice(name: str, run: Run, model: Path, expected: str) -> None:
    done = run(PROGRAMS[name], str(model))
    assert done.returncode == 0, done.stderr
    answers = [line.split() for line in done.stdout.splitlines()]
    assert answers
    assert {y for _, y in answers} == {expected}
    assert done.stderr == ""
    if name not in ("threads", "asyncio", "exec"):
        assert len({pid for pid, _ in answers}) > 1


@pytest.mark.parametrize("own", ["client", "agent", "broker", "wire", "profiling", "arrays"])
def test_a_program_has_modules_of_its_own_with_our_words(own: str, run: Run, model: Path, expected: str, tmp_path: Path) -> None:
    (tmp_path / f"{own}.py").write_text("from infer import infer\nNAME = 'its own'\n")
    done = run(f"import sys, {own}\nprint({own}.NAME, {own}.infer(sys.argv[1])[1])", str(model))
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"its own {expected}\n"


def test_several_models_at_once_and_state_passed_between_calls(run: Run, model: Path, state_model: Path) -> None:
    text = """
        import sys, numpy as np, onnxruntime as ort
        first, second = ort.InferenceSession(sys.argv[1]), ort.InferenceSession(sys.argv[2])
        state, heard = np.zeros(4, np.float32), []
        for turn in range(300):
            y, state = second.run(None, {"x": np.full(4, 0.001, np.float32), "state": state})
            heard.append(float(y[0]))
            if turn % 100 == 0:
                first.run(None, {"x": np.full((1, 64), state[0], np.float32)})
        print(state[0].item().hex(), sum(heard).hex())
    """
    done = run(text, str(model), str(state_model))
    assert done.returncode == 0, done.stderr
    local = onnxruntime.InferenceSession(state_model)
    state: Any = np.zeros(4, np.float32)
    heard = []
    for _ in range(300):
        y, state = local.run(None, {"x": np.full(4, 0.001, np.float32), "state": state})
        heard.append(float(np.asarray(y)[0]))
    assert done.stdout.split() == [float(state[0]).hex(), sum(heard).hex()]


def test_pytest_runs_its_tests_on_the_slice(home: Path, tmp_path: Path, model: Path, expected: str) -> None:
    (tmp_path / "test_program.py").write_text(
        textwrap.dedent(
            f"""
            import pytest
            from infer import infer

            @pytest.mark.parametrize("number", range(3))
            def test_it(number):
                assert infer({str(model)!r})[1] == {expected!r}
            """
        )
    )
    words = [sys.executable, "-m", "gpupool", "run", "--compute", "100", "--memory", "1GiB", "--"]
    words += [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_program.py"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=DEADLINE_S, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 passed" in done.stdout


@pytest.fixture
def served(home: Path, tmp_path: Path, model: Path) -> Iterator[str]:
    """The address of a web service of two uvicorn workers under `gpupool run`."""
    (tmp_path / "service.py").write_text(
        textwrap.dedent(
            f"""
            import infer
            from fastapi import FastAPI

            app = FastAPI()

            @app.get("/")
            def answer():
                return infer.infer({str(model)!r})
            """
        )
    )
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    words = [sys.executable, "-m", "gpupool", "run", "--compute", "100", "--memory", "1GiB", "--"]
    words += [sys.executable, "-m", "uvicorn", "service:app", "--workers", "2", "--port", str(port), "--log-level", "warning"]
    server = subprocess.Popen(words, cwd=tmp_path, start_new_session=True)
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(DEADLINE_S)
        finally:
            server.kill()


def asked(address: str) -> list[Any] | None:
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:
            found: list[Any] = json.load(answer)
            return found
    except (urllib.error.URLError, ConnectionError):
        return None


def test_every_worker_of_uvicorn_serves_from_the_slice(served: str, until: Any, expected: str) -> None:
    pids = set()

    def both_answered() -> bool:
        with concurrent.futures.ThreadPoolExecutor(4) as callers:
            for answer in callers.map(asked, [served] * 8):
                if answer is not None:
                    assert answer[1] == expected
                    pids.add(answer[0])
        return len(pids) == 2

    until(both_answered)


@pytest.mark.parametrize("flag", ["-I", "-E", "-S"])
def test_where_the_hook_cannot_be_loaded_it_says_so(flag: str, home: Path, run: Run) -> None:
    words = [sys.executable, "-m", "gpupool", "run", "--", sys.executable, flag, "-c", "print('ran')"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert f" {flag} " in done.stderr
    # A program may start its own Python so, where nobody looks beforehand.
    text = f"import subprocess, sys; subprocess.run([sys.executable, {flag!r}, '-c', 'pass'], check=True)"
    assert "no ONNX Runtime session was opened through gpupool" in run(text).stderr
