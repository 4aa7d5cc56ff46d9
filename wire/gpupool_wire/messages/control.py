"""What client and broker say: slices are asked for, resized, located, released."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from gpupool_wire.limits import MAX_NAME_CHARS
from gpupool_wire.messages.common import (
    MAX_CONSTRAINTS,
    Compute,
    Count,
    Epoch,
    Failed,
    Key,
    LabelValue,
    Memory,
    Message,
    Name,
    Project,
    Share,
    SignedLease,
    Text,
)
from gpupool_wire.units import GPUS_MAX, PRIORITY_MAX, PRIORITY_USUAL, Apart, Arrange, Hold, Policy


class Hello(Message, frozen=True, kw_only=True):
    """A client greets the broker. The token names the tenant."""

    version: int
    token: Text
    #: Program and host, for people: "ocr.py on desk-7".
    name: Annotated[str, Meta(max_length=MAX_NAME_CHARS)] = ""


class Welcome(Message, frozen=True, kw_only=True):
    """The broker knows the client."""

    version: int
    broker: Name
    tenant: Name


class RequestSlice(Message, frozen=True, kw_only=True):
    """Ask for a slice. A repeat of the same request id gets the recorded answer."""

    call_id: Count
    request_id: Name
    #: 0 where `tflops` says it.
    compute_pct: Share
    memory_mib: Memory
    policy: Policy = Policy.FIXED
    hold: Hold = Hold.ATTACHED
    #: Only devices of this kind ("cuda", "cpu", "null"); None takes any that computes.
    kind: Annotated[str, Meta(max_length=MAX_NAME_CHARS)] | None = None
    #: How long to wait in the queue where it does not fit now (ms).
    wait_ms: Count = 0
    label: Annotated[str, Meta(max_length=MAX_NAME_CHARS)] = ""
    client_key: Key = ""
    #: An elastic slice has `compute_pct` at least, and up to this where the device is idle; 0 keeps to `compute_pct`.
    compute_max_pct: Share = 0
    #: Compute in normalised units: each device's share follows from its label `tflops`.
    tflops: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    #: So many devices, all or none. Answered by GangGranted where it is more than one.
    count: Annotated[int, Meta(ge=1, le=GPUS_MAX)] = 1
    arrange: Arrange = Arrange.PACK
    project: Project = ""
    priority: Annotated[int, Meta(ge=0, le=PRIORITY_MAX)] = PRIORITY_USUAL
    #: Any of these GPU models.
    models: Annotated[list[Name], Meta(max_length=MAX_CONSTRAINTS)] = []
    #: Labels of the device or its node.
    node_labels: Annotated[dict[Name, LabelValue], Meta(max_length=MAX_CONSTRAINTS)] = {}
    #: Labels that are versions, such as driver or compute_capability.
    at_least: Annotated[dict[Name, LabelValue], Meta(max_length=MAX_CONSTRAINTS)] = {}
    #: On the node of this slice.
    near: Annotated[str, Meta(max_length=MAX_NAME_CHARS)] = ""
    #: Apart from the account's slices with the same label.
    apart: Apart = Apart.NO
    #: Out of this reservation.
    reservation: Annotated[str, Meta(max_length=MAX_NAME_CHARS)] = ""


class CancelRequest(Message, frozen=True, kw_only=True):
    """Nobody waits for this request any more. Answered by Pong, or by Failed where it does not wait (any more)."""

    call_id: Count
    request_id: Name


class SliceGranted(Message, frozen=True, kw_only=True):
    """The slice is yours; the lease opens the door at that address."""

    call_id: Count
    lease: SignedLease
    slice_id: Name
    epoch: Epoch
    node: Name
    device: Name
    kind: Name
    model: Name
    compute_pct: Compute
    memory_mib: Memory
    policy: Policy
    #: The agent's door: "tcp://host:port", or "curve://KEY@host:port" where it is encrypted.
    door: Name


class GangGranted(Message, frozen=True, kw_only=True):
    """The slices of one request for several devices, all granted at once."""

    call_id: Count
    gang_id: Name
    members: Annotated[list[SliceGranted], Meta(max_length=GPUS_MAX)]


class LocateSlice(Message, frozen=True, kw_only=True):
    """Where is my slice now? Asked after its agent was lost; answered by SliceGranted or Failed."""

    call_id: Count
    slice_id: Name


class ResizeSlice(Message, frozen=True, kw_only=True):
    """Change a live slice; None leaves a dimension as it is."""

    call_id: Count
    request_id: Name
    slice_id: Name
    compute_pct: Compute | None = None
    memory_mib: Memory | None = None
    #: For less memory than the slice uses: how long idle models may be unloaded to make it fit; 0 refuses at once.
    deadline_ms: Count = 0


class SliceResized(Message, frozen=True, kw_only=True):
    """The slice has its new size."""

    call_id: Count
    slice_id: Name
    epoch: Epoch
    compute_pct: Compute
    memory_mib: Memory


class ReleaseSlice(Message, frozen=True, kw_only=True):
    """Give a slice back."""

    call_id: Count
    request_id: Name
    slice_id: Name


class SliceReleased(Message, frozen=True, kw_only=True):
    """The slice is free again."""

    call_id: Count
    slice_id: Name


class Ping(Message, frozen=True, kw_only=True):
    """Are you there?"""

    call_id: Count


class Pong(Message, frozen=True, kw_only=True):
    """Yes."""

    call_id: Count


ClientToBroker = Hello | RequestSlice | CancelRequest | LocateSlice | ResizeSlice | ReleaseSlice | Ping
BrokerToClient = Welcome | SliceGranted | GangGranted | SliceResized | SliceReleased | Pong | Failed
