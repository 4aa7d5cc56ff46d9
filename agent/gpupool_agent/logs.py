"""Structured logs on stderr: one line an event, a sentence for people and key=value pairs for programs."""

from __future__ import annotations

import json
import logging
import sys
import time

from gpupool_wire.errors import UsageError

LEVELS = ("debug", "info", "warning", "error")
#: What every log record has; anything else was passed as `extra`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class LineFormatter(logging.Formatter):
    """2026-11-21T05:44:00.123Z INFO agent: a sentence. action=worker_started slice=s-1"""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line, a traceback after it where there is one."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        room = record.name.removeprefix("gpupool_").partition("_agent")[0].partition(".")[0]
        pairs = "".join(f" {name}={_value(value)}" for name, value in vars(record).items() if name not in _STANDARD)
        # Messages hold texts of peers: a line break in one must not look like another event.
        message = record.getMessage().replace("\n", "\\n").replace("\r", "\\r")
        line = f"{stamp}.{int(record.msecs):03d}Z {record.levelname} {room}: {message}{pairs}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def set_up_logs(level: str) -> None:
    """Send this process's logs to stderr from `level` on; raise UsageError for an unknown level."""
    if level.lower() not in LEVELS:
        raise UsageError(f"--log-level {level!r} is not known: take one of {', '.join(LEVELS)}")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def _value(value: object) -> str:
    text = str(value)
    return json.dumps(text) if not text or any(sign in text for sign in ' "=\n\r') else text
