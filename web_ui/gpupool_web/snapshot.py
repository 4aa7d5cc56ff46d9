"""What the pages show: one picture of the pool per credential, fetched at most once a second however many pages are open."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from gpupool_web.rest import Json, Rest
from gpupool_wire.errors import GpupoolError, NotAuthorized

FRESH_S = 1.0
#: Pictures of credentials nobody looks with any more are forgotten.
FORGET_S = 60.0


@dataclass(slots=True)
class Snapshot:
    """The pool as one user may see it."""

    nodes: list[Json] = field(default_factory=list)
    devices: list[Json] = field(default_factory=list)
    slices: list[Json] = field(default_factory=list)
    #: Monotonic second of the last complete picture, and why there is none since.
    taken_s: float = 0.0
    trouble: str = ""


class Snapshots:
    """Keeps a Snapshot per credential."""

    def __init__(self, rest: Rest, clock: Callable[[], float] = time.monotonic) -> None:
        self._rest = rest
        self._clock = clock
        self._known: dict[str, Snapshot] = {}
        self._tried_s: dict[str, float] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def of(self, token: str) -> Snapshot:
        """Return the pool as `token` sees it; what could not be fetched anew stays, with the trouble said.

        Raises NotAuthorized where the credential does not hold any more.
        """
        async with self._locks.setdefault(token, asyncio.Lock()):
            snapshot = self._known.setdefault(token, Snapshot())
            now = self._clock()
            if now - self._tried_s.get(token, -FRESH_S) >= FRESH_S:
                self._tried_s[token] = now
                await self._refresh(token, snapshot)
                self._forget(now)
            return snapshot

    async def _refresh(self, token: str, snapshot: Snapshot) -> None:
        try:
            nodes, devices, slices = await asyncio.gather(
                self._rest.get("/nodes", token), self._rest.get("/devices", token), self._rest.get("/slices", token)
            )
        except NotAuthorized:
            raise
        except GpupoolError as error:
            snapshot.trouble = str(error)
        else:
            snapshot.nodes, snapshot.devices, snapshot.slices = nodes, devices, slices
            snapshot.taken_s, snapshot.trouble = self._clock(), ""

    def _forget(self, now: float) -> None:
        for token in [token for token, tried in self._tried_s.items() if now - tried > FORGET_S]:
            for table in (self._known, self._tried_s, self._locks):
                table.pop(token, None)
