"""`gpupool agent` as a process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Eventually = Callable[..., Any]


@pytest.fixture
def run_agent(broker: Any, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str, **environment: str) -> subprocess.Popen[str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("GPUPOOL_")}
        command = [sys.executable, "-m", "gpupool", "agent", "--broker", f"127.0.0.1:{broker.port}", "--bind", "127.0.0.1:0"]
        started.append(
            subprocess.Popen(
                [*command, "--metrics", "127.0.0.1:0", "--null", "1", "--home", str(tmp_path / "home"), *arguments],
                env={**clean, "COLUMNS": "200", **environment},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_told_to_stop(
    run_agent: Callable[..., subprocess.Popen[str]], broker: Any, eventually: Eventually, number: int
) -> None:
    process = run_agent(GPUPOOL_JOIN_TOKEN="join", GPUPOOL_NODE="n1")
    eventually(lambda: broker.beats)
    process.send_signal(number)
    _, log = process.communicate(timeout=20)
    assert process.returncode == 0
    assert broker.hellos[0].node == "n1"
    assert "action=welcomed" in log
    assert "action=stopped" in log
    assert "join" not in log.replace("join-token", "")
    assert broker.byes


def test_a_port_in_use_is_one_sentence(run_agent: Callable[..., subprocess.Popen[str]]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = run_agent("--bind", f"127.0.0.1:{taken.getsockname()[1]}", "--join-token", "join")
        _, log = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "is in use" in log
    assert "--bind" in log
    assert "Traceback" not in log


def test_a_refused_token_is_one_sentence(run_agent: Callable[..., subprocess.Popen[str]]) -> None:
    process = run_agent("--join-token", "wrong")
    _, log = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "the token is not known" in log
    assert "Traceback" not in log


def test_without_a_token_it_says_what_is_missing(run_agent: Callable[..., subprocess.Popen[str]]) -> None:
    process = run_agent()
    _, log = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "--join-token" in log


def test_help_is_quick_and_names_every_option() -> None:
    program = (
        "import sys, typer, gpupool_agent.cli as a; app = typer.Typer(); a.register(app)\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'zmq', 'cryptography', 'numpy', 'onnxruntime', 'pynvml'} & set(sys.modules), sys.modules.keys()"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, "COLUMNS": "200"}, check=False
    )
    assert shown.returncode == 0, shown.stderr
    for option in ("--broker", "--join-token", "--bind", "--advertise", "--worker-ports", "--device", "--null", "--insecure"):
        assert option in shown.stdout
