"""Every message of gpupool, by conversation.

    client ──control──> broker        slices are asked for, resized, released, located
    agent  ──control──> broker        nodes join and beat; the broker assigns, changes and revokes slices
    client ──door─────> agent         a signed lease opens a link and names the slice's worker
    client ──data─────> worker        models, calls and their tensors

Each message is a frozen struct; its union per conversation and direction is what a decoder accepts, so that a message of another
conversation is refused before anybody acts on it. Fields are positional on the wire: add at the end, with a default.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from gpupool_wire.errors import ErrorInfo
from gpupool_wire.limits import CHUNK_BYTES, MAX_MODEL_BYTES, MAX_NAME_CHARS
from gpupool_wire.tensors import ValueSpec
from gpupool_wire.units import (
    COMPUTE_MAX_PCT,
    COMPUTE_MIN_PCT,
    GPUS_MAX,
    MEMORY_MAX_MIB,
    PRIORITY_MAX,
    PRIORITY_USUAL,
    Apart,
    Arrange,
    Hold,
    Policy,
)

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
#: Models, labels and versions one request may name.
MAX_CONSTRAINTS = 16


class Message(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag=str.lower):
    """What travels. The class name, in lower case, is the tag."""


# ── what several conversations say ──────


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


# ── client → broker, broker → client ──────


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
    node_labels: Annotated[dict[Name, str], Meta(max_length=MAX_CONSTRAINTS)] = {}
    #: Labels that are versions, such as driver or compute_capability.
    at_least: Annotated[dict[Name, str], Meta(max_length=MAX_CONSTRAINTS)] = {}
    #: On the node of this slice.
    near: Annotated[str, Meta(max_length=MAX_NAME_CHARS)] = ""
    #: Apart from the account's slices with the same label.
    apart: Apart = Apart.NO
    #: Out of this reservation.
    reservation: Annotated[str, Meta(max_length=MAX_NAME_CHARS)] = ""


class CancelRequest(Message, frozen=True, kw_only=True):
    """Nobody waits for this request any more. There is no answer of its own: the request's is a refusal, if it still waited."""

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


# ── agent → broker, broker → agent ──────


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


