from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpupool
from gpupool.current import _Current, join_as_guest
from gpupool.grant import decode_invitation
from gpupool.pool import Pool
from gpupool_wire.errors import UsageError


@pytest.fixture
def current(home: Path, fakes: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A process that has not asked yet."""
    fresh = _Current()
    monkeypatch.setattr("gpupool.current._current", fresh)
    yield fresh
    if fresh._slice is not None:
        fresh._slice.release()


def test_a_slice_of_the_size_in_the_environment_is_asked_for_once(
    current: Any, fakes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPUPOOL_URL", fakes.broker.address)
    monkeypatch.setenv("GPUPOOL_TOKEN", "gpp_tenant_letmein")
    monkeypatch.setenv("GPUPOOL_COMPUTE", "40")
    monkeypatch.setenv("GPUPOOL_MEMORY", "1GiB")
    first = gpupool.current_slice()
    assert gpupool.current_slice() is first
    assert (first.compute_pct, first.memory_mib) == (40, 1024)
    assert first.is_holder


def test_after_its_release_another_is_asked_for(current: Any, fakes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUPOOL_URL", fakes.broker.address)
    monkeypatch.setenv("GPUPOOL_TOKEN", "gpp_tenant_letmein")
    first = gpupool.current_slice()
    first.release()
    assert gpupool.current_slice().slice_id != first.slice_id


def test_the_parents_slice_is_joined(current: Any, pool: Pool, fakes: Any, monkeypatch: pytest.MonkeyPatch, numbers: Any) -> None:
    with pool.slice(25, 64) as held:
        monkeypatch.setattr(os, "environ", os.environ | held.environment())
        guest = gpupool.current_slice()
        assert guest.slice_id == held.slice_id
        assert not guest.is_holder
        assert np.array_equal(guest.open_model(b"weights").run({"x": numbers})[0], numbers * 2)
        guest.release()
        assert not fakes.broker.ended


def test_a_guest_with_a_token_asks_the_broker_where_its_slice_is(pool: Pool, fakes: Any, home: Path, numbers: Any) -> None:
    with pool.slice(25, 64) as held:
        invitation = held.environment()["GPUPOOL_SLICE"]
        guest = join_as_guest(invitation, {"GPUPOOL_TOKEN": "gpp_tenant_letmein"})
        old_door, old_worker = fakes.door, fakes.worker
        fakes.new_node()
        old_door.kill()
        old_worker.kill()
        assert np.array_equal(guest.open_model(b"weights").run({"x": numbers})[0], numbers * 2)
        guest.release()


def test_a_guest_passes_on_what_its_own_parent_gave_it(pool: Pool, home: Path) -> None:
    with pool.slice(25, 64) as held:
        given = held.environment()["GPUPOOL_SLICE"]
        guest = join_as_guest(given, {})
        assert decode_invitation(guest.environment()["GPUPOOL_SLICE"]).file == decode_invitation(given).file
        guest.release()
        assert Path(decode_invitation(given).file).exists()


def test_nonsense_in_the_environment_is_named(current: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUPOOL_SLICE", "nonsense")
    with pytest.raises(UsageError, match="GPUPOOL_SLICE"):
        gpupool.current_slice()
