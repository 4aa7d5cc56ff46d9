"""The pace of a link says what tensors are coded for."""

from __future__ import annotations

import pytest

from gpupool.pace import SLOW, Pace
from gpupool.settings import CodingMode, coding_mode
from gpupool_wire.coding.link_speed import REMEMBERED
from gpupool_wire.errors import UsageError
from gpupool_wire.tensors import NoneSpec, SequenceSpec, TensorSpec

NEAR, FAR = "tcp://127.0.0.1:7201", "tcp://10.99.0.1:7201"
MB = 1_000_000


def after(pace: Pace, mb_per_s: float) -> float:
    """What the pace says once the link has carried as many messages at that speed as it remembers."""
    for _ in range(REMEMBERED):
        pace.observe(10 * MB, int(10 / mb_per_s * 1e9))
    return pace.bytes_per_s


def test_a_link_to_another_host_is_taken_for_a_gigabit_until_it_is_known() -> None:
    pace = Pace(FAR, CodingMode.AUTO)
    assert pace.bytes_per_s == 125e6
    assert after(pace, 12) == pytest.approx(12e6)


def test_on_the_own_host_nothing_is_coded() -> None:
    pace = Pace(NEAR, CodingMode.AUTO)
    assert pace.bytes_per_s == 0
    assert after(pace, 400) == 0


def test_a_tunnel_that_ends_on_the_own_host_is_a_slow_link() -> None:
    assert after(Pace(NEAR, CodingMode.AUTO), 12) == pytest.approx(12e6)


def test_a_link_faster_than_any_coding_gets_none() -> None:
    assert after(Pace(FAR, CodingMode.AUTO), 10_000) == 0


def test_the_mode_decides_whatever_the_link_is() -> None:
    assert after(Pace(FAR, CodingMode.OFF), 1) == 0
    assert after(Pace(NEAR, CodingMode.ALWAYS), 10_000) == SLOW


def test_what_coding_saved_is_counted() -> None:
    pace = Pace(FAR, CodingMode.AUTO)
    coded = TensorSpec("float32", (1000,), 2, 1500, "palette")
    pace.observe(1, 1, [coded, TensorSpec("float32", (10,), 1, 40), NoneSpec(), SequenceSpec([coded])])
    assert pace.saved_bytes == 2 * 2500


def test_the_mode_is_auto_unless_the_environment_says_otherwise() -> None:
    assert coding_mode({}) is CodingMode.AUTO
    assert coding_mode({"GPUPOOL_CODING": " OFF "}) is CodingMode.OFF
    with pytest.raises(UsageError, match="auto, off, always"):
        coding_mode({"GPUPOOL_CODING": "fast"})
