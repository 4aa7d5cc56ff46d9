"""What the pool holds, as facts change it: the only state that is journalled.

Rules: `apply` changes the books and decides nothing; no other method changes them. Replaying the journal through `apply` gives
the same books.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from functools import singledispatchmethod

from gpupool_broker.core import facts as f
from gpupool_broker.core.accounting.prices import Tariff
from gpupool_broker.core.folded import UseFolded
from gpupool_broker.core.placement import Placer
from gpupool_broker.core.quotas import Quota, Quotas, path_of
from gpupool_broker.core.shares import Shares
from gpupool_broker.core.state import Device, Lately, Node, Reservation, Slice, SliceState
from gpupool_wire.units import Hold, Policy

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
        self.shares = Shares()
        self.reservations: dict[str, Reservation] = {}
        #: Slices whose size follows what is idle; those that are paused; by (account, label) those that have a label.
        self.elastic: set[str] = set()
        self.paused: set[str] = set()
        #: By gang: its slices, as long as one of them is remembered.
        self.gangs: dict[str, list[str]] = {}
        #: How many slices there are of each priority.
        self.priorities: Counter[int] = Counter()
        #: Slices that were told that they will be evicted.
        self.noticed: set[str] = set()
        self.labelled: dict[tuple[str, str], set[str]] = {}
        #: By reservation: the slices that came out of it, and the room it still keeps.
        self.reserved: dict[str, set[str]] = {}
        #: Raised by whatever may let a waiting request in.
        self.openings = 0
        #: Prices, carbon factors and closed months, for the reports.
        self.tariff = Tariff()
        #: What is free on the nodes that take slices, for placement.
        self.placer = placer or Placer()
        #: What live slices did lately; not journalled.
        self.lately: dict[str, Lately] = {}
        #: request id → slice id of the answer it got.
        self._answers: OrderedDict[str, str] = OrderedDict()
        self._ended: deque[str] = deque()
        #: Slices without a place, and since when (ms); None until time has been looked at.
        self._stranded: dict[str, int | None] = {}

    @property
    def stranded(self) -> list[str]:
        """Slices that lost their device and wait for another."""
        return list(self._stranded)

    def apply(self, fact: f.Fact) -> None:
        """Change the state as a fact says. The only place where it changes."""
        _rule_of(type(fact))(self, fact)

    @singledispatchmethod
    def _apply(self, fact: f.Fact) -> None:
        raise AssertionError(f"no rule for {type(fact).__name__}")

    @_apply.register
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

    @_apply.register
    def _apply_node_lost(self, fact: f.NodeLost) -> None:
        self.nodes[fact.node].is_up = False
        self._offer(self.nodes[fact.node])

    @_apply.register
    def _apply_node_cordoned(self, fact: f.NodeCordoned) -> None:
        node = self.nodes[fact.node]
        node.is_cordoned, node.drain_ms = True, fact.drain_ms
        self._offer(node)

    @_apply.register
    def _apply_node_uncordoned(self, fact: f.NodeUncordoned) -> None:
        node = self.nodes[fact.node]
        node.is_cordoned, node.drain_ms = False, None
        self._offer(node)

    @_apply.register
    def _apply_quota_set(self, fact: f.QuotaSet) -> None:
        before = self.quotas.limits.get(fact.tenant, Quota())
        self.quotas.limits[fact.tenant] = Quota(
            compute_pct=fact.compute_pct,
            memory_mib=fact.memory_mib,
            slices=fact.slices,
            revision=before.revision + 1,
            guaranteed_pct=fact.guaranteed_pct,
            guaranteed_mib=fact.guaranteed_mib,
            max_priority=fact.max_priority,
        )
        self.openings += 1

    @_apply.register
    def _apply_entry(self, fact: f.Entry) -> None:
        self.tariff.apply(fact)

    @_apply.register
    def _apply_device_powered(self, fact: f.DevicePowered) -> None:
        """Energy is the reports' affair (core.accounting)."""

    @_apply.register
    def _apply_slice_granted(self, fact: f.SliceGranted) -> None:
        slice_ = slice_of(fact)
        self._begin(slice_)
        if fact.gang:
            self.gangs.setdefault(fact.gang, []).append(fact.slice_id)
        # All slices of a gang answer the request; the first stands for them.
        if not fact.gang or fact.request_id not in self._answers:
            self._remember(fact.request_id, fact.slice_id)

    @_apply.register
    def _apply_slice_resized(self, fact: f.SliceResized) -> None:
        slice_ = self.slices[fact.slice_id]
        self._give_back(slice_)
        self._count(slice_, -1, fact.at_ms)
        slice_.epoch, slice_.compute_pct, slice_.memory_mib = fact.epoch, fact.compute_pct, fact.memory_mib
        if not slice_.compute_min_pct <= fact.compute_pct <= slice_.compute_max_pct:
            # Somebody gave it a size outside its range: it keeps to that from now on.
            slice_.compute_min_pct = slice_.compute_max_pct = 0
            self.elastic.discard(slice_.slice_id)
        self._take(slice_)
        self._count(slice_, 1, fact.at_ms)
        self._remember(fact.request_id, fact.slice_id)

    @_apply.register
    def _apply_slice_paused(self, fact: f.SlicePaused) -> None:
        self._set_paused(self.slices[fact.slice_id], fact.epoch, fact.by, fact.at_ms)
        self._remember(fact.request_id, fact.slice_id)

    @_apply.register
    def _apply_slice_resumed(self, fact: f.SliceResumed) -> None:
        self._set_paused(self.slices[fact.slice_id], fact.epoch, "", fact.at_ms)
        self._remember(fact.request_id, fact.slice_id)

    def _set_paused(self, slice_: Slice, epoch: int, by: str, at_ms: int) -> None:
        self._give_back(slice_)
        self._count(slice_, -1, at_ms)
        slice_.epoch, slice_.paused_by = epoch, by
        (self.paused.add if by else self.paused.discard)(slice_.slice_id)
        self._take(slice_)
        self._count(slice_, 1, at_ms)

    @_apply.register
    def _apply_slice_noticed(self, fact: f.SliceNoticed) -> None:
        slice_ = self.slices[fact.slice_id]
        slice_.epoch, slice_.notice, slice_.notice_ms = fact.epoch, fact.reason, fact.notice_ms
        slice_.notice_for = fact.request_id
        (self.noticed.add if fact.reason else self.noticed.discard)(fact.slice_id)

    @_apply.register
    def _apply_slice_stranded(self, fact: f.SliceStranded) -> None:
        slice_ = self.slices[fact.slice_id]
        self._give_back(slice_)
        slice_.epoch, slice_.state, slice_.reason = fact.epoch, SliceState.STRANDED, fact.reason
        self.lately.pop(fact.slice_id, None)
        self._stranded[fact.slice_id] = None

    @_apply.register
    def _apply_slice_moved(self, fact: f.SliceMoved) -> None:
        slice_ = self.slices[fact.slice_id]
        self._count(slice_, -1, fact.at_ms)
        slice_.epoch, slice_.node, slice_.device = fact.epoch, fact.node, fact.device
        slice_.compute_pct = fact.compute_pct or slice_.compute_pct
        slice_.state, slice_.reason = SliceState.LIVE, ""
        self._stranded.pop(fact.slice_id, None)
        self._take(slice_)
        self._count(slice_, 1, fact.at_ms)

    @_apply.register
    def _apply_slice_ended(self, fact: f.SliceEnded) -> None:
        slice_ = self.slices[fact.slice_id]
        if slice_.state.has_place:
            self._give_back(slice_)
        self._count(slice_, -1, fact.at_ms)
        self._stranded.pop(fact.slice_id, None)
        self.lately.pop(fact.slice_id, None)
        for index in (self.elastic, self.paused, self.noticed, self.reserved.get(slice_.reservation, set())):
            index.discard(fact.slice_id)
        self.priorities[slice_.priority] -= 1
        if not self.priorities[slice_.priority]:
            del self.priorities[slice_.priority]
        if mine := self.labelled.get((slice_.account, slice_.label)):
            mine.discard(fact.slice_id)
            if not mine:
                del self.labelled[slice_.account, slice_.label]
        slice_.epoch, slice_.state, slice_.reason = fact.epoch, SliceState(fact.how), fact.reason
        slice_.ended_ms, slice_.paused_by, slice_.notice = fact.at_ms, "", ""
        self._remember(fact.request_id, fact.slice_id)
        self._ended.append(fact.slice_id)
        if len(self._ended) > MAX_ENDED:
            self._forget(self._ended.popleft())

    def _forget(self, slice_id: str) -> None:
        forgotten = self.slices.pop(slice_id, None)
        if forgotten and forgotten.gang and (rest := [i for i in self.gangs[forgotten.gang] if i != slice_id]):
            self.gangs[forgotten.gang] = rest
        elif forgotten and forgotten.gang:
            del self.gangs[forgotten.gang]

    @_apply.register
    def _apply_slice_used(self, fact: f.SliceUsed) -> None:
        if slice_ := self.slices.get(fact.slice_id):
            slice_.device_ns += fact.device_ns
            slice_.throttled_ns += fact.throttled_ns
            slice_.calls += fact.calls

    @_apply.register
    def _apply_use_folded(self, fact: UseFolded) -> None:
        for slice_id, device_ns, throttled_ns, calls, _ in fact.totals:
            if slice_ := self.slices.get(slice_id):
                slice_.device_ns += device_ns
                slice_.throttled_ns += throttled_ns
                slice_.calls += calls

    @_apply.register
    def _apply_reservation_made(self, fact: f.ReservationMade) -> None:
        self.reservations[fact.reservation_id] = Reservation(
            reservation_id=fact.reservation_id,
            tenant=fact.tenant,
            project=fact.project,
            count=fact.count,
            compute_pct=fact.compute_pct,
            memory_mib=fact.memory_mib,
            kind=fact.kind,
            start_ms=fact.start_ms,
            end_ms=fact.end_ms,
            by=fact.by,
        )
        self._remember(fact.request_id, fact.reservation_id)

    @_apply.register
    def _apply_reservation_held(self, fact: f.ReservationHeld) -> None:
        reservation = self.reservations[fact.reservation_id]
        self._begin(
            Slice(
                slice_id=fact.slice_id,
                epoch=1,
                tenant=reservation.tenant,
                node=fact.node,
                device=fact.device,
                compute_pct=reservation.compute_pct,
                memory_mib=reservation.memory_mib,
                policy=Policy.FIXED,
                hold=Hold.HELD,
                kind=reservation.kind,
                label="",
                holder=f"reservation {fact.reservation_id}",
                client_key="",
                created_ms=fact.at_ms,
                state=SliceState.RESERVED,
                project=reservation.project,
                reservation=fact.reservation_id,
            )
        )

    @_apply.register
    def _apply_reservation_ended(self, fact: f.ReservationEnded) -> None:
        del self.reservations[fact.reservation_id]
        self.reserved.pop(fact.reservation_id, None)

    def _begin(self, slice_: Slice) -> None:
        self.slices[slice_.slice_id] = slice_
        self._take(slice_)
        self._count(slice_, 1, slice_.created_ms)
        self.priorities[slice_.priority] += 1
        if slice_.compute_min_pct:
            self.elastic.add(slice_.slice_id)
        if slice_.label:
            self.labelled.setdefault((slice_.account, slice_.label), set()).add(slice_.slice_id)
        if slice_.reservation in self.reservations:
            self.reserved.setdefault(slice_.reservation, set()).add(slice_.slice_id)

    def _count(self, slice_: Slice, sign: int, at_ms: int) -> None:
        """Count a slice in its account, or take it out again."""
        account = slice_.account
        self.quotas.count(account, sign * slice_.taken_pct, sign * slice_.memory_mib, sign, sign * slice_.surplus_pct)
        for name in path_of(account):
            self.shares.note(name, self.quotas.holds(name).compute_pct, at_ms)
        self.openings += sign < 0

    def _take(self, slice_: Slice) -> None:
        self._book(slice_, 1)

    def _give_back(self, slice_: Slice) -> None:
        self._book(slice_, -1)
        self.openings += 1

    def _book(self, slice_: Slice, sign: int) -> None:
        device = self.nodes[slice_.node].devices[slice_.device]
        device.compute_free_pct -= sign * slice_.taken_pct
        device.surplus_pct += sign * slice_.surplus_pct
        device.memory_free_mib -= sign * device.booked_mib(slice_.memory_mib)
        (device.slices.add if sign > 0 else device.slices.remove)(slice_.slice_id)
        self.placer.changed(device)

    def _offer(self, node: Node) -> None:
        """Let placement see a node, or not any more."""
        self.openings += 1
        if node.takes_slices:
            self.placer.add(node)
        else:
            self.placer.remove(node.node)

    def _remember(self, request_id: str, slice_id: str) -> None:
        if request_id:
            self._answers[request_id] = slice_id
            if len(self._answers) > MAX_ANSWERS:
                self._answers.popitem(last=False)


#: Looked up here, as a singledispatchmethod makes a new function at every call.
_rule_of = Books.__dict__["_apply"].dispatcher.dispatch
_SHARED = tuple(name for name in f.SliceGranted.__struct_fields__ if name in Slice.__dataclass_fields__)


def slice_of(fact: f.SliceGranted) -> Slice:
    """Return the slice that a grant begins."""
    return Slice(**{name: getattr(fact, name) for name in _SHARED}, created_ms=fact.at_ms)
