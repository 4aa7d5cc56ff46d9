"""The count of changes: held back while nothing changes, told as soon as something does."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

pytestmark = pytest.mark.system

SLICE = {"compute": 25, "memory": "512MiB", "kind": "null"}


def test_an_answer_is_held_back_until_something_changes(start_broker, agent) -> None:
    broker = start_broker()
    _node = agent(broker)
    before = broker.rest("GET", "/api/v1/changes")[1]["changes"]
    told: list[Any] = []
    asking = threading.Thread(target=lambda: told.append(broker.rest("GET", f"/api/v1/changes?after={before}&wait_s=20")))
    asking.start()
    assert broker.rest("POST", "/api/v1/slices", SLICE)[0] == 201
    asking.join(10)
    assert told[0][1]["changes"] > before


def test_nothing_new_is_told_when_the_time_is_over(empty_broker) -> None:
    before = empty_broker.rest("GET", "/api/v1/changes")[1]["changes"]
    started = time.monotonic()
    assert empty_broker.rest("GET", f"/api/v1/changes?after={before}&wait_s=0.2")[1]["changes"] == before
    assert time.monotonic() - started >= 0.2


def test_nobody_waits_for_long_or_unknown(empty_broker) -> None:
    assert empty_broker.rest("GET", "/api/v1/changes?wait_s=3600")[0] == 422
    assert empty_broker.rest("GET", "/api/v1/changes", token=None)[0] == 401
