"""The agent's own table of slices: what the node serves, for whom, until when.

Rules: all state changes in SliceTable's methods, and every method that needs something done returns it as effects; time is an
argument (nanoseconds of one monotonic clock); wall clocks are not consulted. The broker's word arrives in order on one link.

    broker ──welcome, assign, revoke, renew──> table ──StopWorker, ChangeWorker, Confirmed──> shell
    door   ──admit(lease)──> admitted, admitted once confirmed, or refused
    worker ──link gone──> table ──lost holders──> next beat ──> broker

A slice is here because the broker said so (confirmed), or because a correctly signed lease ran ahead of the broker's word
(unconfirmed): then its worker may start, but nobody is let in before the word arrives, and without it the slice is dropped.
Its epoch is the newest heard. `admits_from` is the epoch it came with: older leases name an earlier stay on this node.
Without renewal a slice ends with its lease; one that still has links stays up to AWAY_S, so that a broker away stops no work.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from gpupool_wire.errors import ErrorInfo, LeaseLost, LimitExceeded, NotAuthorized, NotFound, PoolUnreachable
from gpupool_wire.limits import ANSWER_S, LEASE_S
from gpupool_wire.messages import Assignment, HeldSlice, Lease, LinkLost
from gpupool_wire.units import Hold

SECOND_NS = 1_000_000_000
#: An attached slice may be without its holder this long: a client re-opens within its own timeout (3 s) and a little more.
HOLDER_GRACE_NS = 4 * SECOND_NS
#: ... and this long where its sockets have gone without a word: broken connections are opened again within milliseconds, and
#: a client that was killed should not hold its slice for much longer.
REOPEN_NS = SECOND_NS
#: The broker's word travels with the grant; later than an answer may take, it is not coming.
CONFIRM_NS = int(ANSWER_S * SECOND_NS)
#: Sessions outlive the broker's absence this long.
AWAY_NS = 3600 * SECOND_NS
LEASE_NS = int(LEASE_S * SECOND_NS)
#: Taken-back slices remembered, so that a replayed lease is refused at once; older ones are refused for want of confirmation.
MAX_REMEMBERED = 65_536
#: One process tree opens a handful of links; a runaway must not fill the table.
MAX_LINKS = 1_024
#: Rows in one beat: its header stays far under the wire's limit, the rest goes with the next.
MAX_REPORTED = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class StopWorker:
    """Stop the slice's worker if it has one, and answer whoever waits for it with this error."""

    slice_id: str
    error: ErrorInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeWorker:
    """Tell the slice's worker and the throttle its new size."""

    assignment: Assignment


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmed:
    """The broker's word for a slice has arrived: whoever waits at the door for it may be let in."""

    assignment: Assignment


Effect = StopWorker | ChangeWorker | Confirmed


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """A lease is good; let its link in now if `confirmed`, else once Confirmed is returned for the slice."""

    assignment: Assignment
    confirmed: bool


@dataclass(slots=True, kw_only=True)
class _Entry:
    assignment: Assignment
    admits_from: int
    confirmed: bool
    appeared_ns: int
    renewed_ns: int
    lease_ns: int
    #: When an attached slice without its holder is reported; meaningless while a holder's link lives.
    overdue_ns: int
    #: Link id to whether it is the holder's.
    links: dict[str, bool] = field(default_factory=dict)

    @property
    def has_holder(self) -> bool:
        return any(self.links.values())

    @property
    def lease_ends_ns(self) -> int:
        return self.renewed_ns + self.lease_ns

    def ends_ns(self) -> int:
        """When the slice is dropped if nothing more is heard."""
        if not self.confirmed:
            return self.appeared_ns + CONFIRM_NS
        return max(self.lease_ends_ns, self.renewed_ns + AWAY_NS) if self.links else self.lease_ends_ns


