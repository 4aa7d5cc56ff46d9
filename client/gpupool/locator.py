"""Where is my slice now? Asked of the broker by whoever has a token, read from the holder's file by its guests."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Protocol

from gpupool.control import Control
from gpupool.grant import Grant, Invitation, decode_invitation, encode_invitation, grant_of
from gpupool_wire.errors import LeaseLost


class Locator(Protocol):
    """Knows where a slice is after its agent was lost."""

    def locate(self, slice_id: str) -> Grant:
        """Return the slice's grant as it is now.

        Raises NotFound or LeaseLost where the slice has ended, Conflict while it has no place, PoolUnreachable where nobody says.
        """


class BrokerLocator:
    """Asks the broker."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def locate(self, slice_id: str) -> Grant:
        """Return the slice's grant as the broker has it."""
        return grant_of(self._control.locate_slice(slice_id))


class FileLocator:
    """Reads the file that the slice's holder keeps current: for guests, which need no token."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def locate(self, slice_id: str) -> Grant:
        """Return the slice's grant as the holder wrote it last; raise LeaseLost once the holder has removed the file."""
        try:
            text = self.path.read_text(encoding="utf-8")
        except OSError as error:
            raise LeaseLost(
                f"slice {slice_id} has ended: the program that held it is gone, and its file {self.path} with it",
                slice_id=slice_id,
            ) from error
        return decode_invitation(text).grant


class InvitationFile:
    """The holder's side of that file: rewritten when the slice moves, removed when it ends."""

    def __init__(self, folder: Path, slice_id: str, url: str) -> None:
        self._pid = os.getpid()
        self.path = folder / f"{slice_id}-{self._pid}"
        self._url = url
        _remove_orphans(folder)

    def write(self, grant: Grant) -> str:
        """Write the invitation for `grant`, readable by this user alone, whole or not at all; return its text.

        A forked child does not write: its parent, which holds the slice, knows better.
        """
        text = encode_invitation(Invitation(grant=grant, file=str(self.path), url=self._url))
        if self._pid != os.getpid():
            return text
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self.path.with_name(f".{self.path.name}")
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        fresh.replace(self.path)
        return text

    def remove(self) -> None:
        """Remove the file. Idempotent; left alone by a forked child, whose parent still holds the slice."""
        if self._pid == os.getpid():
            with contextlib.suppress(OSError):
                self.path.unlink()


def _remove_orphans(folder: Path) -> None:
    """Remove what holders that were killed have left: their slices have ended."""
    for path in folder.glob("*-*"):
        pid = path.name.rpartition("-")[2]
        if pid.isdecimal() and not Path("/proc", pid).exists():
            path.unlink(missing_ok=True)
