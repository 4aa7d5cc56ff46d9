"""The adapter to the pool: which slice is used, and what is asked of it. The whole pool is exercised in tests/system."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import gpupool
from gpupool_ocr.pool import pool_factory


class FakeSlice:
    def __init__(self, **size: Any) -> None:
        self.size = size
        self.opened: list[bytes] = []
        self.released = False

    def inference_session(self, model: bytes) -> bytes:
        self.opened.append(model)
        return model


class FakePool:
    def __init__(self) -> None:
        self.slices: list[FakeSlice] = []

    @contextmanager
    def slice(self, **size: Any) -> Iterator[FakeSlice]:
        self.slices.append(FakeSlice(**size))
        yield self.slices[-1]
        self.slices[-1].released = True


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> FakePool:
    pool = FakePool()

    @contextmanager
    def embedded_pool() -> Iterator[FakePool]:
        yield pool

    monkeypatch.setattr(gpupool, "embedded_pool", embedded_pool, raising=False)
    monkeypatch.delenv("GPUPOOL_SLICE", raising=False)
    return pool


def test_models_open_on_a_slice_of_the_size_asked_for(pool: FakePool) -> None:
    with pool_factory(compute=25, memory="512MiB") as factory:
        sessions: list[object] = [factory.open(b"one"), factory.open(b"two")]
    assert sessions == [b"one", b"two"]
    (held,) = pool.slices
    assert held.size == {"compute": 25, "memory": "512MiB", "wait": 10.0, "label": "ocr"}
    assert held.opened == [b"one", b"two"]
    assert held.released


def test_under_gpupool_run_the_programs_own_slice_is_used(pool: FakePool, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = FakeSlice()
    monkeypatch.setenv("GPUPOOL_SLICE", "invitation")
    monkeypatch.setattr(gpupool, "current_slice", lambda: shared, raising=False)
    with pool_factory() as factory:
        factory.open(b"model")
    assert (shared.opened, pool.slices) == ([b"model"], [])
