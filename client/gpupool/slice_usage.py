"""What a slice uses and has used, as its worker measures it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from gpupool.link import Link
from gpupool_wire.errors import RemoteProtocolError, WorkerLost
from gpupool_wire.limits import ANSWER_S
from gpupool_wire.messages import AskUsage, Usage
from gpupool_wire.units import Policy


class SliceUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What a slice uses, and has used since it was granted, wherever it was (what was lost with a killed worker: a second)."""

    compute_pct: int
    policy: Policy
    memory_limit_bytes: int
    memory_used_bytes: int
    device_ns: int
    throttled_ns: int
    calls: int
    #: Achieved share of the last ten seconds, in thousandths of a per cent.
    achieved_millipct: int
    #: Time its calls waited for their share in the last ten seconds.
    throttled_10s_ns: int
    sessions: int
    #: How many of the calls were executed in batches with others, since the slice came to its present node.
    batched_calls: int = 0


def ask_usage(link_other_than: Callable[[Link | None], Link]) -> SliceUsage:
    """Return what the slice's worker answers, the next one where it is lost meanwhile."""
    link = link_other_than(None)
    try:
        answer, _ = link.call(AskUsage(call_id=link.next_call_id()), timeout_s=ANSWER_S)
    except WorkerLost:
        link = link_other_than(link)
        answer, _ = link.call(AskUsage(call_id=link.next_call_id()), timeout_s=ANSWER_S)
    if not isinstance(answer, Usage):
        raise RemoteProtocolError(f"the worker answered AskUsage with {type(answer).__name__}")
    return SliceUsage(**{name: getattr(answer, name) for name in SliceUsage.__struct_fields__})
