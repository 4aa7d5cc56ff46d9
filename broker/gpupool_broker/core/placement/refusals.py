"""Why there is no room, with the numbers compared."""

from __future__ import annotations

from gpupool_broker.core.placement.asks import Ask, Details, NoRoom
from gpupool_broker.core.state import Device

#: A device, and the share of it (per cent) the request would take.
Share = tuple[int, Device]


def offer_mib(device: Device) -> int:
    """Return the memory the largest slice of an empty device can have."""
    return device.info.memory_mib - device.info.worker_overhead_mib


def free_mib(device: Device) -> int:
    """Return the memory a further slice can have; below zero where not even a worker fits."""
    return device.memory_free_mib - device.info.worker_overhead_mib


def size_key(device: Device) -> tuple[int, str, str]:
    """Order devices by what they offer when empty."""
    return offer_mib(device), device.node, device.info.device


def room_key(share: Share) -> tuple[int, int, int, str, str]:
    """Order devices by how near they come to having room: compute up to what is asked, then memory."""
    share_pct, device = share
    compute = device.open_pct
    return min(compute, share_pct), free_mib(device), compute, device.node, device.info.device


def explain(ask: Ask, largest: Device | None, roomiest: Share | None, *, is_too_fast: bool = False) -> NoRoom:
    """Return the refusal of `ask`, given the largest and the roomiest of the devices it could go to.

    `is_too_fast`: there are such devices, and none has the TFLOPS that were asked for, even empty.
    """
    details: Details = {"compute_pct": ask.compute_pct, "memory_mib": ask.memory_mib}
    if ask.tflops:
        details["tflops"] = ask.tflops
    if is_too_fast:
        message = f"{_wanted(ask)}; no {_kind(ask)}{_constraints(ask)} says (label tflops) that it is that fast"
        return NoRoom(message=message, details=details | {"dimension": "compute"}, can_ever_fit=False)
    if largest is None or roomiest is None:
        message = f"{_wanted(ask)}; the pool has no {_kind(ask)} that is up{_constraints(ask)}"
        return NoRoom(message=message, details=details | {"dimension": "device"}, can_ever_fit=False)
    if offer_mib(largest) < ask.memory_mib:
        return _too_large(ask, details, largest)
    return _no_room_now(ask, details, roomiest)


def _too_large(ask: Ask, details: Details, largest: Device) -> NoRoom:
    device, node, offer = largest.info.device, largest.node, offer_mib(largest)
    details = details | {"node": node, "device": device, "offers_mib": offer, "dimension": "memory"}
    message = f"{_wanted(ask)}; the largest {_kind(ask)}{_constraints(ask)}, {device} on {node}, offers {offer} MiB when empty"
    return NoRoom(message=message, details=details, can_ever_fit=False)


def _no_room_now(ask: Ask, details: Details, roomiest: Share) -> NoRoom:
    share_pct, device = roomiest
    free = max(0, free_mib(device))
    details = details | {
        "node": device.node,
        "device": device.info.device,
        "compute_free_pct": device.open_pct,
        "memory_free_mib": free,
        "dimension": "compute" if device.open_pct < share_pct else "memory",
    }
    message = (
        f"{_wanted(ask)}; the roomiest {_kind(ask)}{_constraints(ask)}, {device.info.device} on {device.node}, has "
        f"{device.open_pct} % and {free} MiB free"
    )
    way_out = "ask for less, wait for room (wait=SECONDS), or release a slice"
    return NoRoom(message=message, details=details, can_ever_fit=True, way_out=way_out)


def _wanted(ask: Ask) -> str:
    compute = f"{ask.tflops} TFLOPS" if ask.tflops else f"{ask.compute_pct} % compute"
    return f"asked {compute} and {ask.memory_mib} MiB"


def _kind(ask: Ask) -> str:
    return f"{ask.kind} device" if ask.kind else "device"


def _constraints(ask: Ask) -> str:
    wants = [" or ".join(sorted(ask.models))] if ask.models else []
    wants += [f"{name}={value}" for name, value in sorted(ask.labels)]
    wants += [f"{name} {least} or later" for name, least in sorted(ask.at_least)]
    wants += [f"on {ask.node}"] if ask.node else []
    wants += [f"not on {node}" for node in sorted(ask.avoid_nodes)]
    wants += [f"not {device} on {node}" for node, device in sorted(ask.avoid_devices)]
    return f" ({', '.join(wants)})" if wants else ""
