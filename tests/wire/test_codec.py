"""Frames to messages: what is encoded is decoded, and nothing that arrives raises anything but the typed error."""

from __future__ import annotations

import contextlib

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpupool_wire import codec, messages, tensors
from gpupool_wire.codec import AT_WORKER, FROM_BROKER, FROM_CLIENT, FROM_WORKER, encode
from gpupool_wire.errors import LocalProtocolError, RemoteProtocolError
from gpupool_wire.limits import MAX_FRAME_BYTES, MAX_FRAMES, MAX_HEADER_BYTES
from gpupool_wire.messages import Message, Ping, RequestSlice, Run
from gpupool_wire.units import Policy

ANY_MESSAGE = codec.Inbox[Message](
    messages.ClientToBroker
    | messages.BrokerToClient
    | messages.AgentToBroker
    | messages.BrokerToAgent
    | messages.ClientToDoor
    | messages.DoorToClient
    | messages.ClientToWorker
    | messages.WorkerToClient
)
INBOXES = [
    FROM_CLIENT,
    FROM_BROKER,
    codec.FROM_AGENT,
    codec.FROM_BROKER_TO_AGENT,
    codec.AT_DOOR,
    codec.FROM_DOOR,
    AT_WORKER,
    FROM_WORKER,
]


def request(**changes: object) -> list[codec.Buffer]:
    """A request as raw frames, with fields a typed sender could not write."""
    plain = msgspec.structs.asdict(RequestSlice(call_id=1, request_id="r", compute_pct=10, memory_mib=64))
    return [msgspec.msgpack.encode(["requestslice", *{**plain, **changes}.values()])]


@given(st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_kind_of_message_comes_back_equal(messages_of_kind: st.SearchStrategy[Message], data: st.DataObject) -> None:
    message = data.draw(messages_of_kind)
    arrived, frames = ANY_MESSAGE.decode(encode(message))
    assert arrived == message
    assert list(frames) == []


def test_tensor_frames_follow_the_header_untouched() -> None:
    array = np.arange(10, dtype=np.int16)
    (spec,), frames = tensors.pack_values([array])
    sent = encode(Run(call_id=1, session_id=1, feed=[("x", spec)]), frames)
    message, rest = AT_WORKER.decode(sent)
    assert isinstance(message, Run)
    assert np.array_equal(tensors.unpack_values([s for _, s in message.feed], rest)[0], array)


@pytest.mark.parametrize(
    "changes",
    [
        {"compute_pct": -1},
        {"priority": 101},
        {"project": "a/b"},
        {"count": 0},
        {"models": ["m"] * 17},
        {"node_labels": {"zone": "x" * 10_000}},
        {"compute_pct": 101},
        {"compute_pct": 0.9999},
        {"compute_pct": "10"},
        {"memory_mib": 0},
        {"memory_mib": -1},
        {"memory_mib": 2**60},
        {"policy": "greedy"},
        {"request_id": ""},
        {"request_id": "x" * 513},
        {"wait_ms": -1},
        {"label": 7},
        {"call_id": 2**63},
    ],
)
def test_a_field_out_of_range_is_refused_by_name(changes: dict[str, object]) -> None:
    assert FROM_CLIENT.decode(request(policy=Policy.BURST))[0].policy is Policy.BURST  # type: ignore[union-attr]
    with pytest.raises(RemoteProtocolError, match=r"\$"):
        FROM_CLIENT.decode(request(**changes))


def test_a_message_of_another_conversation_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="Invalid value"):
        FROM_WORKER.decode(encode(RequestSlice(call_id=1, request_id="r", compute_pct=1, memory_mib=1)))


@given(st.lists(st.binary(max_size=200), max_size=4), st.sampled_from(INBOXES))
def test_random_frames_raise_only_the_typed_error(frames: list[bytes], inbox: codec.Inbox[Message]) -> None:
    with pytest.raises(RemoteProtocolError):
        inbox.decode(frames)


@given(st.data(), st.sampled_from(INBOXES))
def test_mutated_messages_raise_only_the_typed_error(data: st.DataObject, inbox: codec.Inbox[Message]) -> None:
    header = bytearray(encode(Run(call_id=1, session_id=1, feed=[("x", tensors.TensorSpec("float32", (2,), 1, 8))]))[0])
    for _ in range(data.draw(st.integers(1, 4))):
        header[data.draw(st.integers(0, len(header) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(header)))
    with contextlib.suppress(RemoteProtocolError):  # anything else fails the test
        message, rest = inbox.decode([bytes(header[:cut]), bytes(8)])
        assert isinstance(message, Message)
        if isinstance(message, Run):
            tensors.unpack_values([spec for _, spec in message.feed], rest)


@pytest.mark.parametrize("depth", [10, 1_000, 100_000])
def test_deep_nesting_is_refused(depth: int) -> None:
    with pytest.raises(RemoteProtocolError):
        FROM_CLIENT.decode([b"\x91" * depth + b"\xc0"])


def test_limits_are_named() -> None:
    header = encode(Ping(call_id=1))[0]
    with pytest.raises(RemoteProtocolError, match="empty"):
        FROM_CLIENT.decode([])
    with pytest.raises(RemoteProtocolError, match=str(MAX_HEADER_BYTES)):
        FROM_CLIENT.decode([bytes(MAX_HEADER_BYTES + 1)])
    with pytest.raises(RemoteProtocolError, match=str(MAX_FRAMES)):
        FROM_CLIENT.decode([header] + [b""] * MAX_FRAMES)
    with pytest.raises(RemoteProtocolError, match=str(MAX_FRAME_BYTES)):
        FROM_CLIENT.decode([header, bytes(MAX_FRAME_BYTES + 1)])


def test_what_the_other_end_would_refuse_is_not_sent() -> None:
    with pytest.raises(LocalProtocolError, match="header"):
        encode(Run(call_id=1, session_id=1, feed=[], outputs=["x" * 1000] * 2000))
    with pytest.raises(LocalProtocolError, match="frames"):
        encode(Ping(call_id=1), [b""] * MAX_FRAMES)


def test_a_lease_is_read_from_exactly_the_bytes_that_were_signed() -> None:
    lease = messages.Lease(
        slice_id="s", epoch=1, tenant="t", node="n", device="d", compute_pct=1, memory_mib=1, policy="fixed", hold="held"
    )
    assert codec.decode_lease(codec.encode_lease(lease)).slice_id == "s"
    with pytest.raises(RemoteProtocolError):
        codec.decode_lease(b"\x00")
