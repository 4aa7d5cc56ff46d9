"""Unmodified programs under `gpupool run`, on a whole pool of real processes. Local sessions are poisoned in all of them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import gpupool

pytestmark = pytest.mark.system

PAGES = Path(__file__).parents[2] / "ocr_app/gpupool_ocr/sample_pages"
#: A dead holder is noticed in three seconds; the contract says the slice is free in less than five.
FREED_S = 5.0
DEADLINE_S = 60.0
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def pool(home: Path) -> Iterator[gpupool.Pool]:
    with gpupool.connect() as pool:
        yield pool


def is_whole_device_free(pool: gpupool.Pool, wait_s: float) -> bool:
    """Whether all of the device can be had within that time."""
    try:
        pool.slice(compute=100, memory="64MiB", wait=wait_s).release()
    except gpupool.SliceRefused:
        return False
    return True


INFER = """
    import sys, json, numpy as np, onnxruntime as ort
    session = ort.InferenceSession(sys.argv[1], providers=ort.get_available_providers())
    x = np.arange(128, dtype=np.float32).reshape(2, 64) / 100
    (y,) = session.run(None, {"x": x})
    print(json.dumps([session.get_providers(), y.tobytes().hex()]))
"""


def expected(model: Path) -> str:
    x = np.arange(128, dtype=np.float32).reshape(2, 64) / 100
    (y,) = onnxruntime.InferenceSession(model).run(None, {"x": x})
    return str(np.asarray(y).tobytes().hex())


def test_results_are_those_of_the_local_runtime_to_the_last_bit(run: Run, model: Path, pool: gpupool.Pool) -> None:
    done = run(INFER, str(model))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [["CPUExecutionProvider"], expected(model)]
    assert done.stderr == ""
    assert is_whole_device_free(pool, wait_s=0)


def test_the_same_in_an_environment_without_the_wheel(run: Run, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=DEADLINE_S)
    (site,) = folder.glob("lib/python3*/site-packages")
    here = Path(np.__file__).parents[1]
    for name in ("numpy", "numpy.libs", "zmq", "pyzmq.libs", "msgspec", "zstandard"):
        if (here / name).exists():
            (site / name).symlink_to(here / name)
    done = run(INFER, str(model), python=str(folder / "bin" / "python"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[1] == expected(model)


CHILDREN = """
    import concurrent.futures, hashlib, multiprocessing, os, sys
    import numpy as np

    def infer(path):
        import onnxruntime as ort
        (y,) = ort.InferenceSession(path).run(None, {"x": np.arange(128, dtype=np.float32).reshape(2, 64) / 100})
        return os.getpid(), y.tobytes().hex()

    if __name__ == "__main__":
        context = multiprocessing.get_context(sys.argv[2])
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as workers:
            answers = list(workers.map(infer, [sys.argv[1]] * 4)) + [infer(sys.argv[1])]
        print(len({pid for pid, _ in answers}) > 1, len({y for _, y in answers}), answers[0][1])
