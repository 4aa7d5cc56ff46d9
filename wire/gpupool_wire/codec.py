"""Messages to frames and back.

    Message + tensor frames ──encode──> [header, frame, frame, ...] ──decode──> Message + tensor frames

The header is one MessagePack array, tag first. Decoding validates every field against the message's types and limits; whatever is
wrong with what arrived, the only error raised is RemoteProtocolError.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import msgspec

from gpupool_wire.errors import LocalProtocolError, RemoteProtocolError
from gpupool_wire.limits import MAX_FRAME_BYTES, MAX_FRAMES, MAX_HEADER_BYTES, MAX_MESSAGE_BYTES
from gpupool_wire.messages import (
    AgentToBroker,
    BrokerToAgent,
    BrokerToClient,
    ClientToBroker,
    ClientToDoor,
    ClientToWorker,
    DoorToClient,
    Lease,
    Message,
    WorkerToClient,
)
from gpupool_wire.tensors import Buffer

M = TypeVar("M")
_encode = msgspec.msgpack.Encoder().encode


def encode(message: Message, frames: Sequence[Buffer] = ()) -> list[Buffer]:
    """Return the frames of a message: its header, then `frames` as they are.

    Raises LocalProtocolError where the message could not be decoded at the other end for its size.
    """
    header = _encode(message)
    if len(header) > MAX_HEADER_BYTES:
        raise LocalProtocolError(
            f"the header of {type(message).__name__} is {len(header)} bytes, over the limit of {MAX_HEADER_BYTES}",
            nbytes=len(header),
            limit=MAX_HEADER_BYTES,
        )
    if len(frames) >= MAX_FRAMES:
        raise LocalProtocolError(f"{len(frames)} frames are over the limit of {MAX_FRAMES} for one message: split it")
    return [header, *frames]


class Inbox(Generic[M]):
    """Decodes what arrives on one side of one conversation, and nothing else."""

    def __init__(self, accepted: Any) -> None:  # noqa: ANN401 - a union has no type of its own
        self._decode = msgspec.msgpack.Decoder(accepted).decode

    def decode(self, frames: Sequence[Buffer]) -> tuple[M, Sequence[Buffer]]:
        """Return the message of `frames` (header first) and its tensor frames; raise RemoteProtocolError for anything else."""
        if not frames:
            raise RemoteProtocolError("an empty message arrived")
        header = frames[0]
        if len(header) > MAX_HEADER_BYTES:
            raise RemoteProtocolError(f"a header of {len(header)} bytes arrived; the limit is {MAX_HEADER_BYTES}")
        if len(frames) > MAX_FRAMES:
            raise RemoteProtocolError(f"a message of {len(frames)} frames arrived; the limit is {MAX_FRAMES}")
        if len(frames) > 1:
            self._check_sizes(frames)
        try:
            message: M = self._decode(header)
        except (msgspec.MsgspecError, UnicodeError, RecursionError, OverflowError) as error:
            raise RemoteProtocolError(f"a malformed message arrived: {error}") from error
        return message, frames[1:]

    @staticmethod
    def _check_sizes(frames: Sequence[Buffer]) -> None:
        sizes = [len(frame) for frame in frames]
        if max(sizes) > MAX_FRAME_BYTES or sum(sizes) > MAX_MESSAGE_BYTES:
            raise RemoteProtocolError(
                f"a message of {sum(sizes)} bytes, largest frame {max(sizes)}, arrived; "
                f"the limits are {MAX_MESSAGE_BYTES} and {MAX_FRAME_BYTES}"
            )


#: One inbox for each side of each conversation.
FROM_CLIENT: Inbox[ClientToBroker] = Inbox(ClientToBroker)
FROM_BROKER: Inbox[BrokerToClient] = Inbox(BrokerToClient)
FROM_CLIENT_OR_AGENT: Inbox[ClientToBroker | AgentToBroker] = Inbox(ClientToBroker | AgentToBroker)
FROM_AGENT: Inbox[AgentToBroker] = Inbox(AgentToBroker)
FROM_BROKER_TO_AGENT: Inbox[BrokerToAgent] = Inbox(BrokerToAgent)
AT_DOOR: Inbox[ClientToDoor] = Inbox(ClientToDoor)
FROM_DOOR: Inbox[DoorToClient] = Inbox(DoorToClient)
AT_WORKER: Inbox[ClientToWorker] = Inbox(ClientToWorker)
FROM_WORKER: Inbox[WorkerToClient] = Inbox(WorkerToClient)

_decode_lease = msgspec.msgpack.Decoder(Lease).decode


def encode_lease(lease: Lease) -> bytes:
    """Return the bytes of a lease that the broker signs."""
    return _encode(lease)


def decode_lease(payload: bytes) -> Lease:
    """Return the lease of signed bytes (check the signature first); raise RemoteProtocolError where they are none."""
    try:
        return _decode_lease(payload)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise RemoteProtocolError(f"a malformed lease arrived: {error}") from error
