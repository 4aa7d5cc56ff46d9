"""What client and worker say: models, calls and their tensors."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from gpupool_wire.errors import ErrorInfo
from gpupool_wire.limits import CHUNK_BYTES, MAX_MODEL_BYTES, MAX_NAME_CHARS
from gpupool_wire.messages.arrays import Operate, Operated
from gpupool_wire.messages.common import Compute, Count, Failed, Message, Name, Sha256
from gpupool_wire.messages.control import Ping, Pong
from gpupool_wire.messages.timing import Timing
from gpupool_wire.operands import ArrayId
from gpupool_wire.tensors import ValueSpec
from gpupool_wire.units import Policy


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
    #: Where a client on the worker's own host may open further channels (see gpupool_wire.stream): the name of an abstract Unix
    #: socket, and the process that listens there, which the kernel confirms. Empty where there is none.
    stream: Annotated[str, Meta(max_length=MAX_NAME_CHARS)] = ""
    pid: Count = 0
    #: How much of the memory that came with the Join the worker has mapped (see gpupool_wire.arena): all of it, or nothing.
    arena_bytes: Count = 0


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
    #: Outputs that stay on the device, and the ids they get there.
    keep: list[tuple[str, ArrayId]] = []
    #: What the caller's link carries, as far as the caller knows: outputs may come coded where that is quicker. 0: they come raw.
    link_bytes_per_s: Count = 0
    #: It may be executed as one batch with calls like it that wait, where that changes no bit of the results.
    may_batch: bool = True


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
    #: How many of the calls were executed in batches with others, on its present node.
    batched_calls: Count = 0


class Leave(Message, frozen=True, kw_only=True):
    """The channel ends; with its last channel, the link."""


class Probe(Message, frozen=True, kw_only=True):
    """The worker asks whether the channel is still there; sending it is the question, there is no answer."""


class SliceNews(Message, frozen=True, kw_only=True):
    """Something was decided about the slice that its program should know of; there is no answer."""

    #: It keeps its memory, and its calls wait until this is false again.
    is_paused: bool
    #: Why it will be taken back in so many milliseconds; empty where it will not.
    notice: Annotated[str, Meta(max_length=MAX_NAME_CHARS)] = ""
    notice_ms: Count = 0


class LinkEnded(Message, frozen=True, kw_only=True):
    """The slice is taken back: nothing more is executed for this link."""

    error: ErrorInfo


ClientToWorker = Join | OpenModel | PutModel | Run | Operate | CloseSession | AskUsage | Ping | Leave
WorkerToClient = (
    Joined
    | ModelMissing
    | ModelStored
    | SessionOpened
    | Result
    | Operated
    | SessionClosed
    | Usage
    | Pong
    | Probe
    | SliceNews
    | LinkEnded
    | Failed
)

#: One part of an upload: whole frames, so that a part is stored while the next is on its way.
UPLOAD_PART_BYTES = CHUNK_BYTES
