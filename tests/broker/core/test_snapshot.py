"""Books that were frozen and thawed are the same books."""

from __future__ import annotations

import msgspec
import pytest

from gpupool_broker.core import snapshot
from gpupool_broker.core.books import Books
from gpupool_broker.core.invariants import check
from gpupool_broker.core.pool import Pool


def thawed(pool: Pool) -> Pool:
    fresh = Pool(lambda: "never asked")
    snapshot.thaw(snapshot.freeze(pool), fresh)
    return fresh


def contents(pool: Books) -> dict[str, object]:
    """Everything that is kept, dicts with the order of their keys."""
    kept = {path: snapshot._at(pool, path) for path in snapshot.KEPT}
    return {path: list(value.items()) if isinstance(value, dict) else list(value) for path, value in kept.items()}


def test_every_attribute_of_the_books_is_kept_or_said_to_be_derived() -> None:
    told = set(snapshot.KEPT) | set(snapshot.DERIVED)
    untold = set()
    for name, value in vars(Books()).items():
        if name in told:
            continue
        # A part with attributes of its own is told by them, as "quotas.held".
        parts = {f"{name}.{inner}" for inner in getattr(value, "__dict__", ())}
        untold |= parts - told if parts else {name}
    assert not untold, f"add {sorted(untold)} to KEPT or DERIVED in core/snapshot.py"


@pytest.mark.parametrize("path", [*snapshot.KEPT, *snapshot.DERIVED])
def test_what_is_told_is_there(path: str) -> None:
    part: object = Books()
    for name in path.split("."):
        assert hasattr(part, name)
        part = getattr(part, name)


def test_what_is_thawed_equals_what_was_frozen(driver) -> None:
    driver.join(devices=2)
    driver.quota("t", 150)
    for _ in range(3):
        driver.request(25)
    driver.release("s1")
    driver.wait(3_000)
    again = thawed(driver.pool)
    check(again)
    assert contents(again) == contents(driver.pool)
    assert again.openings
    assert {"nodes", "slices", "quotas.limits", "quotas.held", "_answers", "_ended"} <= {
        path for path, value in contents(again).items() if value
    }


def test_thawed_books_go_on_as_the_others_would(driver) -> None:
    driver.join(devices=2)
    driver.request(60)
    again = thawed(driver.pool)
    before = len(driver.journal)
    driver.request(60)
    driver.release("s1")
    driver.resize("s2", 80)
    driver.cordon()
    for fact in driver.journal[before:]:
        again.apply(fact)
    check(again)
    assert contents(again) == contents(driver.pool)


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x80", b"\x81\xa5nodes\x01"])
def test_what_is_no_snapshot_leaves_the_books_empty(data: bytes) -> None:
    books = Books()
    with pytest.raises(snapshot.SnapshotUnreadable, match="the snapshot cannot be read"):
        snapshot.thaw(data, books)
    assert contents(books) == contents(Books())


def test_a_part_that_is_damaged_leaves_the_books_empty(driver) -> None:
    driver.join()
    parts = msgspec.msgpack.decode(snapshot.freeze(driver.pool))
    parts["_ended"] = 7
    books = Books()
    with pytest.raises(snapshot.SnapshotUnreadable):
        snapshot.thaw(msgspec.msgpack.encode(parts), books)
    assert contents(books) == contents(Books())


def test_the_shape_follows_the_fields_of_what_is_kept() -> None:
    described = msgspec.json.encode(msgspec.json.schema_components(list(snapshot.KEPT.values()))).decode()
    for field in ("compute_free_pct", "drain_ms", "revision", "worker_overhead_mib", "client_key"):
        assert f'"{field}"' in described