class SliceTable:
    """What one node serves. State changes through its methods alone; they return effects for the shell to perform."""

    def __init__(self, node: str, devices: Collection[str]) -> None:
        self.node = node
        self._devices = frozenset(devices)
        self._entries: dict[str, _Entry] = {}
        #: Slices taken back, by the epoch that took them, oldest first.
        self._taken_back: OrderedDict[str, int] = OrderedDict()

    def __repr__(self) -> str:
        links = sum(len(entry.links) for entry in self._entries.values())
        return f"<SliceTable of {self.node}: {len(self._entries)} slices, {links} links>"

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, slice_id: str) -> bool:
        return slice_id in self._entries

    def assignments(self) -> Iterator[Assignment]:
        """Yield what is served."""
        return (entry.assignment for entry in self._entries.values())

    def links(self, slice_id: str) -> int:
        """Return how many links a slice has."""
        entry = self._entries.get(slice_id)
        return len(entry.links) if entry else 0

    def held(self) -> list[HeldSlice]:
        """Return the confirmed slices, as a greeting names them."""
        return [
            HeldSlice(slice_id=slice_id, epoch=entry.assignment.epoch)
            for slice_id, entry in self._entries.items()
            if entry.confirmed
        ]

    # ── the broker's word ──────

    def welcome(self, slices: Iterable[Assignment], now_ns: int) -> list[Effect]:
        """Take over the broker's list: what it does not name is dropped, what it names is served and renewed.

        An unconfirmed slice may have been granted just after the list was written: it keeps waiting for its own word.
        """
        wanted = {assignment.slice_id: assignment for assignment in slices}
        effects: list[Effect] = []
        for slice_id in [held for held, entry in self._entries.items() if entry.confirmed and held not in wanted]:
            epoch = self._entries[slice_id].assignment.epoch
            effects.append(self._drop(slice_id, "the broker no longer places it on this node"))
            self._remember(slice_id, epoch)
        for assignment in wanted.values():
            effects += self.assign(assignment, now_ns)
            if (entry := self._entries.get(assignment.slice_id)) is not None:
                entry.renewed_ns = now_ns
        return effects

    def assign(self, assignment: Assignment, now_ns: int) -> list[Effect]:
        """Serve a slice, or take note that it has changed; anything older than what was heard is ignored."""
        entry = self._entries.get(assignment.slice_id)
        if entry is None:
            if assignment.epoch <= self._taken_back.get(assignment.slice_id, -1):
                return []
            self._entries[assignment.slice_id] = self._appear(assignment, now_ns, confirmed=True)
            return [Confirmed(assignment=assignment)]
        known = entry.assignment
        if assignment.epoch < known.epoch:
            return []
        if assignment.device != known.device or assignment.tenant != known.tenant:
            # Another device is another stay: its worker, links and leases do not carry over.
            stop = self._drop(assignment.slice_id, f"it has moved to device {assignment.device}")
            self._entries[assignment.slice_id] = self._appear(assignment, now_ns, confirmed=True)
            return [stop, Confirmed(assignment=assignment)]
        entry.assignment = assignment
        entry.renewed_ns = max(entry.renewed_ns, now_ns)
        effects: list[Effect] = []
        if _size(assignment) != _size(known):
            effects.append(ChangeWorker(assignment=assignment))
        if not entry.confirmed:
            entry.confirmed = True
            effects.append(Confirmed(assignment=assignment))
        return effects

    def revoke(self, slice_id: str, epoch: int, reason: str) -> list[Effect]:
        """Stop serving a slice, unless something newer was heard of it."""
        entry = self._entries.get(slice_id)
        if entry is not None and epoch < entry.assignment.epoch:
            return []
        self._remember(slice_id, epoch)
        return [self._drop(slice_id, reason)] if entry is not None else []

    def renew(self, lease_ns: int, now_ns: int) -> None:
        """Every slice that the broker knows of is good for that long."""
        for entry in self._entries.values():
            if entry.confirmed:
                entry.renewed_ns = now_ns
                entry.lease_ns = lease_ns

    def expire(self, now_ns: int) -> list[Effect]:
        """Drop what nobody has renewed or confirmed in time. Nothing is remembered: the broker may name the slice again."""
        effects: list[Effect] = []
        for slice_id, entry in list(self._entries.items()):
            if now_ns >= entry.ends_ns():
                why = "its lease has expired" if entry.confirmed else "the broker did not confirm it"
                effects.append(self._drop(slice_id, why))
        return effects

    # ── the door ──────

    def admit(self, lease: Lease, now_ns: int) -> Admitted:
        """Return how a lease (its signature is already checked) is admitted.

        Raises NotAuthorized for another node's lease, NotFound for a device that is not here, LeaseLost for a slice that was
        taken back or an epoch of an earlier stay, PoolUnreachable where nobody has renewed it because the broker is away.
        """
        slice_id = lease.slice_id
        if lease.node != self.node:
            raise NotAuthorized(f"the lease of slice {slice_id} is for node {lease.node}, this is {self.node}")
        if lease.device not in self._devices:
            raise NotFound(f"the lease of slice {slice_id} names device {lease.device}, which {self.node} does not offer")
        entry = self._entries.get(slice_id)
        if entry is None:
            self._refuse_replay(lease)
            entry = self._appear(_assignment(lease), now_ns, confirmed=False)
            self._entries[slice_id] = entry
        if lease.epoch < entry.admits_from or lease.tenant != entry.assignment.tenant:
            raise LeaseLost(
                f"the lease of slice {slice_id} is of epoch {lease.epoch}; this node serves it from epoch {entry.admits_from} "
                "on: ask the broker where it is",
                slice_id=slice_id,
                epoch=lease.epoch,
                admits_from=entry.admits_from,
            )
        if entry.confirmed and now_ns >= entry.lease_ends_ns:
            away_s = (now_ns - entry.renewed_ns) // SECOND_NS
            raise PoolUnreachable(f"the broker has not renewed slice {slice_id} for {away_s} s: no new links until it answers")
        return Admitted(assignment=entry.assignment, confirmed=entry.confirmed)

    def open_link(self, slice_id: str, link_id: str, *, holder: bool) -> None:
        """Take note of a link to an admitted slice; raise LimitExceeded where it has too many."""
        links = self._entries[slice_id].links
        if len(links) >= MAX_LINKS:
            raise LimitExceeded(
                f"slice {slice_id} has {len(links)} links, the limit: close some, or use more channels on one link"
            )
        links[link_id] = holder

    def close_link(self, slice_id: str, link_id: str, now_ns: int, *, left: bool) -> None:
        """Take note that a link is gone. The holder's makes an attached slice reportable: at once where its client has left,
        after REOPEN_NS where only its sockets are gone."""
        entry = self._entries.get(slice_id)
        if entry is not None and entry.links.pop(link_id, False) and not entry.has_holder:
            entry.overdue_ns = now_ns if left else now_ns + REOPEN_NS

    def lose_links(self, slice_id: str, now_ns: int) -> None:
        """Take note that the slice's worker died with all its links; their clients may open them again."""
        entry = self._entries.get(slice_id)
        if entry is not None:
            entry.links.clear()
            entry.overdue_ns = now_ns + HOLDER_GRACE_NS

    # ── the next beat ──────

    def lost(self, now_ns: int) -> list[LinkLost]:
        """Return the attached slices whose holder is gone. They stay in the report until the broker takes them back."""
        overdue = (
            LinkLost(slice_id=slice_id, epoch=entry.assignment.epoch, reason="its holder is gone")
            for slice_id, entry in self._entries.items()
            if entry.assignment.hold is Hold.ATTACHED and entry.confirmed and not entry.has_holder and now_ns >= entry.overdue_ns
        )
        return [row for row, _ in zip(overdue, range(MAX_REPORTED), strict=False)]

    # ── inside ──────

    @staticmethod
    def _appear(assignment: Assignment, now_ns: int, *, confirmed: bool) -> _Entry:
        return _Entry(
            assignment=assignment,
            admits_from=assignment.epoch,
            confirmed=confirmed,
            appeared_ns=now_ns,
            renewed_ns=now_ns,
            lease_ns=LEASE_NS,
            overdue_ns=now_ns + HOLDER_GRACE_NS,
        )

    def _drop(self, slice_id: str, reason: str) -> StopWorker:
        entry = self._entries.pop(slice_id)
        error = LeaseLost(f"slice {slice_id} has ended on {self.node}: {reason}", slice_id=slice_id, epoch=entry.assignment.epoch)
        return StopWorker(slice_id=slice_id, error=error.to_info())

    def _remember(self, slice_id: str, epoch: int) -> None:
        self._taken_back[slice_id] = max(epoch, self._taken_back.pop(slice_id, 0))
        while len(self._taken_back) > MAX_REMEMBERED:
            self._taken_back.popitem(last=False)

    def _refuse_replay(self, lease: Lease) -> None:
        taken = self._taken_back.get(lease.slice_id)
        if taken is not None and lease.epoch <= taken:
            raise LeaseLost(
                f"slice {lease.slice_id} was taken back at epoch {taken}; the lease is of epoch {lease.epoch}",
                slice_id=lease.slice_id,
                epoch=lease.epoch,
                taken_back_at=taken,
            )

    def check(self) -> None:
        """Raise AssertionError where an invariant does not hold; for tests."""
        for slice_id, entry in self._entries.items():
            assert entry.assignment.slice_id == slice_id  # noqa: S101
            assert entry.admits_from <= entry.assignment.epoch  # noqa: S101
            assert slice_id not in self._taken_back or self._taken_back[slice_id] < entry.assignment.epoch  # noqa: S101
            assert len(entry.links) <= MAX_LINKS  # noqa: S101
        assert len(self._taken_back) <= MAX_REMEMBERED  # noqa: S101


def _size(assignment: Assignment) -> tuple[object, ...]:
    news = assignment.is_paused, assignment.notice
    return assignment.compute_pct, assignment.memory_mib, assignment.policy, *news


def _assignment(lease: Lease) -> Assignment:
    """Return what the broker will say of the slice, as far as its lease tells."""
    return Assignment(
        slice_id=lease.slice_id,
        epoch=lease.epoch,
        tenant=lease.tenant,
        device=lease.device,
        compute_pct=lease.compute_pct,
        memory_mib=lease.memory_mib,
        policy=lease.policy,
        hold=lease.hold,
    )
