"""What a program is started with, and which programs the hook cannot reach."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from gpupool import hooking
from gpupool_wire.errors import UsageError


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        ("python app.py", None),
        ("python -m app -I", None),
        ("python -c pass -I", None),
        ("python -I app.py", "I"),
        ("/usr/bin/python3.11 -BE app.py", "E"),
        ("python3 -X dev -S app.py", "S"),
        ("python3 -Xdev -W error::S -S app.py", "S"),
        ("python -W ignore app.py -E", None),
        ("python -uBs app.py", None),
        ("python --check-hash-based-pycs always -I app.py", "I"),
        ("python - -I", None),
        ("python", None),
        ("pypy3 -I app.py", "I"),
        ("pythonic -I app.py", None),
        ("uvicorn -I app", None),
    ],
)
def test_options_that_keep_python_from_loading_the_hook(words: str, flag: str | None) -> None:
    assert hooking.isolating_flag(words.split()) == flag


def test_isolated_python_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"-I isolates Python from PYTHONPATH.*run it without -I"):
        hooking.check_command([sys.executable, "-I", "app.py"])
    with pytest.raises(UsageError, match=r"python3? -E makes Python ignore PYTHONPATH"):
        hooking.check_command(["env", "-u", "A=1", "python3", "-E", "app.py"])


def test_a_script_whose_first_line_isolates_python_is_refused(tmp_path: Path) -> None:
    script = tmp_path / "tool"
    script.write_text(f"#!{sys.executable} -sI\nprint()\n")
    script.chmod(0o755)
    with pytest.raises(UsageError, match="-I isolates Python"):
        hooking.check_command([str(script)])
    script.write_text(f"#!{sys.executable} -s\nprint()\n")
    assert hooking.check_command(["tool"], str(tmp_path)) == str(script)


def test_a_program_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="there is no program 'no-such-program' to run"):
        hooking.check_command(["no-such-program"])


def test_the_environment_keeps_what_was_there(tmp_path: Path) -> None:
    made = hooking.environment(
        {"PYTHONPATH": "/mine", "HOME": "/home/me", "MALLOC_TRIM_THRESHOLD_": "7"}, {"GPUPOOL_SLICE": "secret"}, tmp_path
    )
    assert made["PYTHONPATH"].split(os.pathsep) == [str(hooking.HOOK), "/mine"]
    assert (made["HOME"], made["GPUPOOL_SLICE"], made["GPUPOOL_RUN_MARKS"]) == ("/home/me", "secret", str(tmp_path))
    assert made["MALLOC_TRIM_THRESHOLD_"] == "7"
    assert int(made["MALLOC_MMAP_THRESHOLD_"]) == 1 << 30
    assert [Path(folder).name for folder in made["GPUPOOL_RUN_PACKAGES"].split(os.pathsep)] == ["gpupool", "gpupool_wire"]


def test_without_a_pythonpath_the_working_folder_is_not_added(tmp_path: Path) -> None:
    assert hooking.environment({}, {}, tmp_path)["PYTHONPATH"] == str(hooking.HOOK)


def test_the_hook_folder_holds_the_hook_and_nothing_that_can_be_imported_besides() -> None:
    names = [path.name for path in hooking.HOOK.iterdir() if path.name != "__pycache__"]
    assert names == ["sitecustomize.py"]


def test_what_is_said_of_a_program_that_did_not_use_its_slice(tmp_path: Path) -> None:
    assert "no Python process of the program loaded its hook" in str(hooking.unused(tmp_path))
    (tmp_path / hooking.HOOKED_MARK).touch()
    assert "ended without making one" in str(hooking.unused(tmp_path))
    (tmp_path / hooking.OPENED_MARK).touch()
    assert hooking.unused(tmp_path) is None
