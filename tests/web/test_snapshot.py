"""One picture per credential, at most one a second, and the old one while the broker is away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx
import pytest

from gpupool_web.rest import Rest
from gpupool_web.snapshot import Snapshots
from gpupool_wire.errors import NotAuthorized


class FakeBroker:
    """Answers REST, counts questions, and can be away or strict."""

    def __init__(self) -> None:
        self.asked = 0
        self.away = False
        self.strict = False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        if self.away:
            raise httpx.ConnectError("refused")
        if self.strict:
            return httpx.Response(403, json={"error": {"code": "not_authorized", "message": "revoked", "details": {}}})
        return httpx.Response(200, json=[{"path": request.url.path}])


@pytest.fixture
def broker() -> FakeBroker:
    return FakeBroker()


@pytest.fixture
def looked(broker: FakeBroker) -> Callable[..., object]:
    """Return a function that looks at the pool at the given seconds and gives the last picture."""
    now = [0.0]
    snapshots: list[Snapshots] = []

    def look(*seconds: float) -> object:
        async def go() -> object:
            # Connections belong to an event loop, so each look brings its own client.
            rest = Rest("http://broker", httpx.MockTransport(broker))
            if not snapshots:
                snapshots.append(Snapshots(rest, lambda: now[0]))
            snapshots[0]._rest = rest
            snapshots[0]._locks.clear()
            for second in seconds:
                now[0] = second
                picture = await snapshots[0].of("token")
            await rest.close()
            return picture

        return asyncio.run(go())

    return look


def test_many_looks_in_a_second_ask_once(broker: FakeBroker, looked: Callable[..., object]) -> None:
    looked(0.0, 0.3, 0.9)
    assert broker.asked == 3
    looked(1.0)
    assert broker.asked == 6


def test_the_old_picture_stays_while_the_broker_is_away(broker: FakeBroker, looked: Callable[..., object]) -> None:
    looked(0.0)
    broker.away = True
    picture = looked(1.0)
    assert (picture.nodes, "does not answer" in picture.trouble) == ([{"path": "/api/v1/nodes"}], True)  # type: ignore[attr-defined]
    broker.away = False
    assert looked(2.0).trouble == ""  # type: ignore[attr-defined]


def test_a_revoked_credential_is_not_shown_old_pictures(broker: FakeBroker, looked: Callable[..., object]) -> None:
    looked(0.0)
    broker.strict = True
    with pytest.raises(NotAuthorized, match="revoked"):
        looked(1.0)
