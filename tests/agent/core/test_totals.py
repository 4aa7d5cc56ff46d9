"""What slices have used since they were granted."""

from __future__ import annotations

from gpupool_agent.core.totals import Totals, Used


def test_reports_add_to_what_was_used_before() -> None:
    totals = Totals()
    totals.begin("s", Used(1_000, 100, 10))
    totals.add("s", Used(50, 5, 2, 1))
    totals.add("s", Used(7, 0, 1))
    assert totals.of("s") == Used(1_057, 105, 13, 1)
    assert repr(totals) == "<Totals of 1 slices>"


def test_a_slice_that_is_here_is_known_better_here() -> None:
    totals = Totals()
    totals.begin("s", Used())
    totals.add("s", Used(50, 5, 2))
    totals.begin("s", Used(40, 4, 1))
    assert totals.of("s") == Used(50, 5, 2)


def test_last_words_of_a_slice_that_has_gone_are_not_kept() -> None:
    totals = Totals()
    totals.begin("s", Used(1))
    totals.end("s")
    totals.end("s")
    totals.add("s", Used(5))
    assert totals.of("s") == Used()
