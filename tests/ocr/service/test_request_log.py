"""A log that never keeps a request waiting."""

from __future__ import annotations

import io
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gpupool_ocr.service.redaction import make_rule, redact, shaper
from gpupool_ocr.service.request_log import RequestLog, open_file
from gpupool_wire.errors import UsageError


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_records_are_written_a_line_each_for_their_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = RequestLog(lambda: open_file(path))
    for number in range(100):
        log.put({"n": number, "text": "发票"})
    log.close()
    assert [json.loads(line)["n"] for line in path.read_text().splitlines()] == list(range(100))
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_sink_that_blocks_keeps_nobody_waiting_and_drops_are_counted(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # nobody reads: opening it blocks for ever
    log = RequestLog(lambda: open_file(tmp_path / "pipe"), capacity=10)
    start = time.perf_counter()
    for number in range(1000):
        log.put({"n": number})
    assert time.perf_counter() - start < 1
    assert log.dropped >= 980
    with (tmp_path / "pipe").open("rb"):  # lets the log's thread go
        log.close()


def test_a_full_disk_is_counted_and_the_log_goes_on_afterwards(tmp_path: Path) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    sinks = [Full(), io.StringIO()]
    opened = threading.Event()

    def opens() -> io.StringIO:
        if len(sinks) == 1:
            opened.set()
        return sinks.pop(0) if len(sinks) == 2 else sinks[0]

    log = RequestLog(opens)
    log.put({"n": 1})
    eventually(lambda: log.dropped == 1)
    log.put({"n": 2})
    eventually(lambda: log.written == 1)
    assert opened.is_set()
    log.close()


def test_numbers_and_addresses_are_taken_out_before_a_line_is_written() -> None:
    lines = ["Card 6222 0212 3456 7890 123", "mail me: jane.doe@example.org", "身份证 11010519491231002X", "合计 123.45"]
    assert redact(lines) == "Card [number]\nmail me: [mail]\n身份证 [number]\n合计 123.45"
    shaped = shaper([make_rule("合计", "[sum]")])({"text": ["合计 1"], "n": 1})
    assert shaped == {"text": "[sum] 1", "n": 1}


@pytest.mark.parametrize("pattern", ["(a+)+b", "(x*)*", "[", "a" * 300])
def test_patterns_that_are_none_or_could_run_for_ever_are_refused(pattern: str) -> None:
    with pytest.raises(UsageError):
        make_rule(pattern)
