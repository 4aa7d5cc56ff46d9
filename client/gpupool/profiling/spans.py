"""One exchange with a worker, as a value: what it was about, what it moved, and where its time went."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from gpupool.arrays.mentions import sent_by
from gpupool_wire.coding.sizes import raw_nbytes
from gpupool_wire.messages import Message, Operate, Operated, Result, Run, Timing
from gpupool_wire.tensors import HeldSpec, MapSpec, NoneSpec, SeenSpec, SequenceSpec, TensorSpec, ValueSpec

#: What a fetched array is called among the operations of a batch, and arrays that are given back with nothing else.
READ: Final = "read"
GIVE_BACK: Final = "give back"


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """The operations of one kind in one batch."""

    name: str
    calls: int = 0
    #: Tensors as they are in memory.
    raw_sent_bytes: int = 0
    raw_received_bytes: int = 0
    #: As the worker measures it around each operation; on a device that works on by itself, the time to hand it over.
    execute_ns: int = 0


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """One exchange. Times are of the system's monotonic clock, which all processes of a machine share."""

    #: "model" (a call), "open" (opening or uploading a model) or "arrays" (a batch of operations).
    kind: str
    name: str
    pid: int
    thread_id: int
    thread: str
    start_ns: int
    wall_ns: int
    queue_ns: int = 0
    throttle_ns: int = 0
    execute_ns: int = 0
    raw_sent_bytes: int = 0
    raw_received_bytes: int = 0
    #: Bytes of both messages, headers included, without ZeroMQ's own framing.
    wire_sent_bytes: int = 0
    wire_received_bytes: int = 0
    parts: tuple[Part, ...] = ()
    #: The code of the error it ended with; empty where all went well.
    error: str = ""
    #: Calls that were executed as one batch with this one, itself counted; 0 where it was executed alone.
    batched: int = 0

    @property
    def transfer_ns(self) -> int:
        """What is left of the caller's wait: coding, network, waking up."""
        return max(0, self.wall_ns - self.queue_ns - self.throttle_ns - self.execute_ns)


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an exchange from its two messages alone."""

    timing: Timing = Timing()
    raw_sent_bytes: int = 0
    raw_received_bytes: int = 0
    parts: tuple[Part, ...] = ()


def moved(question: Message, answer: Message | None, names: Sequence[str]) -> Moved:
    """Return what a question and its answer (None where there was none) moved; `names` are those of an Operate's operations."""
    if isinstance(question, Operate):
        return _batch(question, answer if isinstance(answer, Operated) else Operated(call_id=0), names)
    if isinstance(question, Run):
        sent = sum(raw_bytes(spec) for _, spec in question.feed)
        if isinstance(answer, Result):
            return Moved(timing=answer.timing, raw_sent_bytes=sent, raw_received_bytes=sum(map(raw_bytes, answer.outputs)))
        return Moved(raw_sent_bytes=sent)
    return Moved()


def _batch(question: Operate, answer: Operated, names: Sequence[str]) -> Moved:
    took = answer.operation_ns or [0] * len(question.operations)
    sums: dict[str, list[int]] = {}
    for name, call, spent_ns in zip(names, question.operations, took, strict=True):
        one = sums.setdefault(name, [0, 0, 0])
        one[0] += 1
        one[1] += sum(map(raw_bytes, sent_by(call)))
        one[2] += spent_ns
    parts = [Part(name=name, calls=n, raw_sent_bytes=sent, execute_ns=ns) for name, (n, sent, ns) in sums.items()]
    fetched = sum(raw_bytes(value) for value in answer.values if isinstance(value, TensorSpec))
    if question.fetch or question.describe:
        reads = len(question.fetch) + len(question.describe)
        parts.append(Part(name=READ, calls=reads, raw_received_bytes=fetched))
    return Moved(
        timing=answer.timing,
        raw_sent_bytes=sum(part.raw_sent_bytes for part in parts),
        raw_received_bytes=fetched,
        parts=tuple(parts or [Part(name=GIVE_BACK, calls=1)]),
    )


def raw_bytes(spec: ValueSpec) -> int:
    """Return the bytes of a value in memory, however it travels; of texts, as they travel. What stays on the device is none."""
    match spec:
        case TensorSpec() | SeenSpec():
            return raw_nbytes(spec)
        case MapSpec(keys=keys, values=values):
            return raw_bytes(keys) + raw_bytes(values)
        case SequenceSpec(items=items):
            return sum(map(raw_bytes, items))
        case NoneSpec() | HeldSpec():
            return 0
