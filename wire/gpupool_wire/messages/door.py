"""What client and door say: a signed lease opens a link and names the slice's worker."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from gpupool_wire.limits import MAX_NAME_CHARS
from gpupool_wire.messages.common import Failed, Message, Name, SignedLease


class OpenLink(Message, frozen=True, kw_only=True):
    """Open a link to a slice with its signed lease."""

    version: int
    lease: SignedLease
    #: True for the process the slice is attached to; others (its children) are guests, whose end changes nothing.
    holder: bool
    name: Annotated[str, Meta(max_length=MAX_NAME_CHARS)] = ""


class LinkOpened(Message, frozen=True, kw_only=True):
    """The slice's worker listens there; the ticket admits this link's channels."""

    worker: Name
    ticket: Annotated[bytes, Meta(min_length=16, max_length=64)]
    link_id: Name


ClientToDoor = OpenLink
DoorToClient = LinkOpened | Failed
