"""Exchanges of a program and its children: every process writes its own file, and whoever started the program reads them all.

    program ──GPUPOOL_PROFILE=folder──> folder/PID.jsonl, a line for each exchange ──collect──> spans of all, in order of time

A line is written as soon as the exchange ends, so children that end by os._exit (as those of multiprocessing do) or are killed
leave what they did.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from gpupool.forks import renew_after_fork
from gpupool.profiling.spans import Span

VARIABLE: Final = "GPUPOOL_PROFILE"
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Span).decode


class SpanFile:
    """A sink that appends to this process's own file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._fd: int | None = None
        self._is_broken = False
        renew_after_fork(self)

    def __repr__(self) -> str:
        return f"<SpanFile in {self._folder}>"

    def renew_in_child(self) -> None:
        """Have a file of its own in a forked child."""
        self._lock = threading.Lock()
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __call__(self, span: Span) -> None:
        """Write an exchange. Where the folder has gone, nobody is left to be told."""
        with self._lock:
            if self._is_broken:
                return
            try:
                if self._fd is None:
                    path = self._folder / f"{os.getpid()}.jsonl"
                    self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
                os.write(self._fd, _encode(span) + b"\n")
            except OSError:
                self._is_broken = True


def sink_of(environ: Mapping[str, str] = os.environ) -> SpanFile | None:
    """Return where this process's exchanges go, None where nobody asks for them."""
    folder = environ.get(VARIABLE)
    return SpanFile(Path(folder)) if folder else None


def collect(folder: Path) -> list[Span]:
    """Return the exchanges of all processes, in the order in which they began."""
    return sorted(_read(folder), key=lambda span: span.start_ns)


def _read(folder: Path) -> Iterator[Span]:
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            try:
                yield _decode(line)
            except msgspec.MsgspecError:
                continue  # its process was killed while it wrote
