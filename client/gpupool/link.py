"""This process's link to one slice: the door opens it, its channels carry the calls.

    Link.open ──lease──▶ door (agent) ──worker's address, ticket──▶ Link
    call ──▶ borrow a channel ══ Run, frames ══▶ worker ══ Result, frames ══▶ give the channel back

A channel is a line with one call in flight, so concurrent calls travel on channels of their own, and nothing on a call's path
waits for another thread. Where the worker is on this host, channels other than the first are Unix sockets (see gpupool.stream).
A channel whose call did not end in order is closed, never given back.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from gpupool import forks, shared_memory, stream
from gpupool.control import program_name
from gpupool.grant import Grant
from gpupool.keeper import Keeper
from gpupool.line import Gone, Line
from gpupool.pace import Pace
from gpupool.settings import coding_mode
from gpupool.traffic import Traffic
from gpupool_wire.codec import FROM_DOOR, FROM_WORKER
from gpupool_wire.conversation import CLIENT_AND_DOOR, CLIENT_AND_WORKER
from gpupool_wire.errors import GpupoolError
from gpupool_wire.limits import ANSWER_S
from gpupool_wire.messages import (
    PROTOCOL_VERSION,
    CloseSession,
    Join,
    Joined,
    Leave,
    LinkOpened,
    Message,
    OpenLink,
    SliceNews,
    WorkerToClient,
)
from gpupool_wire.tensors import Buffer

#: Channels of one link besides its first: more callers than this wait for one another. A worker executes one call at a time, and
#: a few dozen in its queue already keep it busy.
MAX_CHANNELS: Final = 32
#: A channel unused for so long is closed; opening it again costs about a millisecond.
IDLE_S: Final = 30.0

#: How long the end of a link waits for its goodbye to be sent.
GOODBYE_S: Final = 1.0

Channel = Line[WorkerToClient]
_log = logging.getLogger(__name__)


class Link:
    """One open link. Thread-safe. Once lost it stays lost: its slice opens another."""

    def __init__(self, opened: LinkOpened, *, slice_id: str, holder: bool, on_end: Callable[[Link, GpupoolError], None]) -> None:
        self.worker = opened.worker
        self.pace = Pace(opened.worker, coding_mode())
        self.slice_id = slice_id
        #: What was last decided about the slice: whether it is paused, and whether it will be taken back.
        self.news = SliceNews(is_paused=False)
        self.link_id = opened.link_id
        self.holder = holder
        self.lost: GpupoolError | None = None
        self._generation = forks.generation
        self._ticket = opened.ticket
        #: The channels nobody uses, with the time since when; whoever takes or gives one needs no lock.
        self._idle: collections.deque[tuple[float, Channel]] = collections.deque()
        self._all: set[Channel] = set()
        self._freed = threading.Condition()
        self._waiting = 0
        self._gone_traffic = Traffic()
        self._closed = False
        self._forgotten: collections.deque[int] = collections.deque()
        self._call_ids = itertools.count(1)
        self._on_end = on_end
        first: Channel = Line(self.worker, CLIENT_AND_WORKER, FROM_WORKER)
        self.joined = self._join(first)
        #: Whether the worker may be on this host; tried once.
        self._is_near = bool(self.joined.stream) and stream.is_wanted()
        self._keeper = Keeper(first, self._turn, self._hear, self._end)
        self._keeper.start()

    @classmethod
    def open(cls, grant: Grant, *, holder: bool, timeout_s: float, on_end: Callable[[Link, GpupoolError], None]) -> Link:
        """Open a link at the grant's door; the agent starts the slice's worker if it has none.

        Raises Gone or Silent where the door or the worker does not answer, and what the door refuses with: LeaseLost,
        NotAuthorized, NotFound, SliceRefused.
        """
        door = Line(grant.door, CLIENT_AND_DOOR, FROM_DOOR)
        greeting = OpenLink(version=PROTOCOL_VERSION, lease=grant.lease, holder=holder, name=program_name())
        try:
            opened = door.greet(greeting, LinkOpened, timeout_s)
        finally:
            door.close()
        return cls(opened, slice_id=grant.slice_id, holder=holder, on_end=on_end)

    def __repr__(self) -> str:
        state = "lost" if self.lost else "closed" if self._closed else "open"
        return f"<Link to {self.worker}, {state}, {len(self._all)} channels, {len(self._idle)} idle>"

    @property
    def is_open(self) -> bool:
        """Whether calls can be made on it, by this process."""
        return self.lost is None and not self._closed and self._generation == forks.generation

    def call(
        self,
        question: Message,
        frames: Sequence[Buffer] = (),
        *,
        timeout_s: float | None = None,
        counted: Traffic | None = None,
    ) -> tuple[WorkerToClient, list[Buffer]]:
        """Send a question to the worker on a channel of its own; return the answer and its frames.

        What it moves is added to `counted`. Raises WorkerLost where the worker goes away first, and whatever it answers as an
        error.
        """
        channel = self._take()
        if counted is not None:
            counted.take_from(channel)
        try:
            return channel.ask(question, frames, timeout_s=timeout_s)
        finally:
            if counted is not None:
                counted.add(channel)
            self._give_back(channel)

    @property
    def traffic(self) -> Traffic:
        """What has been said on it so far; its first channel, which carries no calls, does not count."""
        total = Traffic()
        with self._freed:
            total.add(self._gone_traffic)
            for channel in self._all:
                total.add(channel)
            total.saved_bytes += self.pace.saved_bytes
        return total

    def next_call_id(self) -> int:
        """Return an id that no other question on this link has."""
        return next(self._call_ids)

    def forget(self, session_id: int) -> None:
        """Have a session closed at the next turn. Safe to call from a finalizer: takes no lock."""
        self._forgotten.append(session_id)

    def close(self) -> None:
        """End the link; the worker hears it at once. Idempotent; in a forked child it leaves the parent's link alone."""
        if self._generation != forks.generation:
            return
        with self._freed:
            self._closed = True
            self._freed.notify_all()
        self._drop(self._take_idle(math.inf))
        self._keeper.leave()
        # The keeper of a lost link may be busy finding the next one; one that is about to say goodbye is worth waiting for.
        if self.lost is None and self._keeper is not threading.current_thread():
            self._keeper.join(GOODBYE_S)

    def _join(self, channel: Channel) -> Joined:
        near = channel.connection if isinstance(channel.connection, stream.Stream) else None
        if near is not None and shared_memory.is_wanted():
            near.offer()
        joined = channel.greet(Join(version=PROTOCOL_VERSION, ticket=self._ticket), Joined, ANSWER_S)
        if near is not None:
            near.accepted(joined.arena_bytes)
        return joined

    def _take(self) -> Channel:
        """Return the channel used last (its buffers are warm), or a new one, or wait for one."""
        if not self.is_open:
            raise self._ended()
        try:
            return self._idle.pop()[1]
        except IndexError:
            return self._take_slowly()

    def _take_slowly(self) -> Channel:
        with self._freed:
            self._waiting += 1  # from here on, whoever gives a channel back tells
            try:
                while True:
                    if not self.is_open:
                        raise self._ended()
                    if self._idle:
                        with contextlib.suppress(IndexError):  # another caller was quicker
                            return self._idle.pop()[1]
                    if len(self._all) < MAX_CHANNELS:
                        break
                    self._freed.wait()
                channel = self._new_channel()
                self._all.add(channel)
            finally:
                self._waiting -= 1
        try:
            self._join(channel)
        except BaseException:
            self._drop([channel])
            raise
        return channel

    def _new_channel(self) -> Channel:
        if self._is_near:
            try:
                near = stream.Stream(
                    self.joined.stream,
                    self.joined.pid,
                    is_lost=lambda: self.lost is not None,
                    is_alone=lambda: len(self._all) - len(self._idle) == 1,
                )
            except Gone as error:
                _log.debug("calls to %s go through its port: %s", self.worker, error)
                self._is_near = False
            else:
                self.pace.is_own_host = True
                return Line(self.worker, CLIENT_AND_WORKER, FROM_WORKER, near)
        return Line(self.worker, CLIENT_AND_WORKER, FROM_WORKER)

    def _give_back(self, channel: Channel) -> None:
        if channel.is_open and self.is_open:
            self._idle.append((time.monotonic(), channel))
            if self._waiting:
                with self._freed:
                    self._freed.notify()
            if self.is_open:
                return
            # Closed meanwhile, by somebody who may not have seen this channel any more.
        self._drop([channel])

    def _drop(self, channels: Iterable[Channel]) -> None:
        for channel in channels:
            channel.close(goodbye=Leave())
        with self._freed:
            for channel in channels:
                if channel in self._all:
                    self._all.discard(channel)
                    self._gone_traffic.add(channel)
            self._freed.notify_all()

    def _take_idle(self, unused_before: float) -> list[Channel]:
        """Take the channels that nobody has used since that time."""
        taken: list[Channel] = []
        with contextlib.suppress(IndexError):  # a caller may take the last one meanwhile
            while self._idle and self._idle[0][0] < unused_before:
                since, channel = self._idle.popleft()
                if since >= unused_before:
                    self._idle.appendleft((since, channel))
                    break
                taken.append(channel)
        return taken

    def _ended(self) -> Gone:
        return Gone(f"the link to {self.worker} has ended: {self.lost or 'it was closed'}")

    def _turn(self) -> None:
        """What the keeper does about once a second."""
        with contextlib.suppress(GpupoolError):
            while self._forgotten and self.is_open:
                self.call(CloseSession(call_id=self.next_call_id(), session_id=self._forgotten.popleft()), timeout_s=ANSWER_S)
        self._drop(self._take_idle(time.monotonic() - IDLE_S))

    def _hear(self, news: SliceNews) -> None:
        before, self.news = self.news, news
        if news.is_paused and not before.is_paused:
            _log.warning("slice %s is paused: it keeps its memory, and its calls wait until it goes on", self.slice_id)
        if before.is_paused and not news.is_paused:
            _log.warning("slice %s goes on", self.slice_id)
        if news.notice and news.notice != before.notice:
            _log.warning("slice %s will be taken back in %g s: %s", self.slice_id, news.notice_ms / 1000, news.notice)
        if before.notice and not news.notice:
            _log.warning("slice %s will not be taken back after all", self.slice_id)

    def _end(self, error: GpupoolError) -> None:
        with self._freed:
            self.lost = error
            self._freed.notify_all()
        if not self._closed:
            self._on_end(self, error)
