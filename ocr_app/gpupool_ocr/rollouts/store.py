"""Snapshots by number, and the desired state: kept in a folder by one service, in Redis by several."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import msgspec

from gpupool_ocr.rollouts.desired import Desired
from gpupool_wire.errors import Conflict, NotFound


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot in the history."""

    number: int = 0
    #: Wall clock (seconds).
    at: float
    by: str
    note: str
    yaml: str
    #: How it read its golden samples when it was applied: characters found of those there are, by algorithm.
    recall: dict[str, float] = {}
    #: How many samples these were; 0 where nobody wrote it down.
    samples: int = 0


class SnapshotStore(Protocol):
    """Keeps snapshots for ever, and the desired state. Thread-safe."""

    def desired(self) -> Desired:
        """Return the desired state. Raises QueueAway where the store is away."""

    def set_desired(self, state: Desired) -> None:
        """Replace the state of the revision before. Raises Conflict where somebody else was quicker."""

    def add(self, draft: Entry) -> int:
        """Keep a snapshot, whatever number the draft has; return its own."""

    def get(self, number: int) -> Entry:
        """Return a snapshot. Raises NotFound."""

    def history(self) -> list[Entry]:
        """Return all snapshots, newest first."""

    def restore(self, state: Desired, history: list[Entry]) -> bool:
        """Put back what the store has lost; return False where it holds this revision, or a later one."""


def is_lost(present: Desired, known: Desired) -> bool:
    """Whether a store forgot what was known: revisions only grow, so one that is smaller was begun anew."""
    return present.revision < known.revision


def check_revision(before: Desired, after: Desired) -> None:
    """Refuse a state that was not made from the present one. Raises Conflict."""
    if after.revision != before.revision + 1:
        raise Conflict(f"the desired state has changed meanwhile (revision {before.revision}): look at it and try again")


class FolderStore:
    """A SnapshotStore of one machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def desired(self) -> Desired:
        """See SnapshotStore."""
        try:
            return msgspec.json.decode((self._folder / "desired.json").read_bytes(), type=Desired)
        except FileNotFoundError:
            return Desired()

    def set_desired(self, state: Desired) -> None:
        """See SnapshotStore."""
        with self._locked():
            check_revision(self.desired(), state)
            self._write("desired.json", msgspec.json.encode(state))

    def add(self, draft: Entry) -> int:
        """See SnapshotStore."""
        with self._locked():
            number = max(self._numbers(), default=0) + 1
            self._write(f"{number:06}.json", msgspec.json.encode(msgspec.structs.replace(draft, number=number)))
        return number

    def get(self, number: int) -> Entry:
        """See SnapshotStore."""
        try:
            return msgspec.json.decode((self._folder / f"{number:06}.json").read_bytes(), type=Entry)
        except FileNotFoundError:
            raise NotFound(f"there is no snapshot {number}; there are 1 to {max(self._numbers(), default=0)}") from None

    def history(self) -> list[Entry]:
        """See SnapshotStore."""
        return [self.get(number) for number in sorted(self._numbers(), reverse=True)]

    def restore(self, state: Desired, history: list[Entry]) -> bool:
        """See SnapshotStore."""
        with self._locked():
            if not is_lost(self.desired(), state):
                return False
            for entry in history:
                self._write(f"{entry.number:06}.json", msgspec.json.encode(entry))
            self._write("desired.json", msgspec.json.encode(state))
            return True

    def _numbers(self) -> list[int]:
        return [int(path.stem) for path in self._folder.glob("[0-9]*.json")]

    def _write(self, name: str, content: bytes) -> None:
        """Write a file whole or not at all."""
        part = self._folder / f".{name}.part"
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self._folder / name)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
