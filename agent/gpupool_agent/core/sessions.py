"""Who may speak to a worker, and about what: links, their tickets and channels, and the sessions they opened.

Rules: a ticket belongs to one link and admits any number of its channels. A channel belongs to one link, follows the table of
its conversation, and has one call in flight (parts of an upload apart). A channel is known by its routing id, or, where it is a
stream of this host, by its number. A session belongs to the link that opened it; other links cannot name it. A link is gone when
the last of its channels that beat (streams do not: those of a client that hangs stay open) is gone or has said goodbye, or when
nobody joined it in time; its sessions and streams go with it. Doors return what the shell has to do about it; the time is an
argument (seconds, monotonic).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from gpupool_wire.conversation import CLIENT_AND_WORKER, Conversation, Speaker
from gpupool_wire.errors import LimitExceeded, NotAuthorized, NotFound, RemoteProtocolError
from gpupool_wire.messages import CloseSession, Join, Message, OpenModel, Operate, PutModel, Run

#: A ticket nobody joins with in this time is void: its client died on the way from the door.
JOIN_S = 10.0
#: Channels of one link: one per thread that calls at the same time, and programs rarely have more.
MAX_CHANNELS = 256
#: Links and sessions of one worker; each session costs at least the runtime's own structures (about a megabyte).
MAX_LINKS = 1024
MAX_SESSIONS = 1024
#: Parts of an upload on their way at once, so that one is stored while the next arrives.
MAX_PARTS_IN_FLIGHT = 4

#: A ROUTER's routing id, or the number of a stream of this host.
ChannelId = bytes | int

_CALLS = (OpenModel, Run, Operate, CloseSession)


@dataclass(slots=True, kw_only=True)
class Link:
    """One client process on the slice."""

    link_id: str
    holder: bool
    admitted_s: float
    channels: set[ChannelId] = field(default_factory=set)
    sessions: set[int] = field(default_factory=set)
    has_joined: bool = False
    has_ended: bool = False


@dataclass(slots=True, kw_only=True)
class Channel:
    """One socket of a link."""

    link: Link
    conversation: Conversation
    heard_s: float
    calls: int = 0
    parts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GoneLink:
    """A link has ended: close these sessions, tell the agent."""

    link_id: str
    holder: bool
    reason: str
    #: It said goodbye; else its sockets are gone, which may be the network's doing.
    left: bool = False
    sessions: tuple[int, ...] = ()
    #: Channels that still think they are joined.
    channels: tuple[ChannelId, ...] = ()


class Sessions:
    """The links, channels and sessions of one worker."""

    def __init__(self) -> None:
        self._tickets: dict[bytes, Link] = {}
        self._channels: dict[ChannelId, Channel] = {}
        self._owners: dict[int, Link] = {}
        self._last_session = 0

    def __repr__(self) -> str:
        return f"<Sessions, {len(self._tickets)} links, {len(self._channels)} channels, {len(self._owners)} sessions>"

    @property
    def session_count(self) -> int:
        """How many sessions are open."""
        return len(self._owners)

    @property
    def channel_ids(self) -> list[ChannelId]:
        """The channels that have joined."""
        return list(self._channels)

    # ── links ──────

    def admit(self, ticket: bytes, link_id: str, *, holder: bool, now_s: float) -> None:
        """Expect a link. A repeat changes nothing. Raises LimitExceeded past MAX_LINKS."""
        if ticket in self._tickets:
            return
        if len(self._tickets) >= MAX_LINKS:
            raise LimitExceeded(f"the slice has {MAX_LINKS} links already", limit=MAX_LINKS)
        self._tickets[ticket] = Link(link_id=link_id, holder=holder, admitted_s=now_s)

    def overdue(self, now_s: float) -> list[GoneLink]:
        """Return the links that nobody joined in time, which are gone now."""
        late = [ticket for ticket, link in self._tickets.items() if not link.has_joined and now_s - link.admitted_s > JOIN_S]
        return [self._end(ticket, f"nobody joined within {JOIN_S:.0f} s") for ticket in late]

    # ── channels ──────

    def heard(self, channel_id: ChannelId, message: Message, now_s: float) -> Link:
        """Take note of a message; return the link it belongs to.

        Raises NotAuthorized for a ticket that admits nobody, and RemoteProtocolError for a message that does not belong here:
        before joining, joining twice, or a second call while one is in flight.
        """
        channel = self._channels.get(channel_id)
        if channel is None:
            return self._join(channel_id, message, now_s)
        channel.heard_s = now_s
        channel.conversation.heard(message)
        if isinstance(message, _CALLS):
            if channel.calls:
                raise RemoteProtocolError(
                    f"{type(message).__name__} arrived while a call of this channel is in flight: one call at a time, "
                    "open another channel for more"
                )
            channel.calls += 1
        elif isinstance(message, PutModel):
            if channel.parts >= MAX_PARTS_IN_FLIGHT:
                raise RemoteProtocolError(f"{MAX_PARTS_IN_FLIGHT} parts of an upload are in flight already: wait for an answer")
            channel.parts += 1
        return channel.link

    def answered(self, channel_id: ChannelId, message: Message) -> None:
        """Take note that a call of this channel was answered (the call itself is the argument)."""
        channel = self._channels.get(channel_id)
        if channel is not None and isinstance(message, _CALLS):
            channel.calls -= 1
        elif channel is not None and isinstance(message, PutModel):
            channel.parts -= 1

    def link_of(self, channel_id: ChannelId) -> Link | None:
        """Return the link of a channel, None where it has not joined or is gone."""
        channel = self._channels.get(channel_id)
        return channel.link if channel else None

    def silent(self, since_s: float) -> Iterable[ChannelId]:
        """Return the channels not heard of since then: those to probe. A stream's end is seen without."""
        return [
            channel_id
            for channel_id, channel in self._channels.items()
            if channel.heard_s < since_s and not isinstance(channel_id, int)
        ]

    def channel_gone(self, channel_id: ChannelId, reason: str, *, left: bool = False) -> GoneLink | None:
        """Forget a channel, which has said goodbye or not; return its link where that was the last one that beats."""
        channel = self._channels.pop(channel_id, None)
        if channel is None:
            return None
        channel.link.channels.discard(channel_id)
        if _beats(channel.link):
            return None
        ticket = next(ticket for ticket, link in self._tickets.items() if link is channel.link)
        return self._end(ticket, reason, left=left)

    # ── sessions ──────

    def open_session(self, link: Link) -> int:
        """Return the number of a new session of the link; raise LimitExceeded past MAX_SESSIONS."""
        if len(self._owners) >= MAX_SESSIONS:
            raise LimitExceeded(f"the slice has {MAX_SESSIONS} sessions open already: close some", limit=MAX_SESSIONS)
        self._last_session += 1
        self._owners[self._last_session] = link
        link.sessions.add(self._last_session)
        return self._last_session

    def check_session(self, link: Link, session_id: int) -> None:
        """Raise NotFound where the link has no such session."""
        if self._owners.get(session_id) is not link:
            raise NotFound(f"there is no session {session_id} on this link", session_id=session_id)

    def close_session(self, link: Link, session_id: int) -> None:
        """Forget a session; raise NotFound where the link has none of that number."""
        self.check_session(link, session_id)
        del self._owners[session_id]
        link.sessions.discard(session_id)

    def _join(self, channel_id: ChannelId, message: Message, now_s: float) -> Link:
        conversation = Conversation(CLIENT_AND_WORKER, Speaker.HOST)
        conversation.heard(message)
        assert isinstance(message, Join)  # noqa: S101 - the table has no other greeting
        link = self._tickets.get(message.ticket)
        if link is None:
            raise NotAuthorized("this ticket admits nobody: open the link at the agent's door again")
        if isinstance(channel_id, int) and not _beats(link):
            raise RemoteProtocolError("a link's first channel is one that beats: join at the worker's port first")
        if len(link.channels) >= MAX_CHANNELS:
            raise LimitExceeded(f"the link has {MAX_CHANNELS} channels already", limit=MAX_CHANNELS)
        link.has_joined = True
        link.channels.add(channel_id)
        self._channels[channel_id] = Channel(link=link, conversation=conversation, heard_s=now_s)
        return link

    def said(self, channel_id: ChannelId, message: Message) -> None:
        """Take note of what this side says to a channel (its welcome opens the conversation)."""
        channel = self._channels.get(channel_id)
        if channel is not None:
            channel.conversation.said(message)

    def _end(self, ticket: bytes, reason: str, *, left: bool = False) -> GoneLink:
        link = self._tickets.pop(ticket)
        link.has_ended = True
        for channel_id in link.channels:
            self._channels.pop(channel_id, None)
        for session_id in link.sessions:
            self._owners.pop(session_id, None)
        return GoneLink(
            link_id=link.link_id,
            holder=link.holder,
            reason=reason,
            left=left,
            sessions=tuple(sorted(link.sessions)),
            channels=tuple(link.channels),
        )

    def check_invariants(self) -> None:
        """Raise AssertionError where links, channels and sessions do not agree."""
        links = list(self._tickets.values())
        channels = {channel_id for link in links for channel_id in link.channels}
        sessions = {session_id for link in links for session_id in link.sessions}
        if channels != set(self._channels) or sessions != set(self._owners):
            raise AssertionError(f"{self!r} does not agree with its links")
        if any(link.has_joined and not _beats(link) for link in links):
            raise AssertionError(f"{self!r} keeps a link that has ended")
        if any(channel.calls not in (0, 1) or channel.parts < 0 for channel in self._channels.values()):
            raise AssertionError(f"{self!r} has lost count of its calls")


def _beats(link: Link) -> bool:
    """Whether the link has a channel that tells when its client hangs."""
    return any(isinstance(channel_id, bytes) for channel_id in link.channels)
