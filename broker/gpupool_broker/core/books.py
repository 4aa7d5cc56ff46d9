"""What the pool holds, as facts change it: the only state that is journalled.

Rules: `apply` changes the books and decides nothing; no other method changes them. Replaying the journal through `apply` gives
the same books.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from functools import singledispatchmethod

from gpupool_broker.core import facts as f
from gpupool_broker.core.placement import Placer
from gpupool_broker.core.quotas import Quota, Quotas
from gpupool_broker.core.state import Device, Lately, Node, Slice, SliceState

#: Answers are remembered for repeats of a request: as many as a busy broker gives in about an hour.
MAX_ANSWERS = 100_000
#: Ended slices are shown for a while, then only the journal has them.
MAX_ENDED = 10_000


class Books:
    """Nodes, devices, slices, and which request got which answer."""

    def __init__(self, placer: Placer | None = None) -> None:
        self.nodes: dict[str, Node] = {}
        self.slices: dict[str, Slice] = {}
        self.quotas = Quotas()
        #: What is free on the nodes that take slices, for placement.
        self.placer = placer or Placer()
        #: What live slices did lately; not journalled.
        self.lately: dict[str, Lately] = {}
        #: request id → slice id of the answer it got.
        self._answers: OrderedDict[str, str] = OrderedDict()
        self._ended: deque[str] = deque()
        #: Slices without a place, and since when (ms); None until time has been looked at.
        self._stranded: dict[str, int | None] = {}

    @singledispatchmethod
    def apply(self, fact: f.Fact) -> None:
        """Change the state as a fact says. The only place where it changes."""
        raise AssertionError(f"no rule for {type(fact).__name__}")

    @apply.register
    def _apply_node_joined(self, fact: f.NodeJoined) -> None:
        before = self.nodes.get(fact.node)
        known = before.devices if before else {}
        devices: dict[str, Device] = {}
        for info in fact.devices:
            old = known.get(info.device)
            unchanged = old is not None and old.info == info
            devices[info.device] = old if old and unchanged else Device.empty(fact.node, info)
        self.nodes[fact.node] = Node(
            node=fact.node,
            door=fact.door,
            labels=fact.labels,
            joined_ms=fact.at_ms,
            devices=devices,
            # What an admin said of the node holds until an admin says otherwise.
            is_cordoned=before.is_cordoned if before else False,
            drain_ms=before.drain_ms if before else None,
        )
        self._offer(self.nodes[fact.node])

    @apply.register
    def _apply_node_lost(self, fact: f.NodeLost) -> None:
        self.nodes[fact.node].is_up = False
        self._offer(self.nodes[fact.node])

    @apply.register
    def _apply_node_cordoned(self, fact: f.NodeCordoned) -> None:
        node = self.nodes[fact.node]
        node.is_cordoned, node.drain_ms = True, fact.drain_ms
        self._offer(node)

    @apply.register
    def _apply_node_uncordoned(self, fact: f.NodeUncordoned) -> None:
        node = self.nodes[fact.node]
        node.is_cordoned, node.drain_ms = False, None
        self._offer(node)

    @apply.register
    def _apply_quota_set(self, fact: f.QuotaSet) -> None:
        before = self.quotas.limits.get(fact.tenant, Quota())
        self.quotas.limits[fact.tenant] = Quota(
            compute_pct=fact.compute_pct, memory_mib=fact.memory_mib, slices=fact.slices, revision=before.revision + 1
        )

    @apply.register
    def _apply_slice_granted(self, fact: f.SliceGranted) -> None:
        slice_ = Slice(
            slice_id=fact.slice_id,
            epoch=fact.epoch,
            tenant=fact.tenant,
            node=fact.node,
            device=fact.device,
            compute_pct=fact.compute_pct,
            memory_mib=fact.memory_mib,
            policy=fact.policy,
            hold=fact.hold,
            kind=fact.kind,
            label=fact.label,
            holder=fact.holder,
            client_key=fact.client_key,
            created_ms=fact.at_ms,
        )
        self.slices[fact.slice_id] = slice_
        self._take(slice_)
        self.quotas.count(fact.tenant, fact.compute_pct, fact.memory_mib, 1)
        self._remember(fact.request_id, fact.slice_id)

    @apply.register
    def _apply_slice_resized(self, fact: f.SliceResized) -> None:
        slice_ = self.slices[fact.slice_id]
        self._give_back(slice_)
        more = fact.compute_pct - slice_.compute_pct, fact.memory_mib - slice_.memory_mib
        self.quotas.count(slice_.tenant, *more, 0)
        slice_.epoch, slice_.compute_pct, slice_.memory_mib = fact.epoch, fact.compute_pct, fact.memory_mib
        self._take(slice_)
        self._remember(fact.request_id, fact.slice_id)

    @apply.register
    def _apply_slice_stranded(self, fact: f.SliceStranded) -> None:
        slice_ = self.slices[fact.slice_id]
        self._give_back(slice_)
        slice_.epoch, slice_.state, slice_.reason = fact.epoch, SliceState.STRANDED, fact.reason
        self.lately.pop(fact.slice_id, None)
        self._stranded[fact.slice_id] = None

    @apply.register
    def _apply_slice_moved(self, fact: f.SliceMoved) -> None:
        slice_ = self.slices[fact.slice_id]
        slice_.epoch, slice_.node, slice_.device = fact.epoch, fact.node, fact.device
        slice_.state, slice_.reason = SliceState.LIVE, ""
        self._stranded.pop(fact.slice_id, None)
        self._take(slice_)

    @apply.register
    def _apply_slice_ended(self, fact: f.SliceEnded) -> None:
        slice_ = self.slices[fact.slice_id]
        if slice_.state is SliceState.LIVE:
            self._give_back(slice_)
        self.quotas.count(slice_.tenant, -slice_.compute_pct, -slice_.memory_mib, -1)
        self._stranded.pop(fact.slice_id, None)
        self.lately.pop(fact.slice_id, None)
        slice_.epoch, slice_.state, slice_.reason = fact.epoch, SliceState(fact.how), fact.reason
        slice_.ended_ms = fact.at_ms
        self._remember(fact.request_id, fact.slice_id)
        self._ended.append(fact.slice_id)
        if len(self._ended) > MAX_ENDED:
            self.slices.pop(self._ended.popleft(), None)

    @apply.register
    def _apply_slice_used(self, fact: f.SliceUsed) -> None:
        if slice_ := self.slices.get(fact.slice_id):
            slice_.device_ns += fact.device_ns
            slice_.throttled_ns += fact.throttled_ns
            slice_.calls += fact.calls

    def _take(self, slice_: Slice) -> None:
        device = self.nodes[slice_.node].devices[slice_.device]
        device.compute_free_pct -= slice_.compute_pct
        device.memory_free_mib -= device.booked_mib(slice_.memory_mib)
        device.slices.add(slice_.slice_id)
        self.placer.changed(device)

    def _give_back(self, slice_: Slice) -> None:
        device = self.nodes[slice_.node].devices[slice_.device]
        device.compute_free_pct += slice_.compute_pct
        device.memory_free_mib += device.booked_mib(slice_.memory_mib)
        device.slices.remove(slice_.slice_id)
        self.placer.changed(device)

    def _offer(self, node: Node) -> None:
        """Let placement see a node, or not any more."""
        if node.takes_slices:
            self.placer.add(node)
        else:
            self.placer.remove(node.node)

    def _remember(self, request_id: str, slice_id: str) -> None:
        if request_id:
            self._answers[request_id] = slice_id
            if len(self._answers) > MAX_ANSWERS:
                self._answers.popitem(last=False)
