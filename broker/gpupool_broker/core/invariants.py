"""What must hold of a pool at every moment; run after every test of the core."""

from __future__ import annotations

from gpupool_broker.core.pool import Pool
from gpupool_broker.core.quotas import Held
from gpupool_broker.core.state import SliceState


class InvariantBroken(AssertionError):
    """The pool contradicts itself."""


def check(pool: Pool) -> None:
    """Raise InvariantBroken where the pool promises what it does not have, or has lost count of what it has."""
    seen: set[str] = set()
    for node in pool.nodes.values():
        for device in node.devices.values():
            held = [pool.slices[slice_id] for slice_id in device.slices]
            compute = sum(slice_.compute_pct for slice_ in held)
            memory = sum(device.booked_mib(slice_.memory_mib) for slice_ in held)
            where = f"{device.info.device} on {node.node}"
            _hold(compute <= 100 and memory <= device.info.memory_mib, f"{where} promises {compute} % and {memory} MiB")
            _hold(device.compute_free_pct == 100 - compute, f"{where} counts {device.compute_free_pct} % free of {100 - compute}")
            _hold(device.memory_free_mib == device.info.memory_mib - memory, f"{where} counts {device.memory_free_mib} MiB free")
            for slice_ in held:
                _hold(slice_.slice_id not in seen, f"slice {slice_.slice_id} is held twice")
                _hold(
                    (slice_.node, slice_.device) == (node.node, device.info.device),
                    f"slice {slice_.slice_id} thinks it is elsewhere",
                )
                _hold(slice_.state is SliceState.LIVE, f"slice {slice_.slice_id} is {slice_.state} and holds resources")
                seen.add(slice_.slice_id)
    for slice_ in pool.slices.values():
        _hold(
            (slice_.slice_id in seen) == (slice_.state is SliceState.LIVE),
            f"slice {slice_.slice_id} is {slice_.state} with no place",
        )
        _hold(
            slice_.state.is_over == (slice_.ended_ms is not None),
            f"slice {slice_.slice_id} is {slice_.state}, ended {slice_.ended_ms}",
        )
    for tenant in {slice_.tenant for slice_ in pool.slices.values()} | set(pool.quotas.held):
        theirs = [slice_ for slice_ in pool.slices.values() if slice_.tenant == tenant and not slice_.state.is_over]
        sums = sum(s.compute_pct for s in theirs), sum(s.memory_mib for s in theirs), len(theirs)
        counted = pool.quotas.held.get(tenant, Held())
        _hold(sums == (counted.compute_pct, counted.memory_mib, counted.slices), f"{tenant} holds {sums}, counted is {counted}")
    for waiting in pool.waiting:
        _hold(bool(waiting.reason), f"request {waiting.event.request.request_id} waits without a reason")


def _hold(truth: bool, what: str) -> None:
    if not truth:
        raise InvariantBroken(what)
