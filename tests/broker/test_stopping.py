"""A broker that is told to end does so, whoever waits."""

from __future__ import annotations

import threading
import time
import urllib.error
from typing import Any

import pytest

pytestmark = pytest.mark.system


def test_a_request_that_waits_over_rest_does_not_keep_it(start_broker, agent) -> None:
    broker = start_broker()
    node = agent(broker)
    told: list[Any] = []

    def ask() -> None:
        body = {"compute": 100, "memory": "1GiB", "kind": "null", "gpus": 1, "wait_s": 600}
        broker.rest("POST", "/api/v1/slices", body)
        try:
            told.append(broker.rest("POST", "/api/v1/slices", body))
        except (urllib.error.URLError, ConnectionError) as error:
            told.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    deadline = time.monotonic() + 10
    while not broker.rest("GET", "/api/v1/queue")[1]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    broker.process.terminate()
    assert broker.process.wait(15) == 0
    asking.join(10)
    assert len(told) == 1
    assert node.welcome
