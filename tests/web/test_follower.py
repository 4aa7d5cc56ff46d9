"""One process follows the broker for all pages: asks once for each address, tells what is different, survives a broker away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from gpupool_web import follower as following
from gpupool_web.follower import Follower
from gpupool_web.rest import Rest
from gpupool_wire.errors import GpupoolError, NotAuthorized, PoolUnreachable


class FakeBroker:
    """Answers REST, counts questions, and can be away or strict."""

    def __init__(self) -> None:
        self.changes = 1
        self.asked: list[str] = []
        self.tokens: set[str] = set()
        self.answer: Any = {"n": 1}
        self.is_away = False
        self.revoked: set[str] = set()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.is_away:
            raise httpx.ConnectError("refused")
        token = request.headers["authorization"].removeprefix("Bearer ")
        if token in self.revoked:
            return httpx.Response(403, json={"error": {"code": "not_authorized", "message": "revoked", "details": {}}})
        if request.url.path == "/api/v1/changes":
            until = asyncio.get_running_loop().time() + min(0.2, float(request.url.params["wait_s"]))
            while int(request.url.params["after"]) == self.changes and asyncio.get_running_loop().time() < until:
                await asyncio.sleep(0.005)
            return httpx.Response(200, json={"changes": self.changes})
        self.asked.append(str(request.url))
        self.tokens.add(token)
        return httpx.Response(200, json=self.answer, headers={"x-total-count": "7"} if request.url.params.get("limit") else {})


class Page:
    """Somebody who looks."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.troubles: list[GpupoolError | None] = []

    def __call__(self, answer: Any, trouble: GpupoolError | None) -> None:
        if answer is not None:
            self.answers.append(answer)
        self.troubles.append(trouble)


Play = Callable[[Follower], Awaitable[None]]


@pytest.fixture
def broker() -> FakeBroker:
    return FakeBroker()


@pytest.fixture
def run(broker: FakeBroker, monkeypatch: pytest.MonkeyPatch) -> Callable[[Play], None]:
    """Return a function that plays something with a follower, and then lets it end."""
    monkeypatch.setattr(following, "RETRY_S", 0.01)
    monkeypatch.setattr(following, "PAUSE_S", 0.001)

    def play(what: Play) -> None:
        async def go() -> None:
            rest = Rest("http://broker", httpx.MockTransport(broker))
            follower = Follower(rest)
            await what(follower)
            for watch in list(follower._watches):
                watch.close()
            if follower._task:
                await asyncio.wait_for(follower._task, 5)
            await rest.close()

        asyncio.run(go())

    return play


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


def test_pages_that_look_at_the_same_cost_one_question(broker: FakeBroker, run: Callable[[Play], None]) -> None:
    pages = [Page() for _ in range(20)]

    async def play(follower: Follower) -> None:
        for page in pages:
            follower.watch(page, "t", "/overview", {})
        await until(lambda: all(page.answers for page in pages))
        asked = len(broker.asked)
        broker.answer, broker.changes = {"n": 2}, 2
        await until(lambda: all(page.answers[-1] == {"n": 2} for page in pages))
        assert len(broker.asked) <= asked + 2

    run(play)


def test_what_is_the_same_is_not_told_again(broker: FakeBroker, run: Callable[[Play], None]) -> None:
    page = Page()

    async def play(follower: Follower) -> None:
        watch = follower.watch(page, "t", "/overview", {})
        for change in range(5):
            broker.changes = change
            await watch.look()
        assert page.answers == [{"n": 1}]

    run(play)


def test_each_credential_asks_for_itself(broker: FakeBroker, run: Callable[[Play], None]) -> None:
    one, other = Page(), Page()

    async def play(follower: Follower) -> None:
        follower.watch(one, "a", "/overview", {})
        follower.watch(other, "b", "/overview", {})
        await until(lambda: one.answers and other.answers)
        assert broker.tokens == {"a", "b"}

    run(play)


def test_a_broker_that_is_away_is_told_and_so_is_its_return(broker: FakeBroker, run: Callable[[Play], None]) -> None:
    page = Page()

    async def play(follower: Follower) -> None:
        watch = follower.watch(page, "t", "/overview", {})
        await watch.look()
        broker.is_away = True
        await until(lambda: isinstance(page.troubles[-1], PoolUnreachable))
        broker.is_away = False
        await until(lambda: page.troubles[-1] is None and len(page.answers) == 2)

    run(play)


def test_a_revoked_credential_is_told_and_stops_nobody_else(broker: FakeBroker, run: Callable[[Play], None]) -> None:
    revoked, fine = Page(), Page()

    async def play(follower: Follower) -> None:
        broker.revoked = {"a"}
        follower.watch(revoked, "a", "/overview", {})
        follower.watch(fine, "b", "/overview", {})
        await until(lambda: fine.answers and isinstance(revoked.troubles[-1], NotAuthorized))
        broker.answer, broker.changes = {"n": 2}, 2
        await until(lambda: fine.answers[-1] == {"n": 2})

    run(play)


def test_a_page_may_look_at_another_part_of_a_list(broker: FakeBroker, run: Callable[[Play], None]) -> None:
    page = Page()

    async def play(follower: Follower) -> None:
        broker.answer = [1, 2]
        watch = follower.watch(page, "t", "/slices", {"limit": "2"})
        await watch.look(offset="2")
        assert page.answers[-1] == {"rows": [1, 2], "total": 7}
        assert "offset=2" in broker.asked[-1]

    run(play)


def test_a_page_that_cannot_be_drawn_stops_nobody_else(broker: FakeBroker, run: Callable[[Play], None]) -> None:
    page = Page()

    def broken(_answer: Any, _trouble: GpupoolError | None) -> None:
        raise RuntimeError("a fault of a page")

    async def play(follower: Follower) -> None:
        follower.watch(broken, "t", "/queue", {})
        follower.watch(page, "t", "/overview", {})
        await until(lambda: page.answers)
        broker.answer, broker.changes = {"n": 2}, 2
        await until(lambda: page.answers[-1] == {"n": 2})

    run(play)
