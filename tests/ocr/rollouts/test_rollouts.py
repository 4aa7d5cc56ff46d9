"""New versions beside old ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from gpupool_ocr.jobs.redis_link import connect
from gpupool_ocr.rollouts.desired import Desired, applied, promoted, rolled_back
from gpupool_ocr.rollouts.redis_store import RedisBeats, RedisSnapshots
from gpupool_ocr.rollouts.store import Entry, FolderStore, SnapshotStore
from gpupool_ocr.service.heartbeats import Beat
from gpupool_wire.errors import Conflict, NotFound, UsageError

ONE = Desired(revision=1, active=1)


def test_a_snapshot_without_a_share_is_active_at_once() -> None:
    state = applied(ONE, 2)
    assert (state.revision, state.active, state.candidate, state.earlier) == (2, 2, None, [1])


def test_a_candidate_is_tried_then_promoted() -> None:
    tried = applied(ONE, 2, percent=10)
    assert (tried.active, tried.candidate, tried.percent) == (1, 2, 10)
    after = promoted(tried)
    assert (after.active, after.candidate, after.percent, after.earlier) == (2, None, 0, [1])


def test_rolling_back_drops_the_candidate_first_and_then_goes_back_step_by_step() -> None:
    state = applied(applied(applied(ONE, 2), 3), 4, shadow=True)
    state = rolled_back(state)
    assert (state.active, state.candidate, state.shadow) == (3, None, False)
    state = rolled_back(rolled_back(state))
    assert (state.active, state.earlier) == (1, [])
    with pytest.raises(Conflict, match="nothing before snapshot 1"):
        rolled_back(state)


def test_one_can_roll_back_to_any_snapshot() -> None:
    assert rolled_back(applied(applied(ONE, 2), 3), 1).active == 1


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match="101 %"):
        applied(ONE, 2, percent=101)
    with pytest.raises(UsageError, match="no active snapshot"):
        applied(Desired(), 1, percent=5)
    with pytest.raises(Conflict, match="no candidate"):
        promoted(ONE)


@pytest.fixture(params=["folder", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SnapshotStore]:
    if request.param == "folder":
        yield FolderStore(tmp_path / "ocr")
        return
    client = connect(request.getfixturevalue("redis_url"))
    yield RedisSnapshots(client)
    client.close()


def test_snapshots_get_numbers_and_stay(store: SnapshotStore) -> None:
    numbers = [store.add(Entry(yaml=f"note: {n}\n", note='with "number":0 in it', by="me", at=float(n))) for n in range(3)]
    assert numbers == [1, 2, 3]
    assert [entry.number for entry in store.history()] == [3, 2, 1]
    assert (store.get(2).yaml, store.get(2).note) == ("note: 1\n", 'with "number":0 in it')
    with pytest.raises(NotFound, match="no snapshot 9"):
        store.get(9)


def test_of_two_who_change_the_desired_state_the_second_is_told(store: SnapshotStore) -> None:
    assert store.desired() == Desired()
    store.set_desired(applied(store.desired(), 1))
    mine, theirs = applied(store.desired(), 2), applied(store.desired(), 3)
    store.set_desired(mine)
    with pytest.raises(Conflict, match="has changed meanwhile"):
        store.set_desired(theirs)
    assert store.desired() == mine


def test_only_who_beat_of_late_is_alive(redis_url: str) -> None:
    client = connect(redis_url)
    beats = RedisBeats(client)
    beat = Beat(instance="a", host="h", pid=1, at=0.0, threads=4, busy=0)
    beats.beat(beat)
    beats.beat(msgspec.structs.replace(beat, instance="b", busy=2))
    assert [(one.instance, one.busy) for one in beats.alive()] == [("a", 0), ("b", 2)]
    stale = msgspec.msgpack.encode((1.0, beat))
    client.hset("gpupool:ocr:beats", "a", stale)
    assert [one.instance for one in beats.alive()] == ["b"]
    client.close()


def test_what_a_store_has_lost_is_put_back_once(store: SnapshotStore) -> None:
    history = [Entry(number=number, at=0.0, by="me", note="", yaml=f"n{number}") for number in (2, 1)]
    state = Desired(revision=7, active=2, earlier=[1])
    store.add(Entry(at=0.0, by="another", note="the default", yaml="default"))
    store.set_desired(applied(store.desired(), 1))  # somebody began anew
    assert store.restore(state, history)
    assert (store.desired(), store.history()) == (state, history)
    assert store.add(Entry(at=0.0, by="me", note="", yaml="n3")) == 3
    assert not store.restore(state, history)
    assert not store.restore(Desired(revision=6, active=1), history)
    assert (store.desired().active, len(store.history())) == (2, 3)
