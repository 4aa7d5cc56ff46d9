"""Links, channels and sessions of a worker, without sockets."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gpupool_agent.core.sessions import JOIN_S, MAX_CHANNELS, MAX_PARTS_IN_FLIGHT, MAX_SESSIONS, Sessions
from gpupool_wire.errors import GpupoolError, LimitExceeded, NotAuthorized, NotFound, RemoteProtocolError
from gpupool_wire.messages import PROTOCOL_VERSION, AskUsage, Join, Joined, Leave, Ping, PutModel, Run

TICKET = b"t" * 16
RUN = Run(call_id=1, session_id=1, feed=[])
PUT = PutModel(call_id=1, sha256="0" * 64, offset=0, nbytes=1)


@pytest.fixture
def sessions() -> Iterator[Sessions]:
    """Links of a worker, checked when the test is over."""
    sessions = Sessions()
    sessions.admit(TICKET, "link", holder=True, now_s=0.0)
    yield sessions
    sessions.check_invariants()


def join(sessions: Sessions, channel: bytes = b"c1", ticket: bytes = TICKET, now_s: float = 1.0) -> None:
    sessions.heard(channel, Join(version=PROTOCOL_VERSION, ticket=ticket), now_s)
    sessions.said(channel, Joined(version=PROTOCOL_VERSION, device="cpu0", kind="cpu"))


def test_a_ticket_admits_any_number_of_channels(sessions: Sessions) -> None:
    for number in range(5):
        join(sessions, bytes([number]))
    assert len(sessions.channel_ids) == 5
    assert {id(sessions.link_of(channel)) for channel in sessions.channel_ids} == {id(sessions.link_of(b"\0"))}


def test_an_unknown_ticket_admits_nobody(sessions: Sessions) -> None:
    with pytest.raises(NotAuthorized):
        join(sessions, ticket=b"x" * 16)
    assert sessions.link_of(b"c1") is None


def test_nothing_is_heard_before_joining(sessions: Sessions) -> None:
    for message in (RUN, Ping(call_id=1), Leave(), AskUsage(call_id=1)):
        with pytest.raises(RemoteProtocolError):
            sessions.heard(b"c1", message, 1.0)


def test_one_call_is_in_flight_per_channel(sessions: Sessions) -> None:
    join(sessions)
    join(sessions, b"c2")
    sessions.heard(b"c1", RUN, 2.0)
    with pytest.raises(RemoteProtocolError, match="one call at a time"):
        sessions.heard(b"c1", RUN, 2.0)
    sessions.heard(b"c2", RUN, 2.0)
    sessions.heard(b"c1", Ping(call_id=2), 2.0)
    sessions.answered(b"c1", RUN)
    sessions.heard(b"c1", RUN, 3.0)


def test_parts_of_an_upload_may_overlap_so_far(sessions: Sessions) -> None:
    join(sessions)
    for _ in range(MAX_PARTS_IN_FLIGHT):
        sessions.heard(b"c1", PUT, 2.0)
    with pytest.raises(RemoteProtocolError):
        sessions.heard(b"c1", PUT, 2.0)
    sessions.answered(b"c1", PUT)
    sessions.heard(b"c1", PUT, 2.0)


def test_a_link_ends_with_its_last_channel(sessions: Sessions) -> None:
    join(sessions, b"c1")
    join(sessions, b"c2")
    link = sessions.link_of(b"c1")
    assert link is not None
    number = sessions.open_session(link)
    assert sessions.channel_gone(b"c1", "left") is None
    gone = sessions.channel_gone(b"c2", "its socket is gone")
    assert gone is not None
    assert (gone.link_id, gone.holder, gone.reason, gone.sessions) == ("link", True, "its socket is gone", (number,))
    assert link.has_ended
    assert sessions.session_count == 0
    with pytest.raises(NotAuthorized):
        join(sessions)
    assert sessions.channel_gone(b"c2", "again") is None


def test_a_link_nobody_joins_in_time_is_gone(sessions: Sessions) -> None:
    assert sessions.overdue(JOIN_S) == []
    (gone,) = sessions.overdue(JOIN_S + 0.1)
    assert gone.link_id == "link"
    assert sessions.overdue(JOIN_S + 0.1) == []


def test_a_link_that_was_joined_is_never_overdue(sessions: Sessions) -> None:
    join(sessions)
    assert sessions.overdue(1000.0) == []


def test_only_silent_channels_are_probed(sessions: Sessions) -> None:
    join(sessions, b"c1", now_s=1.0)
    join(sessions, b"c2", now_s=1.0)
    sessions.heard(b"c2", Ping(call_id=1), 5.0)
    assert list(sessions.silent(4.0)) == [b"c1"]


def test_a_session_is_its_links_own(sessions: Sessions) -> None:
    other = b"o" * 16
    sessions.admit(other, "other", holder=False, now_s=0.0)
    join(sessions)
    join(sessions, b"c2", other)
    mine, theirs = sessions.link_of(b"c1"), sessions.link_of(b"c2")
    assert mine is not None
    assert theirs is not None
    number = sessions.open_session(mine)
    sessions.check_session(mine, number)
    with pytest.raises(NotFound):
        sessions.check_session(theirs, number)
    with pytest.raises(NotFound):
        sessions.close_session(theirs, number)
    sessions.close_session(mine, number)
    with pytest.raises(NotFound):
        sessions.close_session(mine, number)


def test_sessions_and_channels_are_limited(sessions: Sessions) -> None:
    for number in range(MAX_CHANNELS):
        join(sessions, number.to_bytes(4, "big"))
    with pytest.raises(LimitExceeded):
        join(sessions, b"one more")
    link = sessions.link_of((0).to_bytes(4, "big"))
    assert link is not None
    for _ in range(MAX_SESSIONS):
        sessions.open_session(link)
    with pytest.raises(LimitExceeded):
        sessions.open_session(link)


CHANNELS = st.integers(0, 5).map(lambda number: bytes([number]))
TICKETS = st.integers(0, 3).map(lambda number: bytes([number]) * 16)


class AnyHistory(RuleBasedStateMachine):
    """Whatever clients and the agent do, in any order, the books agree."""

    def __init__(self) -> None:
        super().__init__()
        self.sessions = Sessions()
        self.now_s = 0.0
        self.opened: list[int] = []

    @rule(ticket=TICKETS)
    def admit(self, ticket: bytes) -> None:
        self.sessions.admit(ticket, ticket.hex(), holder=ticket[0] == 0, now_s=self.now_s)

    @rule(channel=CHANNELS, ticket=TICKETS)
    def join(self, channel: bytes, ticket: bytes) -> None:
        with contextlib.suppress(GpupoolError):
            join(self.sessions, channel, ticket, self.now_s)

    @rule(channel=CHANNELS, message=st.sampled_from([RUN, PUT, Ping(call_id=1)]))
    def hear(self, channel: bytes, message: Run | PutModel | Ping) -> None:
        with contextlib.suppress(GpupoolError):
            self.sessions.heard(channel, message, self.now_s)

    @rule(channel=CHANNELS)
    def open(self, channel: bytes) -> None:
        if (link := self.sessions.link_of(channel)) is not None:
            self.opened.append(self.sessions.open_session(link))

    @precondition(lambda self: self.opened)
    @rule(channel=CHANNELS, data=st.data())
    def close(self, channel: bytes, data: st.DataObject) -> None:
        link = self.sessions.link_of(channel)
        if link is not None:
            with contextlib.suppress(NotFound):
                self.sessions.close_session(link, data.draw(st.sampled_from(self.opened)))

    @rule(channel=CHANNELS)
    def lose(self, channel: bytes) -> None:
        gone = self.sessions.channel_gone(channel, "lost")
        assert gone is None or self.sessions.link_of(channel) is None

    @rule(seconds=st.floats(0.1, 20.0))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.sessions.overdue(self.now_s)

    @invariant()
    def books_agree(self) -> None:
        self.sessions.check_invariants()


AnyHistory.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestAnyHistory = AnyHistory.TestCase
