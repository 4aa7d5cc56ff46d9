"""Who may say what, and when: the tables walked from both ends."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpupool_wire import codec
from gpupool_wire import messages as m
from gpupool_wire.conversation import (
    AGENT_AND_BROKER,
    CLIENT_AND_BROKER,
    CLIENT_AND_DOOR,
    CLIENT_AND_WORKER,
    Conversation,
    Speaker,
    State,
    Table,
)
from gpupool_wire.errors import ErrorInfo, LocalProtocolError, RemoteProtocolError

HELLO = m.Hello(version=m.PROTOCOL_VERSION, token="t")
WELCOME = m.Welcome(version=m.PROTOCOL_VERSION, broker="b", tenant="t")
FAILED = m.Failed(error=ErrorInfo(code="fault", message="no"))
TABLES = {"broker": CLIENT_AND_BROKER, "agent": AGENT_AND_BROKER, "door": CLIENT_AND_DOOR, "worker": CLIENT_AND_WORKER}


def test_a_greeting_and_its_answer_open_the_conversation(pair: Callable[..., object]) -> None:
    ends = pair(CLIENT_AND_BROKER, codec.FROM_CLIENT, codec.FROM_BROKER)
    ends.say(ends.caller, HELLO)  # type: ignore[attr-defined]
    ends.say(ends.host, WELCOME)  # type: ignore[attr-defined]
    assert ends.caller.is_open  # type: ignore[attr-defined]
    assert ends.say(ends.caller, m.Ping(call_id=3)) == m.Ping(call_id=3)  # type: ignore[attr-defined]


def test_a_refused_greeting_closes_it(pair: Callable[..., object]) -> None:
    ends = pair(CLIENT_AND_BROKER, codec.FROM_CLIENT, codec.FROM_BROKER)
    ends.say(ends.caller, HELLO)  # type: ignore[attr-defined]
    ends.say(ends.host, FAILED)  # type: ignore[attr-defined]
    assert ends.host.state is State.CLOSED  # type: ignore[attr-defined]


def test_a_leaving_channel_closes_it(pair: Callable[..., object]) -> None:
    ends = pair(CLIENT_AND_WORKER, codec.AT_WORKER, codec.FROM_WORKER)
    ends.say(ends.caller, m.Join(version=m.PROTOCOL_VERSION, ticket=bytes(16)))  # type: ignore[attr-defined]
    ends.say(ends.host, m.Joined(version=m.PROTOCOL_VERSION, device="d", kind="cpu"))  # type: ignore[attr-defined]
    ends.say(ends.caller, m.Leave())  # type: ignore[attr-defined]
    with pytest.raises(LocalProtocolError, match="closed"):
        ends.caller.said(m.Ping(call_id=1))  # type: ignore[attr-defined]


def test_an_illegal_message_leaves_the_state_and_blames_the_right_side() -> None:
    here = Conversation(CLIENT_AND_BROKER, Speaker.HOST)
    with pytest.raises(RemoteProtocolError, match="Ping from the caller does not belong"):
        here.heard(m.Ping(call_id=1))
    with pytest.raises(LocalProtocolError, match="Welcome from the host"):
        here.said(WELCOME)
    assert here.state is State.NEW


def test_another_version_is_refused_with_both_named() -> None:
    here = Conversation(CLIENT_AND_BROKER, Speaker.HOST)
    with pytest.raises(RemoteProtocolError, match=f"version 999, this side {m.PROTOCOL_VERSION}"):
        here.heard(m.Hello(version=999, token="t"))
    assert here.state is State.NEW


@pytest.mark.parametrize("name", TABLES)
def test_nothing_is_said_in_a_closed_conversation(name: str) -> None:
    assert [key for key in TABLES[name] if key[0] is State.CLOSED] == []


@pytest.mark.parametrize("name", TABLES)
def test_every_state_is_reached(name: str) -> None:
    table: Table = TABLES[name]
    assert {State.NEW, *table.values()} == set(State)


UNIONS = {
    ("broker", Speaker.CALLER): m.ClientToBroker,
    ("broker", Speaker.HOST): m.BrokerToClient,
    ("agent", Speaker.CALLER): m.AgentToBroker,
    ("agent", Speaker.HOST): m.BrokerToAgent,
    ("door", Speaker.CALLER): m.ClientToDoor,
    ("door", Speaker.HOST): m.DoorToClient,
    ("worker", Speaker.CALLER): m.ClientToWorker,
    ("worker", Speaker.HOST): m.WorkerToClient,
}


@pytest.mark.parametrize(("name", "speaker"), UNIONS)
def test_tables_and_decoders_name_the_same_messages(name: str, speaker: Speaker) -> None:
    union = UNIONS[name, speaker]
    decoded = set(getattr(union, "__args__", (union,)))
    assert {kind for _, who, kind in TABLES[name] if who is speaker} == decoded
