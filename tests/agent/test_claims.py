"""Claims on turns: given once, changed while they last, ended once."""

from __future__ import annotations

from typing import Any
from unittest.mock import MagicMock, call

import pytest

from gpupool_agent.claims import Claims
from gpupool_agent.turns import DeviceTurns
from gpupool_wire.messages import Assignment
from gpupool_wire.units import Hold, Policy


@pytest.fixture
def turns() -> Any:
    return MagicMock(spec=DeviceTurns)


def slice_of(compute_pct: int, *, is_paused: bool = False) -> Assignment:
    return Assignment(
        slice_id="s",
        epoch=1,
        tenant="t",
        device="cpu0",
        compute_pct=compute_pct,
        memory_mib=64,
        policy=Policy.FIXED,
        hold=Hold.ATTACHED,
        is_paused=is_paused,
    )


def test_a_claim_is_given_once_and_keeps_what_it_owes(turns: Any) -> None:
    claims = Claims({"cpu0": turns})
    claims.begin(slice_of(10, is_paused=True))
    claims.begin(slice_of(20))
    assert turns.method_calls == [call.claim("s", 10, Policy.FIXED), call.pause("s", True)]


def test_it_has_another_size_from_the_next_turn_on(turns: Any) -> None:
    claims = Claims({"cpu0": turns})
    claims.begin(slice_of(10))
    turns.reset_mock()
    claims.change(slice_of(30, is_paused=True))
    assert turns.method_calls == [call.resize("s", 30, Policy.FIXED), call.pause("s", True)]


def test_a_slice_without_a_claim_has_none_to_change_or_end(turns: Any) -> None:
    claims = Claims({"cpu0": turns})
    claims.change(slice_of(30))
    claims.end("s")
    assert turns.method_calls == []


def test_it_ends_once_and_may_begin_again(turns: Any) -> None:
    claims = Claims({"cpu0": turns})
    claims.begin(slice_of(10))
    claims.end("s")
    claims.end("s")
    claims.begin(slice_of(20))
    assert turns.disclaim.mock_calls == [call("s")]
    assert turns.claim.mock_calls == [call("s", 10, Policy.FIXED), call("s", 20, Policy.FIXED)]
