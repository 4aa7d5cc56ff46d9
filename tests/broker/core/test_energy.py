"""Energy counters become facts, and nothing is made up where a counter begins anew."""

from __future__ import annotations

from gpupool_broker.core import facts as f
from gpupool_broker.core.energy import TOO_LONG_MS
from gpupool_wire.messages import DeviceEnergy


def tell(driver, energy_mj: int, after_ms: int = 60_000) -> list[f.DevicePowered]:
    """Let an agent beat with a counter; return what it became in the journal."""
    driver.now_ms += after_ms
    before = len(driver.journal)
    driver.beat(energy=(DeviceEnergy(device="cuda0", energy_mj=energy_mj),))
    return [fact for fact in driver.journal[before:] if isinstance(fact, f.DevicePowered)]


def test_the_difference_of_two_readings_is_what_was_drawn(driver) -> None:
    driver.join(kind="cuda")
    assert tell(driver, 5_000_000) == []
    (drawn,) = tell(driver, 5_018_000)
    assert (drawn.node, drawn.device, drawn.span_ms, drawn.energy_mj) == ("node-1", "cuda0", 60_000, 18_000)


def test_a_counter_that_begins_anew_is_a_beginning(driver) -> None:
    driver.join(kind="cuda")
    tell(driver, 5_000_000)
    assert tell(driver, 10) == []
    assert [drawn.energy_mj for drawn in tell(driver, 1_010)] == [1_000]


def test_a_reading_too_long_after_the_last_is_a_beginning(driver) -> None:
    driver.join(kind="cuda")
    tell(driver, 0)
    assert tell(driver, 10**9, after_ms=TOO_LONG_MS + 1) == []


def test_what_was_drawn_is_in_the_journal_and_changes_no_books(driver) -> None:
    driver.join(kind="cuda")
    tell(driver, 0)
    tell(driver, 500)
    assert driver.replayed().nodes == driver.pool.nodes
