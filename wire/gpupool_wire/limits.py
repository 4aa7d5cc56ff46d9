"""Every size, count and wait that both ends must agree on, each with its reason."""

from __future__ import annotations

from gpupool_wire.units import MIB

#: One frame. Larger is not faster (page faults dominate), and a peer cannot make us allocate more than this unasked.
MAX_FRAME_BYTES = 64 * MIB
#: A header holds names, shapes and numbers; a model with thousands of inputs still fits in a tenth of this.
MAX_HEADER_BYTES = MIB
#: Tensors above this are cut: a 50 MB frame moves at 1.2 GB/s, frames of 1-4 MB at twice that where malloc is not tuned.
CHUNK_BYTES = 4 * MIB
#: One message in all. A recognition output of a full batch is under 400 MB; beyond 4 GiB a caller is better told to split.
MAX_MESSAGE_BYTES = 4096 * MIB
#: Frames of one message, from the two limits above, with room for many small tensors.
MAX_FRAMES = 4096
#: NumPy's own limit on dimensions is 64, ONNX models rarely pass 8.
MAX_NDIM = 32
#: Array operations of one message: a round trip is paid once for so many, and a worker answers before the next ones wait long.
MAX_OPERATIONS = 4096
#: Arrays one client holds on a slice at a time: each costs a few hundred bytes of bookkeeping beside its own.
MAX_ARRAYS = 1_000_000
#: A model as uploaded. 2 GiB is protobuf's own limit for one message.
MAX_MODEL_BYTES = 2048 * MIB
#: Names of tenants, nodes, tensors and labels: long enough for generated names, short enough for a table.
MAX_NAME_CHARS = 512

#: The agent's beat to the broker, the client's to its worker (seconds).
BEAT_S = 1.0
#: An agent silent this long is lost: two beats and a half.
AGENT_LOST_S = 2.5
#: A client silent this long is gone. ZMTP heartbeats do the asking, in libzmq's own thread: no GIL needed.
CLIENT_LOST_S = 3.0
#: A lease lives this long without renewal, and is renewed this often.
LEASE_S = 60.0
RENEW_S = 10.0
#: A peer that does not answer a control message in this time is unreachable.
ANSWER_S = 5.0

#: Ports of the contract.
BROKER_PORT = 7100
HTTP_PORT = 7180
AGENT_METRICS_PORT = 7190
DOOR_PORT = 7200
WORKER_PORTS = range(7201, 8000)
#: Of a slice's models a beat names so many, so briefly: a thousand slices' rows fit one header.
MAX_TOLD_MODELS = 4
MAX_MODEL_NAME_CHARS = 24
