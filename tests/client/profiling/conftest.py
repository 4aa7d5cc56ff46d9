"""Exchanges as values, with readable defaults."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from gpupool.profiling import Span

MS = 1_000_000


@pytest.fixture
def span() -> Callable[..., Span]:
    starts = itertools.count(1_000 * MS, 100 * MS)

    def make(**given: Any) -> Span:
        defaults: dict[str, Any] = {
            **{"kind": "model", "name": "rec.onnx", "pid": 10, "thread_id": 11, "thread": "MainThread"},
            **{"start_ns": next(starts), "wall_ns": 10 * MS, "queue_ns": MS, "throttle_ns": 2 * MS, "execute_ns": 4 * MS},
            **{"raw_sent_bytes": 4_000, "raw_received_bytes": 8_000, "wire_sent_bytes": 1_000, "wire_received_bytes": 3_000},
        }
        return Span(**{**defaults, **given})

    return make
