"""The dynamic snapshot: which instances are alive, and what they are doing."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Protocol

import msgspec

from gpupool_wire.errors import GpupoolError

BEAT_S = 1.0
#: An instance that was silent for so long is gone.
LOST_S = 5.0


class Beat(msgspec.Struct, frozen=True, kw_only=True):
    """What an instance says of itself."""

    instance: str
    host: str
    pid: int
    #: Wall clock of the instance (seconds).
    at: float
    #: Documents it can read at the same time, and does.
    threads: int
    busy: int
    #: Snapshots it can read with, and those it cannot, with the reason.
    releases: list[int] = []
    problems: dict[int, str] = {}
    #: Revision of the desired state that it follows.
    revision: int = -1
    #: Slices of the pool that its snapshots asked for, and where each is.
    slices: dict[str, str] = {}


class BeatStore(Protocol):
    """Where beats are heard."""

    def beat(self, beat: Beat) -> None:
        """Hear a beat. Raises QueueAway."""

    def alive(self) -> list[Beat]:
        """Return the newest beat of everyone who beat within LOST_S. Raises QueueAway."""


class LocalBeats:
    """A BeatStore of one process."""

    def __init__(self) -> None:
        self._beats: dict[str, Beat] = {}

    def beat(self, beat: Beat) -> None:
        """See BeatStore."""
        self._beats[beat.instance] = beat

    def alive(self) -> list[Beat]:
        """See BeatStore."""
        return list(self._beats.values())


class Heartbeats:
    """The thread that beats."""

    def __init__(self, store: BeatStore, describe: Callable[[], Beat]) -> None:
        self.store = store
        self._describe = describe
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ocr-beat", daemon=True)

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def stop(self) -> None:
        """Beat no more."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while True:
            with contextlib.suppress(GpupoolError):  # whoever is silent is lost, and is back with the next beat that is heard
                self.store.beat(self._describe())
            if self._stopping.wait(BEAT_S):
                return
