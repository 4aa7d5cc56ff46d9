"""What an agent and one of its workers tell each other, and the socket pair they do it over.

    agent ──Start, Before, Admit, Change, News, Grant, Recall, Stop───────────────> worker
    agent <──Ready | Fault, Want, Settle, Alive, Changed | Refused, LinkGone, Use──── worker

One AF_UNIX SOCK_SEQPACKET pair per worker: messages keep their borders, arrive in order, and the death of either end is seen
at once as the end of the file. The worker inherits its end as an open descriptor (`--fd N`) and exits when the other end closes.

The quantum: a worker executes only while it holds a Grant. Having work and no grant it says Want, once, until it is granted; it
gives a grant back with Settle after `quantum_ns` of wall time, or once it has had nothing to do for `linger_ns`. `used_ns` is the
union of the execution intervals inside the grant; a call that outlasts the quantum runs to its end, and what it used beyond is
in `used_ns` too. `Settle.more` is a Want at the same time. Unwant takes a Want back before it is granted (the caller has gone).
From Want to the Settle without `more` the worker says Alive every ALIVE_S; silent for HANG_S in that time, beyond a silence it
announced (`Alive.quiet_ms`), it hangs.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Annotated

import msgspec
from msgspec import Meta

from gpupool_wire.errors import ErrorInfo, RemoteProtocolError, WorkerLost
from gpupool_wire.messages import Compute, Count, Memory, Name, OpenedModel
from gpupool_wire.units import Policy

#: The worker's beat, and the silence that means it hangs: three beats.
ALIVE_S = 0.1
HANG_S = 0.3
#: How long a worker keeps a grant without work: longer than a client on the same machine needs between two calls, short
#: against a quantum, so that little exclusive time is wasted.
IDLE_NS = 1_500_000
#: Calls at least this long may take turns call by call: handing the device over and back costs less than the pause it hides.
LONG_CALL_NS = 2_000_000
#: How often a worker reports its use.
USE_S = 1.0
#: A sequenced packet must fit the socket's buffer (about 200 KiB by default); the largest message is an error with its details.
MAX_PACKET_BYTES = 128 * 1024

Port = Annotated[int, Meta(ge=0, le=65_535)]
Ticket = Annotated[bytes, Meta(min_length=16, max_length=64)]


class ChannelMessage(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag=str.lower):
    """What travels between agent and worker. The class name, in lower case, is the tag."""


# ── agent → worker ──────


class Start(ChannelMessage, frozen=True, kw_only=True):
    """The first message: what the worker is for. Answered by Ready or Fault."""

    slice_id: Name
    tenant: Name
    node: Name
    #: The device's name on its node, its kind ("cuda", "cpu", "null") and its index among the node's devices of that kind.
    device: Name
    kind: Name
    device_index: Count = 0
    memory_mib: Memory
    compute_pct: Compute
    policy: Policy
    #: The address the worker binds, the first port it may take to the last (0 and 0: any free port), and the host clients use.
    bind_host: Name = "127.0.0.1"
    port_first: Port = 0
    port_last: Port = 0
    advertise_host: Name = "127.0.0.1"
    #: The node's model cache, shared by its workers, and the bytes it may take on disk.
    cache_dir: Name
    cache_bytes: Count = 8 * 1024**3
    #: A folder of the worker's own; the agent removes it when the worker has gone.
    scratch_dir: Name
    #: Cores the device offers; 0 takes all this process may run on.
    threads: Count = 0
    #: Whether the data socket is encrypted; the worker then makes its own CURVE key pair.
    encrypt: bool = False


class Before(ChannelMessage, frozen=True, kw_only=True):
    """What the slice had used before this worker was started. Said before anybody is admitted."""

    device_ns: Count = 0
    throttled_ns: Count = 0
    calls: Count = 0
    batched_calls: Count = 0


class Admit(ChannelMessage, frozen=True, kw_only=True):
    """Whoever joins with this ticket belongs to that link. A link nobody joins within 10 s is gone."""

    ticket: Ticket
    link_id: Name
    holder: bool


class Change(ChannelMessage, frozen=True, kw_only=True):
    """The slice has a new size. Answered by Changed or Refused (memory below use)."""

    compute_pct: Compute
    memory_mib: Memory
    #: For less memory than is used: how long idle models may be unloaded to make it fit; 0 refuses at once.
    deadline_ms: Count = 0
    #: Comes back with the answer.
    seq: Count = 0


class News(ChannelMessage, frozen=True, kw_only=True):
    """Something was decided about the slice that its program should know of: passed on as SliceNews."""

    is_paused: bool
    notice: str = ""
    notice_ms: Count = 0


class Grant(ChannelMessage, frozen=True, kw_only=True):
    """The device is the worker's for so long. Answered by Settle of the same number."""

    seq: Count
    quantum_ns: Count
    #: How long the worker may wait for more work before it hands back. It does not wait where its callers' pauses are longer.
    linger_ns: Count = IDLE_NS
    #: After so much of the turn somebody else is due: after a call of LONG_CALL_NS the worker hands back without waiting.
    patience_ns: Count | None = None


class Recall(ChannelMessage, frozen=True, kw_only=True):
    """The grant of this number is shorter than was said: somebody else is due. Settled when its last call has ended."""

    seq: Count
    quantum_ns: Count


class Stop(ChannelMessage, frozen=True, kw_only=True):
    """The slice ends: clients are told `error` (None: nobody is left to tell), then the worker exits."""

    error: ErrorInfo | None = None


# ── worker → agent ──────


