"""Which prices and factors are taken, through the pool's own door."""

from __future__ import annotations

import pytest

from gpupool_broker.core import events as e
from gpupool_broker.core import facts as f


def enter(driver, entry: f.Entry):
    return driver.send(e.EntryRequested(**driver.stamp(), caller="c", entry=entry))


def test_a_price_is_journalled_and_replayed(driver, price) -> None:
    assert enter(driver, price(model="H", used_hour="1.25")) == [e.AnswerEntered(caller="c")]
    assert driver.replayed().tariff == driver.pool.tariff
    assert driver.pool.tariff.currency == "EUR"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"valid_from": "tomorrow"}, "is no day"),
        ({"valid_from": "2026-02-30"}, "is no day"),
        ({"valid_from": "20261001"}, "is no day"),
        ({"used_hour": "-1"}, "is no rate"),
        ({"used_hour": "1e9"}, "is no rate"),
        ({"used_hour": "NaN"}, "is no rate"),
        ({"used_hour": "0.0000000001"}, "is no rate"),
        ({"currency": "euro"}, "is no currency"),
        ({"currency": "USD"}, "the price list is in EUR"),
    ],
)
def test_what_is_no_price_is_refused(driver, price, refused, change, words) -> None:
    enter(driver, price())
    assert words in str(refused(enter(driver, price(**change))))
    assert len(driver.journal) == 1


def test_a_month_is_frozen_once(driver, refused) -> None:
    frozen = f.MonthFrozen(at_ms=1, by="x", month="2026-10", zone="UTC", sha256="0")
    enter(driver, frozen)
    assert "frozen already" in str(refused(enter(driver, frozen)))
