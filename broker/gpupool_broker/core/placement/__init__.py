"""Where a request goes: a snapshot in, a plan out.

Two modes. Devices reached over the network (`Placer`, and `place` over a snapshot): no host resource is bound, and a device is
what is free on it. Slices bound to their host's CPU (`HostPlacer`): a node is its CPU, its memory and its GPUs.

The policies of both are the same words (`POLICIES`); `fgd` and `fgd+` learn the workload they place for.
"""

from __future__ import annotations

from gpupool_broker.core.placement.asks import NULL_KIND, WHOLE_PCT, Ask, NoRoom, Plan, meets, rating_of
from gpupool_broker.core.placement.gangs import has_room, place_gang, spots_of
from gpupool_broker.core.placement.placer import Placer
from gpupool_broker.core.placement.policies import DEFAULT_POLICY, POLICIES
from gpupool_broker.core.placement.scan import place
from gpupool_broker.core.placement.workload import Workload

__all__ = [
    "DEFAULT_POLICY",
    "NULL_KIND",
    "POLICIES",
    "WHOLE_PCT",
    "Ask",
    "NoRoom",
    "Placer",
    "Plan",
    "Workload",
    "has_room",
    "meets",
    "place",
    "place_gang",
    "rating_of",
    "spots_of",
]
