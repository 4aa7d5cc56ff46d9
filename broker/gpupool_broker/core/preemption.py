"""Who has to make room for a request, and how: what is borrowed is taken back, what matters less gives way.

    elastic slices shrink to their least      always, and at once (`Books.room_on`): nobody is asked
    slices are paused                         where compute is short: memory stays, the slice goes on later
    slices are evicted, with notice           where memory is short

A slice may be taken for a request of another account where its account holds more than its guarantee, and the request is
within its own guarantee or of a higher priority; for one of its own account, where its priority is lower. Tenants are compared
first, projects of one tenant with each other. A slice that has not run for its minimum time, or has notice, is left alone.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gpupool_broker.core.quotas import Quotas, path_of
from gpupool_broker.core.state import Device, Slice
from gpupool_broker.core.wants import Want
from gpupool_wire.units import PRIORITY_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class Sacrifice:
    """What makes room on a device."""

    device: Device
    paused: tuple[Slice, ...] = ()
    evicted: tuple[Slice, ...] = ()

    @property
    def cost(self) -> tuple[int, int, int, int]:
        """Order sacrifices: less is better. Evictions first, then the compute that stands still."""
        evicted, paused = (sum(slice_.compute_pct for slice_ in row) for row in (self.evicted, self.paused))
        return len(self.evicted), evicted, len(self.paused), paused


def may_take(quotas: Quotas, want: Want, victim: Slice) -> bool:
    """Whether a slice may be taken for a request; its minimum time is the caller's to look at."""
    if victim.account == want.account:
        # For what it reserves an account does not have to stop what it runs.
        return victim.priority < want.priority <= PRIORITY_MAX
    mine, theirs = path_of(want.account), path_of(victim.account)
    if mine[0] == theirs[0] and len(mine) != len(theirs):
        return want.priority > victim.priority  # a tenant's own slices and those of its projects
    level = 0 if mine[0] != theirs[0] else 1
    if quotas.is_within_guarantee(theirs[level]):
        return False
    compute, memory = want.ask.compute_pct * want.count, want.ask.memory_mib * want.count
    return want.priority > victim.priority or quotas.is_within_guarantee(mine[level], compute, memory)


def sacrifice_on(device: Device, want: Want, share_pct: int, victims: Iterable[Slice]) -> Sacrifice | None:
    """Return what would make room for `share_pct` on a device, of the slices that may be taken; None where all is not enough."""
    compute = share_pct - device.open_pct
    memory = device.booked_mib(want.ask.memory_mib) - device.memory_free_mib
    in_order = sorted(victims, key=lambda slice_: (slice_.priority, -slice_.created_ms, slice_.slice_id))
    evicted: list[Slice] = []
    while memory > 0 and in_order:
        # The least important that is enough alone, else the largest of the least important.
        chosen = next((s for s in in_order if device.booked_mib(s.memory_mib) >= memory), None)
        chosen = chosen or min(in_order, key=lambda s: (s.priority, -s.memory_mib))
        in_order.remove(chosen)
        evicted.append(chosen)
        memory -= device.booked_mib(chosen.memory_mib)
        compute -= chosen.taken_pct - chosen.surplus_pct
    if memory > 0:
        return None
    paused: list[Slice] = []
    for slice_ in in_order:
        if compute <= 0:
            break
        if not slice_.paused_by:
            paused.append(slice_)
            compute -= slice_.taken_pct - slice_.surplus_pct
    return Sacrifice(device=device, paused=tuple(paused), evicted=tuple(evicted)) if compute <= 0 else None


def least_sacrifices(
    spots: Iterable[tuple[int, Device]], want: Want, count: int, victims_on: Callable[[Device], list[Slice]]
) -> list[Sacrifice]:
    """Return the cheapest ways to make room on `count` of the devices (each with the share it would give); [] if too few."""
    found = [
        sacrifice
        for share, device in spots
        if (victims := victims_on(device)) and (sacrifice := sacrifice_on(device, want, share, victims))
    ]
    if len(found) < count:
        return []
    return heapq.nsmallest(count, found, key=lambda s: (*s.cost, s.device.node, s.device.info.device))
