from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from gpupool import cli
from gpupool_wire.errors import SliceRefused

#: Commands that scripts rely on.
CONTRACT = {"demo", "up", "broker", "agent", "run", "slices", "nodes", "tokens", "resize", "release", "ocr", "version"}


def gpupool(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gpupool", *words]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environ, timeout=60)


def test_help_names_every_command() -> None:
    shown = CliRunner().invoke(cli.make_app(), ["--help"])
    assert shown.exit_code == 0
    names = {line.split()[1] for line in shown.output.splitlines() if line.startswith("│ ") and line[2] != " "}
    assert names >= CONTRACT


def every_command() -> list[tuple[str, ...]]:
    def below(group: Any, path: tuple[str, ...]) -> Iterator[Any]:
        for name, command in group.commands.items():
            yield (*path, name)
            if hasattr(command, "commands"):
                yield from below(command, (*path, name))

    return list(below(typer.main.get_command(cli.make_app()), ()))


@pytest.mark.parametrize("words", every_command(), ids=" ".join)
def test_every_command_has_help_for_itself_and_its_options(words: tuple[str, ...]) -> None:
    command: Any = typer.main.get_command(cli.make_app())
    for word in words:
        command = command.commands[word]
    assert command.help
    undocumented = [option.name for option in command.params if not getattr(option, "help", None) and option.name != "help"]
    assert undocumented == []


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; from gpupool.cli import make_app; make_app(); print([name for name in sys.argv[1:] if name in sys.modules])"
    )
    heavy = ["numpy", "zmq", "onnxruntime", "fastapi", "nicegui", "cv2", "cryptography"]
    done = subprocess.run([sys.executable, "-c", program, *heavy], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_version_says_what_is_installed() -> None:
    done = gpupool("version", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["gpupool"]


def test_an_error_is_one_sentence_and_status_one(home: Path) -> None:
    done = gpupool("nodes")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("gpupool: no pool runs on this machine")
    assert done.stderr.count("\n") == 1


def test_debug_shows_the_traceback(home: Path) -> None:
    done = gpupool("--debug", "nodes")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "gpupool: no pool runs on this machine" in done.stderr


@pytest.mark.parametrize("words", [("nosuch",), ("slices", "--nosuch"), ("resize", "s-1"), ("release",)])
def test_wrong_usage_is_status_two(words: Any, home: Path) -> None:
    done = gpupool(*words)
    assert done.returncode == 2
    assert "Usage" in done.stderr


def test_a_size_that_cannot_be_is_refused_before_anybody_is_asked(home: Path) -> None:
    done = gpupool("resize", "s-1", "--compute", "101", "--http", "127.0.0.1:9", GPUPOOL_TOKEN="t")
    assert done.returncode == 1
    assert "compute must be 1 to 100 per cent" in done.stderr


def test_nobody_at_the_address_is_one_sentence(home: Path) -> None:
    done = gpupool("slices", "--http", "127.0.0.1:9", GPUPOOL_TOKEN="t")
    assert done.returncode == 1
    assert done.stderr.startswith("gpupool: no broker answers at http://127.0.0.1:9")


def test_an_error_of_a_command_ends_main_with_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse() -> None:
        raise SliceRefused("no room")

    app = typer.Typer()
    app.command()(refuse)
    monkeypatch.setattr(cli, "make_app", lambda: app)
    monkeypatch.setattr(sys, "argv", ["gpupool"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err == "gpupool: no room\n"


def test_a_reader_that_has_gone_is_no_traceback(home: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "gpupool", "--help"], stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60
    )
    os.close(writing)
    assert done.stderr == ""
