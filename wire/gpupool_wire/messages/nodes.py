"""What agent and broker say: nodes join and beat; the broker assigns, changes and revokes slices."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from gpupool_wire.errors import ErrorInfo
from gpupool_wire.limits import MAX_MODEL_NAME_CHARS, MAX_NAME_CHARS, MAX_TOLD_MODELS
from gpupool_wire.messages.common import Compute, Count, DeviceInfo, Epoch, Failed, Memory, Message, Name, Text
from gpupool_wire.units import Hold, Policy


class HeldSlice(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A slice as an agent's table has it, for reconciliation."""

    slice_id: Name
    epoch: Epoch


class AgentHello(Message, frozen=True, kw_only=True):
    """An agent registers its node. First with a join token, later with the credential it was given then."""

    version: int
    node: Name
    #: A join token (single use) or the node's own credential.
    token: Text
    devices: Annotated[list[DeviceInfo], Meta(max_length=64)]
    #: The address clients reach the door at.
    door: Name
    held: Annotated[list[HeldSlice], Meta(max_length=100_000)] = []
    labels: dict[str, str] = {}


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """A slice as the broker wants it on a node."""

    slice_id: Name
    epoch: Epoch
    tenant: Name
    device: Name
    compute_pct: Compute
    memory_mib: Memory
    policy: Policy
    hold: Hold
    #: It keeps its memory and gets no turn of the device until this is false again.
    is_paused: bool = False
    #: Why it will be taken back soon, and when (ms from now); empty where it will not.
    notice: Annotated[str, Meta(max_length=MAX_NAME_CHARS)] = ""
    notice_ms: Count = 0
    #: What it has used since it was granted, wherever it was, as far as the broker has heard by now.
    device_ns: Count = 0
    throttled_ns: Count = 0
    calls: Count = 0


class AgentWelcome(Message, frozen=True, kw_only=True):
    """The broker knows the node. Slices the agent holds and this list does not name are to be dropped."""

    version: int
    broker: Name
    #: What the agent shows at its next greeting; empty where it already has it.
    credential: Text
    #: Ed25519 public key (32 bytes) that leases are checked against.
    lease_key: Annotated[bytes, Meta(min_length=32, max_length=32)]
    slices: list[Assignment]


class Assign(Message, frozen=True, kw_only=True):
    """Serve this slice (new, or changed: the epoch is newer)."""

    slice: Assignment


class Revoke(Message, frozen=True, kw_only=True):
    """Stop serving this slice; nothing older than this epoch is admitted again."""

    slice_id: Name
    epoch: Epoch
    reason: Annotated[str, Meta(max_length=MAX_NAME_CHARS)]


class Shrink(Message, frozen=True, kw_only=True):
    """Can this slice do with so much memory? Until the deadline it may unload idle models for it. Answered by Shrunk."""

    slice_id: Name
    request_id: Name
    memory_mib: Memory
    deadline_ms: Count


class Shrunk(Message, frozen=True, kw_only=True):
    """The slice keeps to the smaller size from now on; or not, and why."""

    slice_id: Name
    request_id: Name
    error: ErrorInfo | None = None


class OpenedModel(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A model that a slice has open."""

    #: The name its graph has, cut; of one without, the beginning of its hash.
    name: Annotated[str, Meta(max_length=MAX_MODEL_NAME_CHARS)]
    weight_bytes: Count
    sessions: Count
    #: Its weights are in the slice's memory; else its next call loads them again.
    is_loaded: bool = True


class SliceUse(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What one slice used since the last report."""

    slice_id: Name
    epoch: Epoch
    device_ns: Count
    throttled_ns: Count
    calls: Count
    memory_bytes: Count
    #: Share of the device's time in the last ten seconds, in thousandths of a per cent.
    achieved_millipct: Count = 0
    #: Time it had work and no turn in the last ten seconds.
    throttled_10s_ms: Count = 0
    #: How many models it has open, and the largest of them.
    model_count: Count = 0
    models: Annotated[list[OpenedModel], Meta(max_length=MAX_TOLD_MODELS)] = []


class LinkLost(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """The holder of an attached slice is gone."""

    slice_id: Name
    epoch: Epoch
    reason: Annotated[str, Meta(max_length=MAX_NAME_CHARS)]


class DeviceEnergy(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What a board's own energy counter reads, in millijoules since its driver was loaded."""

    device: Name
    energy_mj: Count


class BoardHealth(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What a board says of itself; None where it does not say."""

    device: Name
    temperature_c: int | None = None
    power_mw: int | None = None
    #: Of its multiprocessors, and of its memory.
    clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    #: Memory errors that could not be corrected, since its driver was loaded.
    ecc_errors: int | None = None
    #: The driver's last report of a fault since the agent's start (NVIDIA's Xid numbers).
    xid: int | None = None


class Beat(Message, frozen=True, kw_only=True):
    """The agent lives; with it, what changed since the last beat."""

    seq: Count
    lost: list[LinkLost] = []
    use: list[SliceUse] = []
    energy: list[DeviceEnergy] = []
    boards: Annotated[list[BoardHealth], Meta(max_length=64)] = []


class BeatAnswer(Message, frozen=True, kw_only=True):
    """The broker lives; every slice of this node is renewed for that long."""

    seq: Count
    lease_ms: Count


class Bye(Message, frozen=True, kw_only=True):
    """The agent leaves in order; its slices end."""

    reason: Annotated[str, Meta(max_length=MAX_NAME_CHARS)] = ""


AgentToBroker = AgentHello | Beat | Shrunk | Bye
BrokerToAgent = AgentWelcome | Assign | Revoke | Shrink | BeatAnswer | Failed