class Ready(ChannelMessage, frozen=True, kw_only=True):
    """The worker serves at that address ("tcp://host:port", or "curve://KEY@host:port" where it is encrypted)."""

    address: Name
    pid: Count
    #: Execution providers of the device, as ONNX Runtime names them.
    providers: list[str] = []
    #: Device memory the worker takes before any session, measured (CUDA context and libraries).
    overhead_bytes: Count = 0


class Fault(ChannelMessage, frozen=True, kw_only=True):
    """The worker could not start, or cannot go on; it exits."""

    error: ErrorInfo


class Want(ChannelMessage, frozen=True, kw_only=True):
    """There is work and no grant."""


class Unwant(ChannelMessage, frozen=True, kw_only=True):
    """The work has gone; a grant under way is settled with nothing used."""


class Settle(ChannelMessage, frozen=True, kw_only=True):
    """The grant of this number is given back; so much of it was execution."""

    seq: Count
    used_ns: Count
    #: There is more work: counts as Want.
    more: bool


class Alive(ChannelMessage, frozen=True, kw_only=True):
    """The worker does not hang."""

    #: The worker may be silent this long from now on (ms): opening a large model holds Python's lock for longer than a beat.
    quiet_ms: Count = 0


class Changed(ChannelMessage, frozen=True, kw_only=True):
    """The slice's new size is in force."""

    compute_pct: Compute
    memory_mib: Memory
    seq: Count = 0


class Refused(ChannelMessage, frozen=True, kw_only=True):
    """The change was refused; the memory stays as it was."""

    error: ErrorInfo
    seq: Count = 0


class LinkGone(ChannelMessage, frozen=True, kw_only=True):
    """The last channel of a link is gone, or nobody joined it in time."""

    link_id: Name
    holder: bool
    reason: Name
    #: Its client said goodbye; else its sockets are gone, and it may come back with others.
    left: bool = False


class Use(ChannelMessage, frozen=True, kw_only=True):
    """What the worker used since its last report, and the memory it holds now. Not sent while nothing changes."""

    device_ns: Count
    throttled_ns: Count
    calls: Count
    memory_bytes: Count
    #: How many models are open, and the largest of them.
    model_count: Count = 0
    models: list[OpenedModel] = []
    #: How many of the calls were executed in batches with others.
    batched_calls: Count = 0


ToWorker = Start | Before | Admit | Change | News | Grant | Recall | Stop
ToAgent = Ready | Fault | Want | Unwant | Settle | Alive | Changed | Refused | LinkGone | Use


class ChannelClosed(WorkerLost):
    """The other end of the worker's channel is closed.

    To a client that is a lost worker: its call was not executed, or its result cannot be told, and it is repeated elsewhere.
    """


_encode = msgspec.msgpack.Encoder().encode
_decode_to_worker = msgspec.msgpack.Decoder(ToWorker).decode
_decode_to_agent = msgspec.msgpack.Decoder(ToAgent).decode


class _End:
    """One end of the channel. Any thread may send; one thread receives."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def fileno(self) -> int:
        """Return the descriptor, for pollers."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close this end, which the other end sees as the end of the file."""
        # shutdown first: a thread that is blocked in receive() on this end wakes up only by it.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _send(self, message: ChannelMessage, flags: int = 0) -> bool:
        try:
            self._socket.send(_encode(message), flags | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return False
        except OSError as error:
            raise ChannelClosed(f"{type(message).__name__} cannot be sent: {error}") from error
        return True

    def _receive(self, flags: int = 0) -> bytes:
        try:
            packet = self._socket.recv(MAX_PACKET_BYTES, flags)
        except BlockingIOError:
            raise
        except OSError as error:
            raise ChannelClosed(f"the channel broke: {error}") from error
        if not packet:
            raise ChannelClosed
        return packet


class AgentEnd(_End):
    """The agent's end. It never blocks: a worker that does not read its messages is one that hangs."""

    def send(self, message: ToWorker) -> bool:
        """Send; return False where the worker has let its buffer fill up. Raises ChannelClosed."""
        return self._send(message, socket.MSG_DONTWAIT)

    def receive(self) -> ToAgent | None:
        """Return the next message, None where there is none yet.

        Raises ChannelClosed at the end of the file, RemoteProtocolError for what is no message.
        """
        try:
            packet = self._receive(socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        try:
            message: ToAgent = _decode_to_agent(packet)
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise RemoteProtocolError(f"a worker sent a malformed message: {error}") from error
        return message


class WorkerEnd(_End):
    """The worker's end. Sending blocks: the agent always reads."""

    def send(self, message: ToAgent) -> None:
        """Send. Raises ChannelClosed."""
        self._send(message)

    def receive(self) -> ToWorker:
        """Wait for the next message; raise ChannelClosed at the end of the file, RemoteProtocolError for what is no message."""
        return self._decoded(self._receive())

    def receive_now(self) -> ToWorker | None:
        """Return the next message, None where there is none yet; raises like `receive`."""
        try:
            return self._decoded(self._receive(socket.MSG_DONTWAIT))
        except BlockingIOError:
            return None

    @staticmethod
    def _decoded(packet: bytes) -> ToWorker:
        try:
            message: ToWorker = _decode_to_worker(packet)
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise RemoteProtocolError(f"the agent sent a malformed message: {error}") from error
        return message


def channel_pair() -> tuple[AgentEnd, socket.socket]:
    """Return the agent's end and the socket whose descriptor a worker inherits (close it here once the worker is started)."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return AgentEnd(ours), theirs


def worker_end(fd: int) -> WorkerEnd:
    """Return the worker's end of an inherited descriptor."""
    return WorkerEnd(socket.socket(fileno=fd))
