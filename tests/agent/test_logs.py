"""One line an event."""

from __future__ import annotations

import logging

import pytest

from gpupool_agent.logs import LineFormatter, set_up_logs
from gpupool_wire.errors import UsageError


def record(message: str, **extra: object) -> logging.LogRecord:
    return logging.makeLogRecord(
        {"name": "gpupool_agent.hosting", "levelname": "INFO", "msg": message, "created": 0.0, "msecs": 7.0, **extra}
    )


def test_a_sentence_and_pairs() -> None:
    line = LineFormatter().format(record("a worker starts", action="worker_started", slice="s 1"))
    assert line == '1970-01-01T00:00:00.007Z INFO agent: a worker starts action=worker_started slice="s 1"'


def test_a_value_cannot_forge_a_line() -> None:
    assert "\n" not in LineFormatter().format(record("x", name_of="a\nb"))


def test_a_message_cannot_forge_a_line() -> None:
    assert "\n" not in LineFormatter().format(record("a client says: x\n1970 ERROR"))


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(UsageError, match="debug, info, warning, error"):
        set_up_logs("loud")
