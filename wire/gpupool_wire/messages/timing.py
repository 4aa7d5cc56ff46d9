"""Where the time of a call went, as the worker saw it."""

from __future__ import annotations

import msgspec

from gpupool_wire.messages.common import Count


class Timing(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Where a call's time went on the agent (ns); what is left of the caller's wait is transfer."""

    queue_ns: Count = 0
    throttle_ns: Count = 0
    execute_ns: Count = 0
    #: Decoding the inputs and coding the outputs, where they are coded.
    coding_ns: Count = 0
    #: Calls executed as one batch with this one, itself counted: they have one execution. 0: it was executed alone.
    batched: Count = 0
