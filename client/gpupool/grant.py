"""A slice as it was granted, and how a process passes it on to its children."""

from __future__ import annotations

import base64
import binascii

import msgspec

from gpupool_wire.errors import UsageError
from gpupool_wire.messages import SignedLease, SliceGranted
from gpupool_wire.units import Policy


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """A slice, where its agent's door is, and the lease that opens it."""

    slice_id: str
    epoch: int
    node: str
    device: str
    kind: str
    #: What the device is called by its maker.
    model: str
    compute_pct: int
    memory_mib: int
    policy: Policy
    door: str
    lease: SignedLease


def grant_of(answer: SliceGranted) -> Grant:
    """Return the grant that the broker's answer makes."""
    fields = {name: getattr(answer, name) for name in Grant.__struct_fields__}
    return Grant(**fields)


class Invitation(msgspec.Struct, frozen=True, kw_only=True):
    """What a child process needs to join its parent's slice as a guest: the value of GPUPOOL_SLICE. A secret."""

    grant: Grant
    #: Where the holder writes a fresh invitation each time the slice moves; it disappears when the slice ends.
    file: str = ""
    #: The broker, for a guest that has a token of its own.
    url: str = ""


def encode_invitation(invitation: Invitation) -> str:
    """Return an invitation as one word of text (base64url of MessagePack)."""
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(invitation)).decode()


def decode_invitation(text: str) -> Invitation:
    """Return the invitation of its text; raise UsageError where it is none."""
    try:
        packed = base64.b64decode(text.strip().encode(), altchars=b"-_", validate=True)
        return msgspec.msgpack.decode(packed, type=Invitation)
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise UsageError(
            f"GPUPOOL_SLICE does not hold an invitation to a slice ({error}): start the program with `gpupool run`"
        ) from error