class LinkLost(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """The holder of an attached slice is gone."""

    slice_id: Name
    epoch: Epoch
    reason: Annotated[str, Meta(max_length=MAX_NAME_CHARS)]


class Beat(Message, frozen=True, kw_only=True):
    """The agent lives; with it, what changed since the last beat."""

    seq: Count
    lost: list[LinkLost] = []
    use: list[SliceUse] = []


class BeatAnswer(Message, frozen=True, kw_only=True):
    """The broker lives; every slice of this node is renewed for that long."""

    seq: Count
    lease_ms: Count


class Bye(Message, frozen=True, kw_only=True):
    """The agent leaves in order; its slices end."""

    reason: Annotated[str, Meta(max_length=MAX_NAME_CHARS)] = ""


AgentToBroker = AgentHello | Beat | Shrunk | Bye
BrokerToAgent = AgentWelcome | Assign | Revoke | Shrink | BeatAnswer | Failed


# ── client → door, door → client ──────


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


# ── client → worker, worker → client ──────


class Join(Message, frozen=True, kw_only=True):
    """A channel (one socket) joins its link."""

    version: int
    ticket: Annotated[bytes, Meta(min_length=16, max_length=64)]


class Joined(Message, frozen=True, kw_only=True):
    """The channel belongs to the link now."""

    version: int
    device: Name
    kind: Name
    #: Execution providers of the device, as ONNX Runtime names them.
    providers: list[str] = []


class ModelOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What of SessionOptions and provider options may cross: an allow-list, checked again by the worker."""

    #: GraphOptimizationLevel: 0 disable all, 1 basic, 2 extended, 3 layout, 99 all.
    graph_optimization_level: int | None = None
    #: ExecutionMode: 0 sequential, 1 parallel.
    execution_mode: int | None = None
    intra_op_num_threads: int | None = None
    inter_op_num_threads: int | None = None
    enable_mem_pattern: bool | None = None
    enable_mem_reuse: bool | None = None
    log_severity_level: int | None = None
    log_verbosity_level: int | None = None
    logid: Annotated[str, Meta(max_length=MAX_NAME_CHARS)] | None = None
    use_deterministic_compute: bool | None = None
    #: add_session_config_entry pairs.
    config: dict[str, str] = {}
    #: add_free_dimension_override_by_name / _by_denotation.
    free_dimensions_by_name: dict[str, int] = {}
    free_dimensions_by_denotation: dict[str, int] = {}
    #: Execution providers asked for, in order; empty takes the device's own.
    providers: list[str] = []


class OpenModel(Message, frozen=True, kw_only=True):
    """Open a session on the model of this hash. Answered by SessionOpened, or by ModelMissing, which asks for an upload."""

    call_id: Count
    sha256: Sha256
    nbytes: Annotated[int, Meta(ge=0, le=MAX_MODEL_BYTES)]
    options: ModelOptions = ModelOptions()


class ModelMissing(Message, frozen=True, kw_only=True):
    """The worker does not have that model: send it from this offset on, then ask again."""

    call_id: Count
    sha256: Sha256
    offset: Count = 0


class PutModel(Message, frozen=True, kw_only=True):
    """One part of a model, in the one frame that follows; parts come in order. Each is answered by ModelStored."""

    call_id: Count
    sha256: Sha256
    offset: Count
    nbytes: Annotated[int, Meta(ge=1, le=MAX_MODEL_BYTES)]


class ModelStored(Message, frozen=True, kw_only=True):
    """The part is stored; with `complete`, all bytes have arrived and hash to that name."""

    call_id: Count
    sha256: Sha256
    complete: bool


class TensorInfo(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """An input or output of a model, as ONNX Runtime's NodeArg shows it."""

    name: str
    #: "tensor(float)", "seq(tensor(int64))", "optional(...)", ...
    type: str
    shape: list[int | str | None]


class ModelMeta(msgspec.Struct, frozen=True, kw_only=True):
    """ONNX Runtime's ModelMetadata."""

    custom_metadata_map: dict[str, str] = {}
    description: str = ""
    domain: str = ""
    graph_description: str = ""
    graph_name: str = ""
    producer_name: str = ""
    version: int = 0


class SessionOpened(Message, frozen=True, kw_only=True):
    """The session is open."""

    call_id: Count
    session_id: Count
    inputs: list[TensorInfo]
    outputs: list[TensorInfo]
    initializers: list[TensorInfo]
    meta: ModelMeta
    providers: list[str]
    #: Bytes of weights that count against the slice.
    weight_bytes: Count = 0


class Run(Message, frozen=True, kw_only=True):
    """Run a session. The inputs' frames follow in the order of `feed`."""

    call_id: Count
    session_id: Count
    feed: list[tuple[str, ValueSpec]]
    #: None asks for all outputs.
    outputs: list[str] | None = None
    #: RunOptions: log_severity_level, log_verbosity_level, logid, config entries.
    run_config: dict[str, str] = {}


class Timing(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Where a call's time went on the agent (ns); what is left of the caller's wait is transfer."""

    queue_ns: Count = 0
    throttle_ns: Count = 0
    execute_ns: Count = 0


class Result(Message, frozen=True, kw_only=True):
    """The outputs of a call, in the order asked for; their frames follow."""

    call_id: Count
    outputs: list[ValueSpec]
    timing: Timing = Timing()


class CloseSession(Message, frozen=True, kw_only=True):
    """Forget a session. Answered by SessionClosed."""

    call_id: Count
    session_id: Count


class SessionClosed(Message, frozen=True, kw_only=True):
    """The session is forgotten and its memory given back."""

    call_id: Count
    session_id: Count


class AskUsage(Message, frozen=True, kw_only=True):
    """What does my slice use?"""

    call_id: Count


class Usage(Message, frozen=True, kw_only=True):
    """What a slice uses, and has used since it was granted."""

    call_id: Count
    compute_pct: Compute
    policy: Policy
    memory_limit_bytes: Count
    memory_used_bytes: Count
    device_ns: Count
    throttled_ns: Count
    calls: Count
    #: Achieved share over the last ten seconds, in thousandths of a per cent.
    achieved_millipct: Count = 0
    sessions: Count = 0
    #: Time its calls waited for their share in the last ten seconds.
    throttled_10s_ns: Count = 0


class Leave(Message, frozen=True, kw_only=True):
    """The channel ends; with its last channel, the link."""


class Probe(Message, frozen=True, kw_only=True):
    """The worker asks whether the channel is still there; sending it is the question, there is no answer."""


class LinkEnded(Message, frozen=True, kw_only=True):
    """The slice is taken back: nothing more is executed for this link."""

    error: ErrorInfo


ClientToWorker = Join | OpenModel | PutModel | Run | CloseSession | AskUsage | Ping | Leave
WorkerToClient = (
    Joined | ModelMissing | ModelStored | SessionOpened | Result | SessionClosed | Usage | Pong | Probe | LinkEnded | Failed
)

#: One part of an upload: whole frames, so that a part is stored while the next is on its way.
UPLOAD_PART_BYTES = CHUNK_BYTES
