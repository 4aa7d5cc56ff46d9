"""What must hold of a pool at every moment; run after every test of the core."""

from __future__ import annotations

from gpupool_broker.core.pool import Pool
from gpupool_broker.core.quotas import path_of


class InvariantBroken(AssertionError):
    """The pool contradicts itself."""


def check(pool: Pool) -> None:
    """Raise InvariantBroken where the pool promises what it does not have, or has lost count of what it has."""
    seen: set[str] = set()
    for node in pool.nodes.values():
        for device in node.devices.values():
            held = [pool.slices[slice_id] for slice_id in device.slices]
            compute = sum(slice_.taken_pct for slice_ in held)
            surplus = sum(slice_.surplus_pct for slice_ in held)
            memory = sum(device.booked_mib(slice_.memory_mib) for slice_ in held)
            where = f"{device.info.device} on {node.node}"
            _hold(compute <= 100 and memory <= device.info.memory_mib, f"{where} promises {compute} % and {memory} MiB")
            _hold(device.compute_free_pct == 100 - compute, f"{where} counts {device.compute_free_pct} % free of {100 - compute}")
            _hold(device.memory_free_mib == device.info.memory_mib - memory, f"{where} counts {device.memory_free_mib} MiB free")
            _hold(device.surplus_pct == surplus, f"{where} counts {device.surplus_pct} % of surplus, it is {surplus} %")
            for slice_ in held:
                _hold(slice_.slice_id not in seen, f"slice {slice_.slice_id} is held twice")
                _hold(
                    (slice_.node, slice_.device) == (node.node, device.info.device),
                    f"slice {slice_.slice_id} thinks it is elsewhere",
                )
                _hold(slice_.state.has_place, f"slice {slice_.slice_id} is {slice_.state} and holds resources")
                seen.add(slice_.slice_id)
    for slice_ in pool.slices.values():
        _hold(
            (slice_.slice_id in seen) == slice_.state.has_place,
            f"slice {slice_.slice_id} is {slice_.state} with no place",
        )
        _hold(
            slice_.state.is_over == (slice_.ended_ms is not None),
            f"slice {slice_.slice_id} is {slice_.state}, ended {slice_.ended_ms}",
        )
    _check_accounts(pool)
    for slice_id in pool.elastic:
        slice_ = pool.slices[slice_id]
        in_range = slice_.compute_min_pct <= slice_.compute_pct <= slice_.compute_max_pct
        _hold(in_range, f"elastic slice {slice_id} has {slice_.compute_pct} %, outside its range")
    for reservation_id, ids in pool.reserved.items():
        count = pool.reservations[reservation_id].count
        _hold(len(ids) <= count, f"reservation {reservation_id} of {count} has {len(ids)} devices")
    for waiting in pool.waiting:
        _hold(bool(waiting.reason), f"request {waiting.event.request.request_id} waits without a reason")


def _check_accounts(pool: Pool) -> None:
    sums: dict[str, tuple[int, int, int, int]] = {}
    for slice_ in pool.slices.values():
        if not slice_.state.is_over:
            for name in path_of(slice_.account):
                compute, memory, slices, surplus = sums.get(name, (0, 0, 0, 0))
                sums[name] = (
                    compute + slice_.taken_pct,
                    memory + slice_.memory_mib,
                    slices + 1,
                    surplus + slice_.surplus_pct,
                )
    for name in sums | pool.quotas.held:
        held = pool.quotas.holds(name)
        counted = held.compute_pct, held.memory_mib, held.slices, held.surplus_pct
        _hold(sums.get(name, (0, 0, 0, 0)) == counted, f"{name} holds {sums.get(name)}, counted is {counted}")


def _hold(truth: bool, what: str) -> None:
    if not truth:
        raise InvariantBroken(what)
