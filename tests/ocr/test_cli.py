"""`gpupool ocr` as people call it: exit codes, one sentence a mistake."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from gpupool_ocr import samples
from gpupool_ocr.cli import register


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    return app


def test_every_bad_file_is_named_and_the_others_are_read(app: typer.Typer, tmp_path: Path, locked_pdf: Path) -> None:
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "empty.png").touch()
    (tmp_path / "cut.png").write_bytes(samples.paths()[1].read_bytes()[:20_000])
    ticket = samples.paths()[1]
    files = [tmp_path / "text.jpg", ticket, tmp_path / "empty.png", tmp_path / "cut.png", locked_pdf]
    done = CliRunner().invoke(app, ["ocr", "--local", *map(str, files)])
    assert done.exit_code == 1
    assert "G2187" in done.stdout.splitlines()
    assert done.stdout.startswith(f"==> {ticket} <==\n")
    complaints = done.stderr.splitlines()
    assert [line.split(" ")[2] for line in complaints] == [str(path) for path in files if path != ticket]


def test_one_page_is_printed_without_a_heading(app: typer.Typer) -> None:
    done = CliRunner().invoke(app, ["ocr", "--local", str(samples.paths()[1])])
    assert (done.exit_code, done.stderr) == (0, "")
    assert not done.stdout.startswith("==>")


def test_a_size_that_cannot_be_is_refused(app: typer.Typer) -> None:
    done = CliRunner().invoke(app, ["ocr", "--compute", "250", str(samples.paths()[0])])
    assert done.exit_code != 0
    assert "250" in str(done.exception) + done.output


def test_a_bar_is_shown_on_a_terminal_and_the_text_stays_clear_of_it(tmp_path: Path) -> None:
    program = "import typer; from gpupool_ocr.cli import register; app = typer.Typer(no_args_is_help=True); register(app); app()"
    screen, terminal = os.openpty()
    with os.fdopen(screen, "rb", buffering=0) as shown:
        command = [sys.executable, "-c", program, "ocr", "--local", str(samples.paths()[1])]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=terminal, env={**os.environ, "TERM": "xterm"}, text=True
        ) as run:
            os.close(terminal)
            seen = b""
            with contextlib.suppress(OSError):  # how Linux reports that nobody holds the terminal any more
                while chunk := shown.read(4096):
                    seen += chunk
            text = run.communicate(timeout=100)[0]
    assert run.returncode == 0
    assert b"reading" in seen
    assert b"1/1" in seen
    assert "G2187" in text.splitlines()
    assert "\x1b" not in text


def test_the_command_line_is_quick_to_import() -> None:
    heavy = "{'cv2', 'numpy', 'onnx', 'onnxruntime', 'PIL', 'pypdfium2', 'rapidocr'}"
    program = f"import sys, gpupool_ocr.cli; sys.exit(', '.join({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=False).stderr == b"\n"
