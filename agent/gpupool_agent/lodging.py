"""Where the workers of a node live, and with what each of them is started."""

from __future__ import annotations

from dataclasses import dataclass

from gpupool_agent.channel import Start
from gpupool_agent.inventory import Offer
from gpupool_wire.messages import Assignment


@dataclass(frozen=True, slots=True, kw_only=True)
class Lodging:
    """What every worker of this node is started with."""

    node: str
    bind_host: str
    advertise_host: str
    port_first: int
    port_last: int
    cache_dir: str
    cache_bytes: int
    encrypt: bool = False

    def start_of(self, assignment: Assignment, offer: Offer) -> Start:
        """Return the first message to the worker of a slice of an offered device."""
        return Start(
            slice_id=assignment.slice_id,
            tenant=assignment.tenant,
            node=self.node,
            device=assignment.device,
            kind=offer.info.kind,
            device_index=offer.index,
            memory_mib=assignment.memory_mib,
            compute_pct=assignment.compute_pct,
            policy=assignment.policy,
            bind_host=self.bind_host,
            port_first=self.port_first,
            port_last=self.port_last,
            advertise_host=self.advertise_host,
            cache_dir=self.cache_dir,
            cache_bytes=self.cache_bytes,
            scratch_dir="set by the supervisor",
            encrypt=self.encrypt,
        )
