"""Failed attempts: what is free, how long the next one waits, what is forgotten."""

from __future__ import annotations

from gpupool_broker.core import attempts
from gpupool_broker.core.attempts import FIRST_MS, FORGET_MS, LONGEST_MS, Attempts


def test_the_first_ones_are_free_then_each_wait_is_twice_the_last() -> None:
    tried = Attempts(free=2)
    waits = []
    for _ in range(4):
        tried.failed("ada", 0)
        waits.append(tried.wait_ms("ada", 0))
    assert waits == [0, 0, FIRST_MS, 2 * FIRST_MS]
    assert tried.wait_ms("bob", 0) == 0


def test_a_wait_has_an_end_however_many_failed() -> None:
    tried = Attempts(free=0)
    for _ in range(200):
        tried.failed("ada", 0)
    assert tried.wait_ms("ada", 0) == LONGEST_MS
    assert tried.wait_ms("ada", LONGEST_MS) == 0


def test_success_or_time_makes_all_good() -> None:
    tried = Attempts(free=1)
    for _ in range(5):
        tried.failed("ada", 0)
        tried.failed("bob", 0)
    tried.succeeded("ada")
    tried.failed("ada", 1)
    tried.failed("bob", FORGET_MS)
    assert tried.wait_ms("ada", 1) == 0
    assert tried.wait_ms("bob", FORGET_MS) == 0


def test_a_flood_of_names_is_bounded(monkeypatch) -> None:
    monkeypatch.setattr(attempts, "MAX_KEYS", 10)
    tried = Attempts(free=0)
    for number in range(100):
        tried.failed(str(number), 0)
    assert repr(tried) == "<Attempts, 10 keys, 0 free>"
    assert tried.wait_ms("99", 0)
