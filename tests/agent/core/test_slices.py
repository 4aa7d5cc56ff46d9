"""The agent's slice table: who is admitted, what is dropped, who is reported."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gpupool_agent.core.slices import (
    AWAY_NS,
    CONFIRM_NS,
    HOLDER_GRACE_NS,
    LEASE_NS,
    MAX_LINKS,
    REOPEN_NS,
    SECOND_NS,
    ChangeWorker,
    Confirmed,
    SliceTable,
    StopWorker,
)
from gpupool_wire.errors import GpupoolError, LeaseLost, LimitExceeded, NotAuthorized, NotFound, PoolUnreachable
from gpupool_wire.messages import Assignment, Lease
from gpupool_wire.units import Hold, Policy


def assignment(slice_id: str = "s1", epoch: int = 1, **changes: Any) -> Assignment:
    fields: dict[str, Any] = {
        "tenant": "t",
        "device": "cpu0",
        "compute_pct": 25,
        "memory_mib": 512,
        "policy": Policy.FIXED,
        "hold": Hold.ATTACHED,
    }
    return Assignment(slice_id=slice_id, epoch=epoch, **{**fields, **changes})


def lease(slice_id: str = "s1", epoch: int = 1, node: str = "n", **changes: Any) -> Lease:
    fields: dict[str, Any] = {
        "tenant": "t",
        "device": "cpu0",
        "compute_pct": 25,
        "memory_mib": 512,
        "policy": Policy.FIXED,
        "hold": Hold.ATTACHED,
    }
    return Lease(slice_id=slice_id, epoch=epoch, node=node, **{**fields, **changes})


@pytest.fixture
def table() -> Any:
    table = SliceTable("n", ["cpu0", "cpu1"])
    yield table
    table.check()


class TestAdmission:
    def test_an_assigned_slice_is_admitted(self, table: SliceTable) -> None:
        assert table.assign(assignment(), 0) == [Confirmed(assignment=assignment())]
        assert table.admit(lease(), 0).confirmed

    def test_a_lease_ahead_of_the_brokers_word_waits_for_it(self, table: SliceTable) -> None:
        assert not table.admit(lease(), 0).confirmed
        assert table.assign(assignment(), 1) == [Confirmed(assignment=assignment())]
        assert table.admit(lease(), 1).confirmed

    def test_without_the_brokers_word_the_slice_is_dropped(self, table: SliceTable) -> None:
        table.admit(lease(), 0)
        assert table.expire(CONFIRM_NS - 1) == []
        (stop,) = table.expire(CONFIRM_NS)
        assert isinstance(stop, StopWorker)
        assert "did not confirm" in stop.error.message
        assert len(table) == 0

    def test_another_nodes_lease_is_refused(self, table: SliceTable) -> None:
        with pytest.raises(NotAuthorized, match="for node m, this is n"):
            table.admit(lease(node="m"), 0)

    def test_a_device_that_is_not_here_is_refused(self, table: SliceTable) -> None:
        with pytest.raises(NotFound, match="cuda7"):
            table.admit(lease(device="cuda7"), 0)

    def test_a_lease_of_an_earlier_stay_is_refused(self, table: SliceTable) -> None:
        table.assign(assignment(epoch=5), 0)
        with pytest.raises(LeaseLost, match=r"epoch 4.*from epoch 5"):
            table.admit(lease(epoch=4), 0)

    def test_a_lease_from_before_a_resize_is_still_good(self, table: SliceTable) -> None:
        table.assign(assignment(epoch=1), 0)
        table.assign(assignment(epoch=2, compute_pct=50), 0)
        assert table.admit(lease(epoch=1), 0).assignment.compute_pct == 50

    def test_another_tenants_lease_is_refused(self, table: SliceTable) -> None:
        table.assign(assignment(), 0)
        with pytest.raises(LeaseLost):
            table.admit(lease(tenant="u"), 0)

    def test_a_replayed_lease_is_refused_after_revocation(self, table: SliceTable) -> None:
        table.assign(assignment(epoch=1), 0)
        (stop,) = table.revoke("s1", 2, "released")
        assert isinstance(stop, StopWorker)
        assert "released" in stop.error.message
        with pytest.raises(LeaseLost, match="taken back at epoch 2"):
            table.admit(lease(epoch=1), 0)

    def test_a_revocation_heard_before_anything_else_holds(self, table: SliceTable) -> None:
        assert table.revoke("s1", 2, "released") == []
        assert table.assign(assignment(epoch=1), 0) == []
        with pytest.raises(LeaseLost):
            table.admit(lease(epoch=2), 0)

    def test_links_are_bounded(self, table: SliceTable) -> None:
        table.assign(assignment(), 0)
        for number in range(MAX_LINKS):
            table.open_link("s1", str(number), holder=False)
        with pytest.raises(LimitExceeded, match=str(MAX_LINKS)):
            table.open_link("s1", "one more", holder=False)


class TestTheBrokersWord:
    def test_an_older_assignment_is_ignored(self, table: SliceTable) -> None:
        table.assign(assignment(epoch=3, compute_pct=50), 0)
        assert table.assign(assignment(epoch=2), 0) == []
        assert table.admit(lease(epoch=3), 0).assignment.compute_pct == 50

    def test_an_older_revocation_is_ignored(self, table: SliceTable) -> None:
        table.assign(assignment(epoch=3), 0)
        assert table.revoke("s1", 2, "late") == []
        assert "s1" in table

    def test_a_new_size_changes_the_worker(self, table: SliceTable) -> None:
        table.assign(assignment(), 0)
        bigger = assignment(epoch=2, memory_mib=1024)
        assert table.assign(bigger, 0) == [ChangeWorker(assignment=bigger)]

    def test_another_device_is_another_stay(self, table: SliceTable) -> None:
        table.assign(assignment(), 0)
        table.open_link("s1", "l", holder=True)
        moved = assignment(epoch=2, device="cpu1")
        stop, confirmed = table.assign(moved, 0)
        assert isinstance(stop, StopWorker)
        assert confirmed == Confirmed(assignment=moved)
        assert table.links("s1") == 0
        with pytest.raises(LeaseLost):
            table.admit(lease(epoch=1), 0)

    def test_a_welcome_is_the_whole_truth(self, table: SliceTable) -> None:
        table.assign(assignment("gone"), 0)
        table.assign(assignment("stays"), 0)
        stop, confirmed = table.welcome([assignment("stays"), assignment("new")], 1)
        assert isinstance(stop, StopWorker)
        assert stop.slice_id == "gone"
        assert confirmed == Confirmed(assignment=assignment("new"))
        with pytest.raises(LeaseLost):
            table.admit(lease("gone"), 1)

    def test_a_welcome_leaves_a_lease_that_ran_ahead_of_it(self, table: SliceTable) -> None:
        table.admit(lease(), 0)
        assert table.welcome([], 1) == []
        assert table.assign(assignment(), 2) == [Confirmed(assignment=assignment())]

    def test_a_slice_may_come_back(self, table: SliceTable) -> None:
        table.assign(assignment(epoch=1), 0)
        table.welcome([], 1)
        assert table.assign(assignment(epoch=2), 2) == [Confirmed(assignment=assignment(epoch=2))]
        assert table.admit(lease(epoch=2), 2).confirmed

    def test_only_confirmed_slices_are_named_in_a_greeting(self, table: SliceTable) -> None:
        table.assign(assignment("a", epoch=4), 0)
        table.admit(lease("b"), 0)
        assert [(held.slice_id, held.epoch) for held in table.held()] == [("a", 4)]


class TestExpiry:
    def test_without_renewal_a_slice_ends_with_its_lease(self, table: SliceTable) -> None:
        table.assign(assignment(), 0)
        assert table.expire(LEASE_NS - 1) == []
        assert len(table.expire(LEASE_NS)) == 1

    def test_renewal_extends_it(self, table: SliceTable) -> None:
        table.assign(assignment(), 0)
        table.renew(LEASE_NS, LEASE_NS // 2)
        assert table.expire(LEASE_NS) == []

    def test_links_keep_a_slice_while_the_broker_is_away(self, table: SliceTable) -> None:
        table.assign(assignment(), 0)
        table.open_link("s1", "l", holder=True)
        assert table.expire(AWAY_NS - 1) == []
        assert len(table.expire(AWAY_NS)) == 1

    def test_nobody_new_is_let_in_after_the_lease(self, table: SliceTable) -> None:
        table.assign(assignment(), 0)
        table.open_link("s1", "l", holder=True)
        with pytest.raises(PoolUnreachable, match="60 s"):
            table.admit(lease(), LEASE_NS)

    def test_what_expired_here_may_be_named_again(self, table: SliceTable) -> None:
        table.assign(assignment(), 0)
        table.expire(LEASE_NS)
        assert table.assign(assignment(), LEASE_NS + 1) == [Confirmed(assignment=assignment())]


class TestHolders:
    def test_an_attached_slice_without_its_holder_is_reported_after_the_grace(self, table: SliceTable) -> None:
        table.assign(assignment(epoch=7), 0)
        assert table.lost(HOLDER_GRACE_NS - 1) == []
        (row,) = table.lost(HOLDER_GRACE_NS)
        assert (row.slice_id, row.epoch) == ("s1", 7)

    def test_it_is_reported_until_it_is_taken_back(self, table: SliceTable) -> None:
        table.assign(assignment(), 0)
        assert table.lost(HOLDER_GRACE_NS) == table.lost(HOLDER_GRACE_NS + SECOND_NS) != []
        table.revoke("s1", 2, "its holder is gone")
        assert table.lost(HOLDER_GRACE_NS + 2 * SECOND_NS) == []

    def test_a_holder_known_to_be_gone_is_reported_at_once(self, table: SliceTable) -> None:
        table.assign(assignment(), 0)
        table.open_link("s1", "l", holder=True)
        assert table.lost(10 * HOLDER_GRACE_NS) == []
        table.close_link("s1", "l", 10 * HOLDER_GRACE_NS, left=True)
        assert len(table.lost(10 * HOLDER_GRACE_NS)) == 1

    def test_one_whose_sockets_are_gone_may_come_back_with_others(self, table: SliceTable) -> None:
        table.assign(assignment(), 0)
        table.open_link("s1", "l", holder=True)
        table.close_link("s1", "l", SECOND_NS, left=False)
        assert table.lost(SECOND_NS + REOPEN_NS - 1) == []
        assert len(table.lost(SECOND_NS + REOPEN_NS)) == 1
        table.open_link("s1", "again", holder=True)
        assert table.lost(SECOND_NS + REOPEN_NS) == []

    def test_a_guest_does_not_hold(self, table: SliceTable) -> None:
        table.assign(assignment(), 0)
        table.open_link("s1", "g", holder=False)
        assert len(table.lost(HOLDER_GRACE_NS)) == 1

    def test_a_guests_end_changes_nothing(self, table: SliceTable) -> None:
        table.assign(assignment(), 0)
        table.open_link("s1", "l", holder=True)
        table.open_link("s1", "g", holder=False)
        table.close_link("s1", "g", 1, left=True)
        assert table.lost(HOLDER_GRACE_NS) == []

    def test_after_a_worker_died_its_clients_have_the_grace_to_come_back(self, table: SliceTable) -> None:
        table.assign(assignment(), 0)
        table.open_link("s1", "l", holder=True)
        table.lose_links("s1", 100)
        assert table.lost(100 + HOLDER_GRACE_NS - 1) == []
        table.open_link("s1", "l2", holder=True)
        assert table.lost(100 + HOLDER_GRACE_NS) == []

    def test_a_held_slice_needs_no_holder(self, table: SliceTable) -> None:
        table.assign(assignment(hold=Hold.HELD), 0)
        assert table.lost(100 * HOLDER_GRACE_NS) == []


SLICES = st.sampled_from(["s1", "s2", "s3"])
EPOCHS = st.integers(0, 12)


class AnyHistory(RuleBasedStateMachine):
    """Whatever the broker, clients and time do: one stop per stay, nobody is let in on what was taken back."""

    def __init__(self) -> None:
        super().__init__()
        self.table = SliceTable("n", ["cpu0", "cpu1"])
        self.now_ns = 0
        #: Slices that were let into the table and not stopped since.
        self.alive: set[str] = set()
        #: What the broker took back, by epoch.
        self.taken: dict[str, int] = {}
        self.links: dict[str, str] = {}
        self.renewed_ns = 0

    def take(self, effects: list[Any]) -> None:
        for effect in effects:
            if isinstance(effect, StopWorker):
                assert effect.slice_id in self.alive
                self.alive.discard(effect.slice_id)
            elif isinstance(effect, Confirmed):
                assert effect.assignment.epoch > self.taken.get(effect.assignment.slice_id, -1)
                self.alive.add(effect.assignment.slice_id)
            else:
                assert effect.assignment.slice_id in self.alive

    @rule(slice_id=SLICES, epoch=EPOCHS, pct=st.integers(1, 3), device=st.sampled_from(["cpu0", "cpu1"]))
    def assign(self, slice_id: str, epoch: int, pct: int, device: str) -> None:
        self.take(self.table.assign(assignment(slice_id, epoch, compute_pct=pct, device=device), self.now_ns))

    @rule(slice_id=SLICES, epoch=EPOCHS)
    def revoke(self, slice_id: str, epoch: int) -> None:
        newest = max((held.epoch for held in self.table.assignments() if held.slice_id == slice_id), default=0)
        self.take(self.table.revoke(slice_id, epoch, "r"))
        if epoch >= newest:
            self.taken[slice_id] = max(epoch, self.taken.get(slice_id, 0))
            assert slice_id not in self.table

    @rule(named=st.dictionaries(SLICES, EPOCHS))
    def welcome(self, named: dict[str, int]) -> None:
        self.take(self.table.welcome([assignment(slice_id, epoch) for slice_id, epoch in named.items()], self.now_ns))
        assert {held.slice_id for held in self.table.held()} <= set(named)

    @rule(slice_id=SLICES, epoch=EPOCHS, link=st.integers(0, 5).map(str), holder=st.booleans())
    def knock(self, slice_id: str, epoch: int, link: str, holder: bool) -> None:
        try:
            admitted = self.table.admit(lease(slice_id, epoch), self.now_ns)
        except GpupoolError:
            return
        assert epoch > self.taken.get(slice_id, -1)
        self.alive.add(slice_id)
        self.table.open_link(slice_id, link, holder=holder)
        assert admitted.assignment.slice_id == slice_id

    @rule(slice_id=SLICES, link=st.integers(0, 5).map(str), left=st.booleans())
    def close(self, slice_id: str, link: str, left: bool) -> None:
        self.table.close_link(slice_id, link, self.now_ns, left=left)

    @rule(slice_id=SLICES)
    def worker_dies(self, slice_id: str) -> None:
        self.table.lose_links(slice_id, self.now_ns)

    @rule()
    def renew(self) -> None:
        self.table.renew(LEASE_NS, self.now_ns)

    @rule(elapsed_ns=st.sampled_from([1, SECOND_NS, CONFIRM_NS, LEASE_NS, AWAY_NS]))
    def wait(self, elapsed_ns: int) -> None:
        self.now_ns += elapsed_ns
        self.take(self.table.expire(self.now_ns))

    @precondition(lambda self: len(self.table) > 0)
    @rule()
    def all_end_when_nobody_renews(self) -> None:
        self.now_ns += AWAY_NS + LEASE_NS
        self.take(self.table.expire(self.now_ns))
        assert len(self.table) == 0

    @invariant()
    def is_consistent(self) -> None:
        self.table.check()
        assert {held.slice_id for held in self.table.assignments()} == self.alive
        assert {row.slice_id for row in self.table.lost(self.now_ns)} <= self.alive


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
