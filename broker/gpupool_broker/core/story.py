"""What happened to one slice, in sentences."""

from __future__ import annotations

from gpupool_broker.core import facts as f

#: What of a fact is told beside its sentence, for those who say it in another language.
TOLD = (
    "tenant",
    "project",
    "node",
    "device",
    "compute_pct",
    "memory_mib",
    "policy",
    "hold",
    "holder",
    "by",
    "reason",
    "how",
    "notice_ms",
)


def figures_of(fact: f.Fact) -> dict[str, str | int | None]:
    """Return what a fact's sentence is made of, by name."""
    return {name: getattr(fact, name) for name in TOLD if hasattr(fact, name)}


def tell(fact: f.Fact) -> str:
    """Return one fact as a sentence for people."""
    match fact:
        case f.NodeJoined():
            return f"node {fact.node} joined with {len(fact.devices)} device(s)"
        case f.NodeLost():
            return f"node {fact.node} was lost: {fact.reason}"
        case f.NodeCordoned():
            drained = "" if fact.drain_ms is None else f" and is drained within {fact.drain_ms / 1000:g} s"
            return f"node {fact.node} takes nothing new{drained}, says {fact.by}"
        case f.NodeUncordoned():
            return f"node {fact.node} takes new slices again, says {fact.by}"
        case f.QuotaSet():
            limits = (fact.compute_pct, " %"), (fact.memory_mib, " MiB"), (fact.slices, " slices")
            allowed = ", ".join(f"{limit}{unit}" for limit, unit in limits if limit is not None) or "whatever the pool has"
            return f"tenant {fact.tenant} may hold {allowed}, says {fact.by}"
        case f.SliceGranted():
            return (
                f"granted to {fact.tenant}: {fact.compute_pct} % ({fact.policy}) and {fact.memory_mib} MiB of {fact.device} on "
                f"{fact.node}, {fact.hold}" + (f", asked by {fact.holder}" if fact.holder else "")
            )
        case f.SliceResized():
            because = f": {fact.reason}" if fact.reason else ""
            return f"resized to {fact.compute_pct} % and {fact.memory_mib} MiB{because}"
        case f.SlicePaused():
            return f"paused by {fact.by}: {fact.reason}"
        case f.SliceResumed():
            return f"goes on, says {fact.by}"
        case f.SliceNoticed() if fact.reason:
            return f"told that it will be evicted in {fact.notice_ms / 1000:g} s: {fact.reason}"
        case f.SliceNoticed():
            return "told that it may stay"
        case f.ReservationMade():
            return f"reservation {fact.reservation_id}: {fact.count} x {fact.compute_pct} % for {fact.tenant}, says {fact.by}"
        case f.ReservationHeld():
            return f"kept on {fact.device} of {fact.node} for reservation {fact.reservation_id}"
        case f.ReservationEnded():
            return f"reservation {fact.reservation_id} is over: {fact.reason}"
        case f.SliceMoved():
            return f"placed again, on {fact.device} on {fact.node}"
        case f.SliceStranded():
            return f"lost its device: {fact.reason}"
        case f.SliceEnded():
            return f"{fact.how}" + (f": {fact.reason}" if fact.reason else "")
        case f.SliceUsed():
            used, throttled = fact.device_ns / 1e6, fact.throttled_ns / 1e6
            return f"used {used:.1f} ms of device time in {fact.calls} calls, throttled {throttled:.1f} ms"
    return type(fact).__name__
