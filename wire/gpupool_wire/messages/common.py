"""What every conversation uses: the base of messages, the types of their fields, leases, errors."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from gpupool_wire.errors import ErrorInfo
from gpupool_wire.limits import MAX_NAME_CHARS
from gpupool_wire.units import COMPUTE_MAX_PCT, COMPUTE_MIN_PCT, MEMORY_MAX_MIB, Hold, Policy

#: Raised whenever a peer of the previous version could misread this one.
PROTOCOL_VERSION = 3

Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME_CHARS)]
Text = Annotated[str, Meta(max_length=65_536)]
Compute = Annotated[int, Meta(ge=COMPUTE_MIN_PCT, le=COMPUTE_MAX_PCT)]
#: Compute that may be said in another way, or not at all: 0.
Share = Annotated[int, Meta(ge=0, le=COMPUTE_MAX_PCT)]
Memory = Annotated[int, Meta(ge=1, le=MEMORY_MAX_MIB)]
Epoch = Annotated[int, Meta(ge=0, le=2**53)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Key = Annotated[str, Meta(max_length=512)]
#: A project within a tenant; its account is "tenant/project".
Project = Annotated[str, Meta(max_length=MAX_NAME_CHARS, pattern="^[^/]*$")]
LabelValue = Annotated[str, Meta(max_length=MAX_NAME_CHARS)]
#: Models, labels and versions one request may name.
MAX_CONSTRAINTS = 16


class Message(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag=str.lower):
    """What travels. The class name, in lower case, is the tag."""


class Failed(Message, frozen=True, kw_only=True):
    """The request of this id failed; so did the whole conversation where the id is 0."""

    error: ErrorInfo
    call_id: Count = 0


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """The broker's promise, as the agent's door checks it. Signed as its MessagePack bytes."""

    slice_id: Name
    epoch: Epoch
    tenant: Name
    node: Name
    device: Name
    compute_pct: Compute
    memory_mib: Memory
    policy: Policy
    hold: Hold
    #: The holder's CURVE public key (Z85), where the link is encrypted.
    client_key: Key = ""


class SignedLease(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A lease and the broker's Ed25519 signature (RFC 8032) over exactly these bytes."""

    payload: Annotated[bytes, Meta(max_length=8_192)]
    signature: Annotated[bytes, Meta(min_length=64, max_length=64)]


class DeviceInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One device as its agent offers it."""

    device: Name
    #: "cuda", "cpu" or "null"; a CPU is never passed off as a GPU.
    kind: Name
    model: Name
    memory_mib: Memory
    #: Booked beside every slice for the worker itself (CUDA context and libraries), measured by the agent.
    worker_overhead_mib: Count = 0
    labels: dict[str, str] = {}
