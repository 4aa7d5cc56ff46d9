"""Where a request goes: a snapshot in, a plan out.

Best fit: of the devices that can host the request, the one that is left with the least compute, then the least memory; ties go
to the first by name, so that the same request on the same pool always gets the same place.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gpupool_broker.core.state import Device

#: A device of this kind computes nothing: it is given only to who asks for it by name.
NULL_KIND = "null"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """What has to be placed."""

    compute_pct: int
    memory_mib: int
    kind: str | None = None

    def suits(self, device: Device) -> bool:
        """Whether the device is of a kind this request takes."""
        return device.info.kind == self.kind if self.kind else device.info.kind != NULL_KIND

    def fits(self, device: Device) -> bool:
        """Whether the device has room."""
        return self.compute_pct <= device.compute_free_pct and device.booked_mib(self.memory_mib) <= device.memory_free_mib


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The place a request gets."""

    node: str
    device: str


@dataclass(frozen=True, kw_only=True, slots=True)
class NoRoom:
    """Why a request gets none, with the numbers compared."""

    message: str
    details: dict[str, str | int | float | bool | None]
    #: Whether an empty pool of these devices could host it.
    can_ever_fit: bool


def place(ask: Ask, devices: Iterable[Device]) -> Plan | NoRoom:
    """Return where `ask` goes among the devices of nodes that are up, or why nowhere."""
    suitable = [device for device in devices if ask.suits(device)]
    fitting = [device for device in suitable if ask.fits(device)]
    if not fitting:
        return _explain(ask, suitable)
    best = min(fitting, key=lambda d: (d.compute_free_pct, d.memory_free_mib, d.node, d.info.device))
    return Plan(node=best.node, device=best.info.device)


def _explain(ask: Ask, suitable: list[Device]) -> NoRoom:
    wanted = f"asked {ask.compute_pct} % compute and {ask.memory_mib} MiB"
    kind = f"{ask.kind} device" if ask.kind else "device"
    details: dict[str, str | int | float | bool | None] = {"compute_pct": ask.compute_pct, "memory_mib": ask.memory_mib}
    if not suitable:
        return NoRoom(message=f"{wanted}; the pool has no {kind} that is up", details=details, can_ever_fit=False)
    can_ever_fit = any(device.booked_mib(ask.memory_mib) <= device.info.memory_mib for device in suitable)
    if not can_ever_fit:
        largest = max(suitable, key=lambda d: d.info.memory_mib - d.info.worker_overhead_mib)
        offer = largest.info.memory_mib - largest.info.worker_overhead_mib
        details |= {"node": largest.node, "device": largest.info.device, "offers_mib": offer}
        message = f"{wanted}; the largest {kind}, {largest.info.device} on {largest.node}, offers {offer} MiB when empty"
        return NoRoom(message=message, details=details, can_ever_fit=False)
    roomiest = max(suitable, key=lambda d: (min(d.compute_free_pct, ask.compute_pct), d.memory_free_mib, d.compute_free_pct))
    free = max(0, roomiest.memory_free_mib - roomiest.info.worker_overhead_mib)
    details |= {
        "node": roomiest.node,
        "device": roomiest.info.device,
        "compute_free_pct": roomiest.compute_free_pct,
        "memory_free_mib": free,
    }
    message = (
        f"{wanted}; the roomiest {kind}, {roomiest.info.device} on {roomiest.node}, has {roomiest.compute_free_pct} % and "
        f"{free} MiB free: ask for less, wait for room (wait=SECONDS), or release a slice"
    )
    return NoRoom(message=message, details=details, can_ever_fit=True)
