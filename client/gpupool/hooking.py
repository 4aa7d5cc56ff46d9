"""What a program is started with so that its sessions run on a slice, and how it is known whether they did.

    gpupool run -- python app.py
        PYTHONPATH = hook : ...     every Python process of the program loads hook/sitecustomize.py
        GPUPOOL_SLICE               the invitation its sessions join the slice with
        GPUPOOL_RUN_MARKS           a folder: "hooked" once a Python process has loaded the hook, "opened" once a session is open

No gpupool is needed where the program's Python has numpy, pyzmq and msgspec: the hook finds the launcher's own packages.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import gpupool_wire
from gpupool_wire.errors import UsageError

#: The folder that goes on PYTHONPATH. It holds sitecustomize.py and nothing else.
HOOK: Final = Path(__file__).parent / "hook"
MARKS_VARIABLE: Final = "GPUPOOL_RUN_MARKS"
PACKAGES_VARIABLE: Final = "GPUPOOL_RUN_PACKAGES"
HOOKED_MARK: Final = "hooked"
OPENED_MARK: Final = "opened"
#: Large tensors move at 1.2 GB/s where glibc maps and unmaps each of them, and at 5 where it keeps their pages.
MALLOC: Final = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}

_PYTHON = re.compile(r"(python|pypy)\d*(\.\d+)*[a-z]?(\.exe)?")
_WHY = {
    "I": "isolates Python from PYTHONPATH",
    "E": "makes Python ignore PYTHONPATH",
    "S": "keeps Python from loading sitecustomize",
}
#: A first line of a script is read no further than the kernel reads it.
_SHEBANG_BYTES: Final = 256


def environment(environ: Mapping[str, str], invitation: Mapping[str, str], marks: Path) -> dict[str, str]:
    """Return the environment of the program: the launcher's own, and what puts its sessions on the slice."""
    path = os.pathsep.join(filter(None, [str(HOOK), environ.get("PYTHONPATH", "")]))
    packages = os.pathsep.join(str(folder) for folder in (Path(__file__).parent, *gpupool_wire.__path__))
    return {**MALLOC, **environ, **invitation, "PYTHONPATH": path, PACKAGES_VARIABLE: packages, MARKS_VARIABLE: str(marks)}


def check_command(command: Sequence[str], search_path: str | None = None) -> str:
    """Return the full path of the program; raise UsageError where there is none, or where the hook cannot reach its Python."""
    found = shutil.which(command[0], path=search_path)
    if found is None:
        raise UsageError(f"there is no program {command[0]!r} to run")
    for words in (_plain(command), _plain(_shebang(Path(found)))):
        flag = isolating_flag(words)
        if flag is not None:
            raise UsageError(
                f"{words[0]} -{flag} {_WHY[flag]}, so gpupool cannot put its sessions under this program: "
                f"run it without -{flag}, or use gpupool.onnxruntime in the program itself"
            )
    return found


def isolating_flag(words: Sequence[str]) -> str | None:
    """Return the letter of the option ("I", "E", "S") that keeps a Python started with these words from loading the hook."""
    if not words or not _PYTHON.fullmatch(os.path.basename(words[0])):
        return None
    options = iter(words[1:])
    for word in options:
        if not word.startswith("-") or word in ("-", "--"):
            return None
        if word.startswith("--"):
            if word == "--check-hash-based-pycs":
                next(options, None)
            continue
        for place, letter in enumerate(word[1:], start=1):
            if letter in _WHY:
                return letter
            if letter in "cm":
                return None  # the rest is the program's own
            if letter in "WX":
                if place == len(word) - 1:
                    next(options, None)
                break
    return None


def _plain(words: Sequence[str]) -> Sequence[str]:
    """Return a command without a leading `env` and what it sets."""
    if not words or os.path.basename(words[0]) != "env":
        return words
    rest = list(words[1:])
    while rest and (rest[0].startswith("-") or "=" in rest[0]):
        rest.pop(0)
    return rest


def _shebang(program: Path) -> list[str]:
    """Return the words of a script's first line, none where it is no script."""
    try:
        with program.open("rb") as file:
            first = file.read(_SHEBANG_BYTES).split(b"\n")[0]
    except OSError:
        return []
    return first[2:].decode(errors="replace").split() if first.startswith(b"#!") else []


def unused(marks: Path) -> str | None:
    """Return why nothing of a program that has ended ran on its slice; None where something did."""
    if (marks / OPENED_MARK).exists():
        return None
    if (marks / HOOKED_MARK).exists():
        return "no ONNX Runtime session was opened through gpupool: the program ended without making one"
    return (
        "no ONNX Runtime session was opened through gpupool: no Python process of the program loaded its hook "
        "(not a Python program, a frozen one, or one that starts Python with -I, -E, -S or without PYTHONPATH)"
    )
