"""slice.profile(): what is seen of models and arrays."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from gpupool.arrays import Namespace
from gpupool.listeners import Listeners
from gpupool.profiling import Profile
from gpupool.slices import Slice
from gpupool_wire.errors import GpupoolError

from ..arrays.conftest import LocalSlice


@pytest.fixture
def held(pool: Any) -> Iterator[Slice]:
    with pool.slice(25, "64MiB") as held:
        yield held


@pytest.fixture
def listeners() -> Listeners:
    return Listeners({})


def test_models_are_seen_with_their_bytes_and_times(held: Slice, numbers: Any) -> None:
    model = held.open_model(b"a model")
    model.run({"x": numbers})
    with held.profile() as profile:
        for _ in range(3):
            model.run({"x": numbers})
    model.run({"x": numbers})
    (row,) = profile.rows
    assert (row.kind, row.name, row.calls, row.failed) == ("model", f"{model.sha256[:8]} (bytes)", 3, 0)
    assert (row.raw_sent_bytes, row.raw_received_bytes) == (3 * numbers.nbytes, 3 * numbers.nbytes)
    assert (row.queue_ns, row.throttle_ns, row.execute_ns) == (3_000, 6_000, 9_000)
    assert row.wire_sent_bytes > row.raw_sent_bytes
    assert row.total_ns == row.queue_ns + row.throttle_ns + row.execute_ns + row.transfer_ns
    assert held.watch is None
    assert "model" in str(profile)
    assert repr(profile) == "<Profile of 3 exchanges>"


def test_opening_and_uploading_are_seen(held: Slice) -> None:
    with held.profile() as profile:
        held.open_model(b"another model")
    (row,) = profile.rows
    assert (row.kind, row.calls) == ("open", 3)  # asked, uploaded, asked again
    assert row.wire_sent_bytes > len(b"another model")


def test_failures_are_counted(held: Slice, fakes: Any, numbers: Any) -> None:
    model = held.open_model(b"a model")
    fakes.worker.sessions.clear()
    with held.profile() as profile, pytest.raises(GpupoolError):
        model.run({"x": numbers})
    assert profile.rows[0].failed == 1
    assert profile.spans[0].error == "not_found"


def test_several_may_listen_at_a_time(held: Slice, numbers: Any) -> None:
    model = held.open_model(b"a model")
    with held.profile() as outer:
        with held.profile() as inner:
            model.run({"x": numbers})
        model.run({"x": numbers})
    assert (outer.total.calls, inner.total.calls) == (2, 1)


def test_operations_are_seen_by_kind(home: LocalSlice, listeners: Listeners, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpupool.arrays.sender.SEND_S", 60.0)
    xp = Namespace(home)
    with Profile(listeners.add, listeners.remove) as profile:
        home.watch = listeners.watch
        x = xp.asarray(np.ones((64, 64)))
        y = (x @ x) @ x
        np.asarray(y + 1)
    home.watch = None
    del x, y
    gc.collect()
    rows = {row.name: row for row in profile.rows}
    assert {name: row.calls for name, row in rows.items()} == {"asarray": 1, "matmul": 2, "add": 1, "read": 1}
    assert rows["asarray"].raw_sent_bytes == rows["read"].raw_received_bytes == 64 * 64 * 8
    assert profile.spans[0].parts[1].execute_ns > 0


@pytest.fixture
def home() -> LocalSlice:
    return LocalSlice()