"""


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_children_join_the_slice_of_their_parent(method: str, run: Run, model: Path) -> None:
    done = run(CHILDREN, str(model), method)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True", "1", expected(model)]


def test_a_session_goes_on_in_a_forked_child(run: Run, model: Path) -> None:
    text = """
        import os, sys, numpy as np, onnxruntime as ort
        session = ort.InferenceSession(sys.argv[1])
        feed = {"x": np.arange(128, dtype=np.float32).reshape(2, 64) / 100}
        session.run(None, feed)
        pid = os.fork()
        answer = session.run(None, feed)[0].tobytes().hex()
        print("child" if pid == 0 else "parent", answer, flush=True)
        if pid == 0:
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
    """
    done = run(text, str(model))
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [f"child {expected(model)}", f"parent {expected(model)}"]


def test_the_status_of_the_program_comes_back_and_the_slice_is_free(run: Run, pool: gpupool.Pool) -> None:
    assert run("import sys; sys.exit(7)").returncode == 7
    assert run("import os, signal; os.kill(os.getpid(), signal.SIGKILL)").returncode == 128 + signal.SIGKILL
    assert is_whole_device_free(pool, wait_s=0)


WAITING = """
    import sys, time, numpy as np, onnxruntime as ort
    session = ort.InferenceSession(sys.argv[1])
    session.run(None, {"x": np.zeros((1, 64), np.float32)})
    print("running", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_however_the_launcher_ends_the_program_ends_and_the_slice_is_free(
    number: signal.Signals, command: Callable[..., list[str]], model: Path, pool: gpupool.Pool
) -> None:
    launcher = subprocess.Popen(
        command(WAITING, str(model)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    )
    assert launcher.stdout is not None
    try:
        assert launcher.stdout.readline() == "running\n"
        assert not is_whole_device_free(pool, wait_s=0)
        started = time.monotonic()
        launcher.send_signal(number)
        assert is_whole_device_free(pool, wait_s=30)
        took = time.monotonic() - started
        assert took < FREED_S
        assert launcher.stdout.read() == ""  # the program has ended too: nobody holds its output open
        assert launcher.wait(DEADLINE_S) != 0
    finally:
        launcher.stdout.close()
        launcher.kill()
        launcher.wait(DEADLINE_S)


def test_a_slice_that_does_not_fit_starts_no_program(run: Run, pool: gpupool.Pool) -> None:
    with pool.slice(compute=60, memory="64MiB"):
        done = run("print('started')", options=("--compute", "50", "--memory", "64MiB", "--wait", "0.2"))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("gpupool: ")
    assert len(done.stderr.splitlines()) == 1


def test_isolated_python_is_refused_before_a_slice_is_asked_for(home: Path) -> None:
    words = [sys.executable, "-m", "gpupool", "run", "--", sys.executable, "-I", "-c", "pass"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 1
    assert "-I isolates Python from PYTHONPATH" in done.stderr


def test_a_program_that_opens_no_session_is_told_so(run: Run) -> None:
    done = run("print('done')")
    assert (done.returncode, done.stdout) == (0, "done\n")
    assert "no ONNX Runtime session was opened through gpupool" in done.stderr


def test_a_profile_tells_where_the_time_went_in_all_processes(run: Run, model: Path, tmp_path: Path) -> None:
    options = ("--compute", "100", "--memory", "2GiB", "--profile-file", str(tmp_path / "trace.json"))
    done = run(CHILDREN, str(model), "fork", options=options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True", "1", expected(model)]
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    calls = [event for event in events if event["name"] == "small.onnx"]
    assert len(calls) == 5
    assert len({event["pid"] for event in calls}) > 1
    assert all(event["args"]["raw_sent_bytes"] == 512 for event in calls)
    (row,) = [line for line in done.stderr.splitlines() if line.startswith("model small.onnx")]
    assert row.split()[2:5] == ["5", "2.6", "KB"]
    assert "execution" in done.stderr
    assert f"the trace is in {tmp_path / 'trace.json'}" in done.stderr


def test_a_profile_that_cannot_be_written_is_refused_before_the_program_runs(run: Run) -> None:
    done = run("print('started')", options=("--profile-file", "/nowhere/trace.json"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "the profile cannot be written to /nowhere/trace.json" in done.stderr


READ = """
import json, sys
from rapidocr import RapidOCR
read = RapidOCR(params={"Global.log_level": "error"})(sys.argv[1])
print(json.dumps([list(read.txts), [float(score) for score in read.scores]]))
"""


PAGE_NAMES = [
    "train_ticket.png",
    *(pytest.param(name, marks=pytest.mark.full) for name in ("hotel_bill.png", "receipt.png", "vat_invoice.png")),
]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", PAGE_NAMES)
def test_an_unmodified_rapidocr_reads_the_same(name: str, run: Run) -> None:
    """Line by line, with equal scores, on a page it reads locally too."""
    page = str(PAGES / name)
    local = subprocess.run([sys.executable, "-c", READ, page], capture_output=True, text=True, timeout=120, check=True)
    remote = run(READ, page)
    assert remote.returncode == 0, remote.stderr
    (wanted, wanted_scores), (got, scores) = json.loads(local.stdout), json.loads(remote.stdout)
    assert len(wanted) > 5
    assert got == wanted
    assert scores == pytest.approx(wanted_scores, abs=1e-6)
