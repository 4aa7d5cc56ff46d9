from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from gpupool.locks import FileLock, is_held


@pytest.fixture
def path(tmp_path: Path) -> Any:
    return tmp_path / "a.lock"


def test_one_holds_it_alone(path: Path) -> None:
    one, other = FileLock(path), FileLock(path)
    assert one.take()
    assert not other.take()
    assert is_held(path)
    assert repr(one).endswith("held>")
    one.release()
    one.release()
    assert not is_held(path)
    assert other.take()
    other.release()


def test_several_share_it_and_nobody_has_it_alone_meanwhile(path: Path) -> None:
    one, other, third = FileLock(path), FileLock(path), FileLock(path)
    one.share()
    other.share()
    assert not third.take()
    assert not is_held(path)
    one.release()
    assert not third.take()
    other.release()
    assert third.take()
    third.release()


def test_it_is_taken_as_soon_as_it_is_free(path: Path) -> None:
    one, other = FileLock(path), FileLock(path)
    one.share()
    assert not other.take_within(0.05)
    threading.Timer(0.1, one.release).start()
    assert other.take_within(10)
    other.release()


def test_a_killed_process_holds_nothing(path: Path) -> None:
    program = (
        "import sys, pathlib; from gpupool.locks import FileLock; l = FileLock(pathlib.Path(sys.argv[1])); l.take(); "
        "print(1, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert is_held(path)
        process.kill()
        process.wait()
    assert not is_held(path)


def test_no_file_is_no_lock(path: Path) -> None:
    assert not is_held(path)
    assert not path.exists()
