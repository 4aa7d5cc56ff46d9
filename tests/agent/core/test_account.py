"""One slice's account: credit earned, kept and spent; virtual time; the meter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpupool_agent.core.account import CATCH_UP_NS, OVERRUN_CATCH_UP_NS, WINDOW_NS, Account, Meter
from gpupool_wire.units import Policy

MS = 1_000_000
S = 1_000 * MS


def account(compute_pct: int = 20, policy: Policy = Policy.FIXED) -> Account:
    return Account(
        slice_id="s", compute_pct=compute_pct, policy=policy, since_ns=0, virtual_ns=0, credited_at_ns=0, idle_since_ns=0
    )


def test_an_idle_slice_keeps_the_credit_of_one_quantum():
    idle = account()
    idle.earn(100 * S)
    assert idle.credit_cns == idle.quantum_ns * 100 == 16 * MS * 100


def test_a_busy_slice_keeps_more():
    busy = account()
    busy.is_busy = True
    busy.earn(100 * S)
    assert busy.credit_cns == (16 * MS * 100) + 20 * CATCH_UP_NS


def test_time_lost_to_overlong_calls_is_kept_until_it_is_spent():
    busy = account()
    busy.is_busy = True
    busy.keep(700 * MS)
    busy.earn(100 * S)
    assert busy.credit_cns == 16 * MS * 100 + 20 * (CATCH_UP_NS + 700 * MS)
    busy.spend(196 * MS, 100 * S)
    assert busy.is_capped
    assert busy.kept_cns == 0


def test_what_is_kept_has_a_limit():
    busy = account()
    busy.keep(100 * S)
    assert busy.kept_cns == 20 * OVERRUN_CATCH_UP_NS


def test_who_pauses_while_others_wait_keeps_less():
    busy = account()
    busy.keep(700 * MS)
    busy.credit_cns = S * 100
    busy.spend(0, 0, paused_ns=100 * MS)
    assert busy.kept_cns == 20 * 700 * MS - 100 * 100 * MS


def test_after_a_rest_there_is_no_more_than_a_short_burst():
    rested = account()
    rested.keep(700 * MS)
    rested.credit_cns = S * 100
    rested.rest()
    assert (rested.kept_cns, rested.credit_cns) == (0, 16 * MS * 100)


def test_a_fixed_slice_owes_all_it_used_beyond_its_credit():
    fixed = account()
    fixed.spend(700 * MS, 0)
    assert fixed.debt_ns == 684 * MS
    assert fixed.is_capped
    # 20 % of the wall clock pays it, and a turn of 16 ms that earns 3.2 ms while it runs.
    assert fixed.uncapped_at_ns == 5 * (684 * MS + 12_800_000)


def test_a_burst_slice_owes_only_its_overrun():
    burst = account(policy=Policy.BURST)
    burst.spend(700 * MS, 0, overrun_ns=300 * MS)
    assert burst.debt_ns == 300 * MS
    assert not burst.is_capped
    burst.spend(20 * MS, 0)
    assert burst.debt_ns == 0


def test_a_slice_of_the_whole_device_is_never_capped():
    whole = account(compute_pct=100)
    whole.spend(50 * MS, 50 * MS)
    assert not whole.is_capped


@given(
    used_ns=st.integers(0, 10 * S),
    before=st.integers(1, 100),
    after=st.integers(1, 100),
    policy=st.sampled_from(list(Policy)),
)
def test_a_resize_leaves_what_is_owed(used_ns, before, after, policy):
    resized = account(compute_pct=before, policy=policy)
    resized.credit_cns = 0
    resized.charge(used_ns)
    resized.spend(used_ns, 0, overrun_ns=used_ns)
    resized.resize(after, policy, 0)
    assert resized.debt_ns == used_ns
    assert resized.virtual_ns * after / 100 == pytest.approx(used_ns, abs=2)


@given(
    times=st.lists(st.integers(0, S), min_size=1, max_size=60),
    pct=st.integers(1, 100),
)
def test_credit_is_exact_however_often_it_is_looked_at(times, pct):
    often, once = account(compute_pct=pct), account(compute_pct=pct)
    for each in (often, once):
        each.credit_cns = -(10**15)
    now_ns = 0
    for elapsed_ns in times:
        now_ns += elapsed_ns
        often.earn(now_ns)
    once.earn(now_ns)
    assert often.credit_cns == once.credit_cns == -(10**15) + now_ns * pct


@given(st.lists(st.tuples(st.integers(0, 3 * S), st.integers(0, 700 * MS)), max_size=60))
def test_the_meter_forgets_what_is_older_than_its_window(uses):
    meter, now_ns, seen = Meter(), 0, []
    for elapsed_ns, used_ns in uses:
        now_ns += elapsed_ns
        meter.add(used_ns, now_ns)
        seen.append((now_ns, used_ns))
    in_window = [used for when, used in seen if when > now_ns - WINDOW_NS + 100 * MS]
    at_most = [used for when, used in seen if when >= now_ns - WINDOW_NS - 100 * MS]
    assert sum(in_window) <= meter.window_ns(now_ns) <= sum(at_most)
    assert meter.total_ns == sum(used for _, used in seen)
    assert meter.window_ns(now_ns + 2 * WINDOW_NS) == 0


def test_a_repr_is_a_status_line():
    fixed = account()
    fixed.spend(40 * MS, 0)
    assert repr(fixed) == "<Account of s: 20 % fixed, capped, owes 24.0 ms>"
