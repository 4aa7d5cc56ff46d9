"""Two brokers and one database: one serves, the other takes over; what was acknowledged exists exactly once."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gpupool_broker.store.databases import sqlite_url
from gpupool_wire import messages as m

pytestmark = pytest.mark.system


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "shared.sqlite")
    fresh: str = request.getfixturevalue("postgres").new_database()
    return fresh


class Waiting:
    """A broker that stands by, at addresses known before it serves."""

    def __init__(self, home: Path, url: str, beside: Any, *options: str) -> None:
        home.mkdir()
        shutil.copy(beside.home / "admin.token", home)
        self.home, self.token = home, beside.token
        control, rest = free_port(), free_port()
        self.url, self.http = f"tcp://127.0.0.1:{control}", f"http://127.0.0.1:{rest}"
        command = [sys.executable, "-m", "gpupool", "broker", "--standby", "--database", url, "--home", str(home)]
        command += ["--bind", f"127.0.0.1:{control}", "--http", f"127.0.0.1:{rest}", *options]
        with (home / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stderr=log)
        self.beside = beside
        until(lambda: self.rest("GET", "/healthz", token=None) == (200, "ok\n"))

    def rest(self, *asked: Any, **told: Any) -> tuple[int, Any]:
        try:
            return type(self.beside).rest(self, *asked, **told)  # type: ignore[no-any-return]
        except OSError:
            return 0, None

    def is_serving(self) -> bool:
        return self.rest("GET", "/readyz", token=None)[0] == 200

    def stop(self) -> None:
        """Stop it in order. Idempotent."""
        if self.process.poll() is None:
            self.process.terminate()
        assert self.process.wait(15) == 0, (self.home / "log").read_text()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(holds: Callable[[], bool], within_s: float = 30.0) -> float:
    start = time.monotonic()
    while not holds():
        assert time.monotonic() - start < within_s
        time.sleep(0.02)
    return time.monotonic() - start


@pytest.fixture
def stand_by(tmp_path: Path, url: str) -> Iterator[Callable[..., Waiting]]:
    started: list[Waiting] = []

    def start(beside: Any, *options: str) -> Waiting:
        started.append(Waiting(tmp_path / f"standby-{len(started)}", url, beside, *options))
        return started[-1]

    yield start
    for waiting in started:
        waiting.stop()


def ask_for(call_id: int) -> m.RequestSlice:
    return m.RequestSlice(call_id=call_id, request_id=f"r{call_id}", compute_pct=1, memory_mib=1, kind="null", hold="held")  # type: ignore[arg-type]


def test_a_standby_says_what_it_is(start_broker: Any, stand_by: Any, url: str) -> None:
    waiting = stand_by(start_broker(None, "--database", url))
    assert waiting.rest("GET", "/readyz", token=None)[0] == 503
    status, answer = waiting.rest("POST", "/api/v1/slices", {"compute": 1})
    assert (status, answer["error"]["code"]) == (503, "standby")
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", int(waiting.url.rpartition(":")[2]))):
        pass


def test_a_second_broker_without_being_told_to_wait_is_refused(start_broker: Any, url: str, tmp_path: Path) -> None:
    start_broker(None, "--database", url)
    with pytest.raises(AssertionError, match=r"another broker serves from .* with --standby"):
        start_broker(tmp_path / "second", "--database", url)


def test_the_standby_takes_over_when_the_other_is_killed(
    start_broker: Any, stand_by: Any, agent: Any, client: Any, url: str
) -> None:
    active = start_broker(None, "--database", url)
    waiting = stand_by(active)
    node, app = agent(active), client(active)
    for call_id in range(1, 60):
        app.send(ask_for(call_id))
    granted = {answer.call_id: answer for answer in (app.receive() for _ in range(20))}
    active.kill()
    took_s = until(waiting.is_serving)
    assert took_s < 5
    while app.socket.poll(100):
        answer = app.receive()
        granted[answer.call_id] = answer
    # The same requests again: those that were acknowledged, and those that nobody knows about, exist once.
    app = client(waiting)
    repeated = {call_id: app.ask(ask_for(call_id)).slice_id for call_id in range(1, 60)}
    assert {call_id: answer.slice_id for call_id, answer in granted.items()}.items() <= repeated.items()
    live = [row["slice_id"] for row in waiting.rest("GET", "/api/v1/slices")[1]]
    assert sorted(live) == sorted(repeated.values())
    welcome = agent(waiting, credential=node.welcome.credential).welcome
    assert welcome.lease_key == node.welcome.lease_key
    assert {slice_.slice_id for slice_ in welcome.slices} == set(live)


def test_the_standby_takes_over_when_the_other_is_stopped(start_broker: Any, stand_by: Any, url: str) -> None:
    active = start_broker(None, "--database", url)
    waiting = stand_by(active)
    active.process.terminate()
    assert active.process.wait(15) == 0
    assert until(waiting.is_serving) < 5


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_broker_that_loses_its_connection_serves_no_more_until_it_is_its_turn(
    start_broker: Any, stand_by: Any, agent: Any, client: Any, postgres: Any, url: str
) -> None:
    active = start_broker(None, "--database", url, "--standby")
    agent(active)
    app = client(active)
    first = app.ask(ask_for(1))
    waiting = stand_by(active)
    postgres.end_connections()

    until(lambda: "this broker serves no more" in (active.home / "log").read_text(), 10)
    known = object.__new__(Waiting)
    known.beside, known.http, known.token = active, active.http, active.token
    until(lambda: [known.is_serving(), waiting.is_serving()].count(True) == 1, 10)
    assert active.process.poll() is None
    if waiting.is_serving():
        again = client(waiting).ask(ask_for(1))
        # Where the take-over took long, the node, which beats no more, is lost meanwhile: an answer about the same slice.
        named = again.error.details["slice_id"] if isinstance(again, m.Failed) else again.slice_id
        assert named == first.slice_id
        waiting.stop()
    until(known.is_serving, 10)
    assert [row["slice_id"] for row in active.rest("GET", "/api/v1/slices")[1]] == [first.slice_id]


def test_the_next_broker_makes_the_reports_the_first_one_missed_and_none_twice(
    start_broker: Any, stand_by: Any, url: str
) -> None:
    today = datetime.now(UTC).date()
    since = (today - timedelta(days=3)).isoformat()
    active = start_broker(None, "--database", url, "--report-every", "0.2")
    scheduled = {"every": "daily", "format": "csv", "folder": "finance", "since": since}
    assert active.rest("POST", "/api/v1/report-schedules", scheduled)[0] == 201

    def made(broker: Any) -> list[str]:
        return sorted(one["period"] for one in broker.rest("GET", "/api/v1/made-reports")[1])

    until(lambda: len(made(active)) >= 3)
    waiting = stand_by(active, "--report-every", "0.2")
    weekly = {"every": "weekly", "format": "csv", "folder": "finance", "since": (today - timedelta(days=21)).isoformat()}
    assert active.rest("POST", "/api/v1/report-schedules", weekly)[0] == 201
    active.kill()
    until(waiting.is_serving)
    weeks = {f"{day.year}-W{day.week:02}" for n in (1, 2, 3) for day in [(today - timedelta(days=7 * n)).isocalendar()]}
    until(lambda: weeks <= set(made(waiting)))
    periods = made(waiting)
    assert len(periods) == len(set(periods))
    assert {(today - timedelta(days=n)).isoformat() for n in (1, 2, 3)} <= set(periods)
