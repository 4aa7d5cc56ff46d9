"""Several devices for one request: all or none.

`pack`: as few nodes as possible; of the nodes that can host what is still missing the one with least to spare, else the one that
hosts most. `spread`: one device a node, then a second one, the nodes with most room first. Within a node, fuller devices first.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from gpupool_broker.core.placement.asks import WHOLE_PCT, Ask, NoRoom, Plan, meets, rating_of
from gpupool_broker.core.placement.refusals import free_mib, offer_mib
from gpupool_broker.core.state import Device, Node
from gpupool_wire.units import Arrange

#: The share (per cent) a request takes of a device, and the device.
Spot = tuple[int, Device]
WAIT: Final = "wait for room (wait=SECONDS)"
FEWER: Final = "ask for fewer or less"


def place_gang(ask: Ask, count: int, arrange: Arrange, nodes: Iterable[Node]) -> list[Plan] | NoRoom:
    """Return the places of a request for `count` devices of the nodes that take slices, or why there are not enough."""
    hosting = {node.node: spots for node in nodes if (spots := spots_of(ask, node))}
    fitting = {name: rows for name, spots in hosting.items() if (rows := [spot for spot in spots if has_room(ask, spot)])}
    found, possible = (sum(map(len, by_node.values())) for by_node in (fitting, hosting))
    if found < count:
        return _too_few(ask, count, found, possible, len(fitting))
    for rows in fitting.values():
        rows.sort(key=lambda spot: (spot[1].open_pct, spot[1].memory_free_mib, spot[1].info.device))
    chosen = _packed(fitting, count) if arrange is Arrange.PACK else _spread(fitting, count)
    return [Plan(node=device.node, device=device.info.device, compute_pct=share) for share, device in chosen]


def spots_of(ask: Ask, node: Node) -> list[Spot]:
    """Return the devices of a node that could host a request when empty, each with the share it takes there."""
    needs, spots = ask.needs(), []
    for device in node.devices.values():
        if ask.avoids(node.node, device.info.device) or not meets(needs, device, node.labels):
            continue
        share = ask.share_pct(rating_of({**node.labels, **device.info.labels}) if ask.tflops else 0)
        if share <= WHOLE_PCT and ask.memory_mib <= offer_mib(device):
            spots.append((share, device))
    return spots


def has_room(ask: Ask, spot: Spot) -> bool:
    """Whether a device that could host a request has room for it now."""
    share, device = spot
    return share <= device.open_pct and ask.memory_mib <= free_mib(device)


def _packed(fitting: dict[str, list[Spot]], count: int) -> list[Spot]:
    left, chosen = dict(fitting), list[Spot]()
    while len(chosen) < count:
        missing = count - len(chosen)
        enough = [name for name, rows in left.items() if len(rows) >= missing]
        name = min(enough, key=lambda n: (len(left[n]), n)) if enough else min(left, key=lambda n: (-len(left[n]), n))
        chosen += left.pop(name)[:missing]
    return chosen


def _spread(fitting: dict[str, list[Spot]], count: int) -> list[Spot]:
    rows = sorted(fitting.items(), key=lambda item: (-len(item[1]), item[0]))
    rounds = (spots[turn] for turn in range(count) for _, spots in rows if turn < len(spots))
    return [spot for spot, _ in zip(rounds, range(count), strict=False)]


def _too_few(ask: Ask, count: int, found: int, possible: int, nodes: int) -> NoRoom:
    share = f"{ask.tflops} TFLOPS" if ask.tflops else f"{ask.compute_pct} %"
    message = f"asked {count} devices with {share} and {ask.memory_mib} MiB each; "
    if possible < count:
        message += f"the pool has {possible} that are up and could host that"
    else:
        message += f"{found} on {nodes} node(s) have room now, of {possible} that could"
    details = {"compute_pct": ask.compute_pct, "memory_mib": ask.memory_mib, "count": count, "found": found, "possible": possible}
    can_ever_fit = possible >= count
    return NoRoom(message=message, details=dict(details), can_ever_fit=can_ever_fit, way_out=WAIT if can_ever_fit else FEWER)
