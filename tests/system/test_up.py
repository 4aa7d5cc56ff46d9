"""`gpupool up`, and the pool that programs start for themselves."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import gpupool
from gpupool.settings import RunningPool, running_pool

pytestmark = pytest.mark.system

GPUPOOL = [sys.executable, "-m", "gpupool"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in [name for name in os.environ if name.startswith("GPUPOOL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GPUPOOL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def up(home: Path) -> Iterator[Any]:
    """Start `gpupool up`; what is still running at the end of the test is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(*options: str) -> subprocess.Popen[str]:
        command = [*GPUPOOL, "up", "--no-web", "--device", "cpu", "--cpu-memory", "2GiB", *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def running(home: Path) -> RunningPool:
    pool = running_pool(home)
    assert pool is not None
    return pool


def all_gone(pids: Any) -> bool:
    return not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids)


def test_it_comes_up_is_found_and_stops_cleanly(home: Path, up: Any, until: Any) -> None:
    ready = home.parent / "ready.json"
    process = up("--any-port", "--ready-file", str(ready))
    until(ready.exists, 60)
    pool = running(home)
    assert json.loads(ready.read_text()) == {"url": pool.url, "http": pool.http, "pids": pool.pids}
    assert set(pool.pids) == {"up", "broker", "agent"}
    assert home.stat().st_mode & 0o777 == 0o700
    assert (home / "admin.token").stat().st_mode & 0o777 == 0o600
    with gpupool.connect() as connected, connected.slice(10, "64MiB") as held:
        assert held.usage().calls == 0
    process.send_signal(signal.SIGTERM)
    said, complained = process.communicate(timeout=30)
    assert (process.returncode, complained) == (0, "")
    assert pool.http in said
    assert all_gone(pool.pids.values())
    assert not (home / "pool.json").exists()


def test_a_second_one_of_the_same_home_says_where_the_first_is(home: Path, up: Any, until: Any) -> None:
    up("--any-port")
    until(lambda: running_pool(home) is not None, 60)
    done = subprocess.run([*GPUPOOL, "up", "--any-port"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert f"a pool already runs with its state in {home} at {running(home).url}" in done.stderr


def test_nothing_is_left_behind_when_it_is_killed_and_it_starts_again(home: Path, up: Any, until: Any) -> None:
    first = up("--any-port")
    until(lambda: running_pool(home) is not None, 60)
    pids = running(home).pids
    first.kill()
    until(lambda: all_gone(pids.values()), 15)
    assert (home / "pool.json").exists()
    assert running_pool(home) is None
    up("--any-port")
    until(lambda: running_pool(home) is not None, 60)
    assert running(home).pids["broker"] != pids["broker"]


def test_a_part_that_dies_ends_it_with_one_sentence(home: Path, up: Any, until: Any) -> None:
    process = up("--any-port")
    until(lambda: running_pool(home) is not None, 60)
    pids = running(home).pids
    os.kill(pids["broker"], signal.SIGKILL)
    _, complained = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "the broker ended with status -9" in complained
    assert complained.count("\n") == 1
    assert all_gone(pids.values())


@pytest.mark.parametrize("option", ["--bind", "--http", "--door"])
def test_a_port_in_use_is_one_clear_sentence(home: Path, up: Any, option: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        others = [word for name in ("--bind", "--http", "--door") if name != option for word in (name, "127.0.0.1:0")]
        process = up(option, address, *others, "--metrics", "127.0.0.1:0", "--worker-ports", "0")
        _, complained = process.communicate(timeout=60)
    assert process.returncode == 1
    assert address in complained
    assert complained.count("\n") == 1
    assert "Traceback" not in complained


def test_an_embedded_pool_starts_for_its_program_and_stops_with_it(home: Path) -> None:
    with gpupool.embedded_pool() as pool:
        pids = running(home).pids
        with pool.slice(10, "64MiB") as held:
            assert held.kind in {"cpu", "cuda"}
    assert running_pool(home) is None
    assert all_gone(pids.values())


def test_a_running_pool_is_used_and_left_alone(home: Path, up: Any, until: Any) -> None:
    up("--any-port")
    until(lambda: running_pool(home) is not None, 60)
    with gpupool.embedded_pool() as pool:
        assert pool.url == running(home).url
    assert running_pool(home) is not None


def test_a_named_pool_is_used_instead(home: Path, system_pool: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUPOOL_URL", system_pool.url)
    monkeypatch.setenv("GPUPOOL_TOKEN", system_pool.token)
    with gpupool.embedded_pool() as pool:
        assert pool.url == system_pool.url
    assert not home.exists()


PROGRAM = """
import sys, gpupool
with gpupool.embedded_pool() as pool:
    print(pool.url, flush=True)
    sys.stdin.read()
"""


def program() -> Any:
    return subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_an_embedded_pool_of_a_killed_program_stops(home: Path, until: Any) -> None:
    with program() as owner:
        owner.stdout.readline()
        pids = running(home).pids
        owner.kill()
        until(lambda: all_gone(pids.values()), 20)


def test_it_outlives_its_starter_while_others_use_it(home: Path, until: Any) -> None:
    with program() as owner, program() as guest:
        urls = {owner.stdout.readline(), guest.stdout.readline()}
        assert len(urls) == 1
        pids = running(home).pids
        starter = owner if psutil.Process(pids["up"]).ppid() == owner.pid else guest
        other = guest if starter is owner else owner
        starter.stdin.close()
        assert starter.wait(20) == 0
        with gpupool.connect() as pool, pool.slice(10, "64MiB") as held:
            assert held.usage().calls == 0
        other.kill()
        until(lambda: all_gone(pids.values()), 20)


def test_many_programs_that_start_together_share_one_pool(home: Path, until: Any) -> None:
    urls: list[str] = []
    programs = [program() for _ in range(4)]
    threads = [threading.Thread(target=lambda one=one: urls.append(one.stdout.readline())) for one in programs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    pids = running(home).pids
    for one in programs:
        with one:
            one.stdin.close()
            assert one.wait(30) == 0
    assert len(urls) == 4
    assert len(set(urls)) == 1
    until(lambda: all_gone(pids.values()), 20)


def test_a_pool_that_cannot_start_says_why(home: Path) -> None:
    home.mkdir(mode=0o700)
    (home / "broker").write_text("in the way")
    with (
        pytest.raises(gpupool.GpupoolError, match=r"no pool could be started on this machine: .*broker"),
        gpupool.embedded_pool(),
    ):
        pass
    assert Path(home / "logs" / "broker.log").exists()
