"""Which release a document is read with, and when an old one is closed."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from gpupool_ocr.engine.release import Release
from gpupool_ocr.engine.router import NotReady, Router, Routing, goes_to_candidate
from gpupool_ocr.engine.running import BoundPlan
from gpupool_ocr.plans.graph import Graph
from gpupool_ocr.plans.reading import default_snapshot
from gpupool_wire.errors import NotFound


def release(number: int, key: int | None = None) -> Release:
    key = key or number
    empty: dict[str, Any] = {}
    plan = BoundPlan(name="text", release=number, key=key, graph=Graph({}), steps=empty, lanes=empty, versions=empty)
    return Release(number, key, default_snapshot(), {("*", "text"): plan})


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def retired() -> list[int]:
    return []


@pytest.fixture
def router(retired: list[int]) -> Router:
    return Router(retired.append)


def read_with(router: Router, document: str = "d") -> int:
    with router.take("b", "text", document) as plan:
        return plan.release


def test_before_the_first_release_nothing_is_read(router: Router) -> None:
    with pytest.raises(NotReady):
        read_with(router)


def test_an_unknown_kind_is_refused_and_nothing_stays_held(router: Router) -> None:
    router.set(Routing(active=release(1)))
    with pytest.raises(NotFound), router.take("b", "plates", "d"):
        pass
    assert router.held == {}


def test_a_candidate_gets_its_share_and_a_document_always_the_same(router: Router) -> None:
    router.set(Routing(active=release(1), candidate=release(2), percent=20))
    documents = [f"d{number}" for number in range(2000)]
    first = [read_with(router, document) for document in documents]
    assert 300 < first.count(2) < 500
    assert first == [read_with(router, document) for document in documents]
    assert not goes_to_candidate("d", 0)
    assert goes_to_candidate("d", 100)


def test_a_shadow_answers_nothing(router: Router) -> None:
    router.set(Routing(active=release(1), candidate=release(2), percent=100, shadow=True))
    assert read_with(router) == 1
    with router.take_shadow("b", "text") as plan:
        assert plan is not None
        assert plan.release == 2


def test_a_replaced_release_is_closed_behind_its_last_document(router: Router, retired: list[int]) -> None:
    router.set(Routing(active=release(1)))
    with ExitStack() as reading:
        reading.enter_context(router.take("b", "text", "d"))
        router.set(Routing(active=release(2)))
        assert read_with(router) == 2
        assert (retired, router.held) == ([], {1: 1})
    eventually(lambda: retired == [1])


def test_a_release_that_comes_back_before_it_was_closed_stays(router: Router, retired: list[int]) -> None:
    router.set(Routing(active=release(1)))
    with router.take("b", "text", "d"):
        router.set(Routing(active=release(2)))
        router.set(Routing(active=release(1, key=3)))
        assert read_with(router) == 1
    eventually(lambda: sorted(retired) == [1, 2])
