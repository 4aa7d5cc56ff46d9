"""The web process follows the broker, once for all pages that are open, and pages are told what changed.

    broker ──/changes (held until something changes)──> Follower ──one GET for each (credential, address)──> broker
                                                            └──what looks different──> pages ──websocket──> browsers

No browser asks for anything. A page is asked for with the credential of whoever looks at it, never with another's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gpupool_web.rest import Rest
from gpupool_wire.errors import GpupoolError, NotAuthorized

log = logging.getLogger(__name__)
#: Use of devices changes all the time and is no change of the pool: it is looked at this often.
USE_S: Final = 2.0
#: Between two looks at the pool, however much changes; and as many times as long as the last look took.
PAUSE_S, PAUSE_RATIO = 0.03, 1.0
#: How often a broker that is away is asked.
RETRY_S: Final = 1.0
#: Requests at a time: the broker has others to answer.
AT_A_TIME: Final = 4

Told = Callable[[Any, GpupoolError | None], None]
_Key = tuple[str, str, tuple[tuple[str, str], ...]]


@dataclass(eq=False, slots=True)
class Watch:
    """One page's interest in one address of REST. `path` and `params` may be changed; `look` then shows the new."""

    follower: Follower
    told: Told
    token: str
    path: str
    params: Mapping[str, str]
    #: What was told last.
    seen: object = field(default=None)

    @property
    def key(self) -> _Key:
        """What it shares with others that look at the same."""
        return self.token, self.path, tuple(sorted(self.params.items()))

    async def look(self, **params: str) -> None:
        """Look now, at other parameters where they are given."""
        if params:
            self.params = {**self.params, **params}
        self.tell(*await self.follower.ask(self.key))

    def tell(self, answer: object, trouble: GpupoolError | None) -> None:
        """Tell the page, unless it knows."""
        said = (answer, str(trouble) if trouble else None)
        if said != self.seen:
            # An answer that came before the trouble is still on the page.
            self.seen = said
            self.told(answer, trouble)

    def close(self) -> None:
        """Have no interest any more."""
        self.follower.forget(self)


class Follower:
    """Knows who looks at what, and runs while anybody does. Lives in one event loop."""

    def __init__(self, rest: Rest, clock: Callable[[], float] = time.monotonic) -> None:
        self._rest = rest
        self._clock = clock
        self._watches: set[Watch] = set()
        self._task: asyncio.Task[None] | None = None
        #: The broker's count of changes as it was last heard.
        self._changes = -1
        #: Credentials that the broker does not take: others are asked with.
        self._refused: set[str] = set()

    def __repr__(self) -> str:
        return f"<Follower, {len(self._watches)} watches, {len({watch.key for watch in self._watches})} addresses>"

    def watch(self, told: Told, token: str, path: str, params: Mapping[str, str]) -> Watch:
        """Tell somebody what REST says at an address whenever that is different; close the watch when done."""
        watch = Watch(self, told, token, path, params)
        self._watches.add(watch)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="follower")
        return watch

    def forget(self, watch: Watch) -> None:
        """Tell somebody nothing any more."""
        self._watches.discard(watch)

    async def ask(self, key: _Key) -> tuple[object, GpupoolError | None]:
        """Return what REST says at an address, or what is wrong."""
        token, path, params = key
        try:
            return await self._rest.look(path, token, **dict(params)), None
        except GpupoolError as error:
            return None, error

    async def _run(self) -> None:
        while self._watches:
            await self._until_changed()
            began = self._clock()
            await self._look()
            await asyncio.sleep(max(PAUSE_S, PAUSE_RATIO * (self._clock() - began)))
        self._refused.clear()

    async def _until_changed(self) -> None:
        """Wait until the pool has changed, or until its use is worth a look."""
        token = next((watch.token for watch in self._watches if watch.token not in self._refused), None)
        if token is None:
            await asyncio.sleep(RETRY_S)
            return
        try:
            said = await self._rest.get("/changes", token, after=str(self._changes), wait_s=str(USE_S))
        except NotAuthorized:
            # Whose credential it is hears of it with the look that follows.
            self._refused.add(token)
            return
        except GpupoolError:
            await asyncio.sleep(RETRY_S)
            return
        self._changes = said["changes"]

    async def _look(self) -> None:
        """Ask once for each address and tell everybody who looks at it."""
        looked: dict[_Key, list[Watch]] = {}
        for watch in self._watches:
            looked.setdefault(watch.key, []).append(watch)
        gate = asyncio.Semaphore(AT_A_TIME)

        async def one(key: _Key, watches: list[Watch]) -> None:
            async with gate:
                answer, trouble = await self.ask(key)
            for watch in watches:
                if watch in self._watches and watch.key == key:
                    watch.tell(answer, trouble)

        for fault in await asyncio.gather(*(one(key, watches) for key, watches in looked.items()), return_exceptions=True):
            if isinstance(fault, BaseException):
                # One page that cannot be drawn is no reason to leave the others as they are.
                log.error("a page could not be drawn", exc_info=fault, extra={"action": "page_failed"})
