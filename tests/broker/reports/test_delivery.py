"""Scheduled reports reach their folder and their readers, once, whatever fails on the way."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from email import message_from_bytes
from pathlib import Path

import msgspec
import pytest
from aiosmtpd.controller import Controller

from gpupool_broker.core.accounting.schedules import MadeReport, Schedule, due, next_try_ms
from gpupool_broker.reports.delivery import check_folder, check_smtp
from gpupool_broker.reports.orders import Place, Tend
from gpupool_broker.reports.works import carry_out
from gpupool_broker.store.schedules import ScheduleStore
from gpupool_wire.errors import UsageError
from tests.broker.reports.conftest import HOUR_MS, START_MS


class Postbox:
    """What a mail server was given."""

    def __init__(self) -> None:
        self.received: list[bytes] = []

    async def handle_DATA(self, _server, _session, envelope) -> str:  # noqa: N802 - the library's name
        self.received.append(envelope.content)
        return "250 OK"


@pytest.fixture
def postbox() -> Iterator[tuple[Postbox, str]]:
    box = Postbox()
    controller = Controller(box, hostname="127.0.0.1", port=free_port())
    controller.start()
    yield box, f"smtp://127.0.0.1:{controller.port}"
    controller.stop()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def schedule(**changes: object) -> Schedule:
    plain = {
        "schedule_id": "rs-1",
        "every": "daily",
        "zone": "UTC",
        "by": "tenant",
        "tenant": None,
        "format": "csv",
        "folder": "finance",
        "mail_to": [],
        "since": "2026-10-01",
        "created_ms": 0,
        "created_by": "admin",
    }
    return Schedule(**(plain | changes))  # type: ignore[arg-type]


@pytest.fixture
def schedules(store, database, facts) -> ScheduleStore:
    store.append(facts)
    return ScheduleStore(database)


def tend(place: Place, hours: float):
    answer = carry_out(Tend(place=place, now_ms=START_MS + int(hours * HOUR_MS)))
    assert answer.error is None, answer.error
    return answer


def test_missed_reports_are_caught_up_and_none_is_made_twice(schedules, place) -> None:
    schedules.add(schedule())
    assert tend(place, 24 * 3 + 1).made == 3
    assert tend(place, 24 * 3 + 2).made == 0
    assert tend(place, 24 * 5 + 1).made == 2
    assert [made.period for made in reversed(schedules.made())][-1] == "2026-10-05"
    assert len(list(Path(place.folder, "finance").iterdir())) == 5


def test_a_report_goes_to_everybody_in_one_mail(schedules, place, postbox) -> None:
    box, smtp = postbox
    schedules.add(schedule(every="monthly", format="json", folder=None, mail_to=["a@example.org", "b@example.org"]))
    answer = tend(msgspec.structs.replace(place, smtp=smtp, mail_from="pool@example.org"), 24 * 31 + 1)
    assert (answer.made, answer.delivered, answer.troubles) == (1, 1, [])
    (mail,) = map(message_from_bytes, box.received)
    assert (mail["To"], mail["From"]) == ("a@example.org, b@example.org", "pool@example.org")
    (attached,) = [part for part in mail.walk() if part.get_filename()]
    assert attached.get_filename() == "gpupool-2026-10-all-by-tenant.json"
    assert json.loads(attached.get_payload(decode=True))["is_complete"]


def test_a_mail_server_that_is_down_is_tried_again_and_said(schedules, place, postbox) -> None:
    box, smtp = postbox
    schedules.add(schedule(every="monthly", mail_to=["a@example.org"]))
    down = msgspec.structs.replace(place, smtp=f"smtp://127.0.0.1:{free_port()}")
    answer = tend(down, 24 * 31 + 1)
    assert (answer.made, answer.delivered) == (1, 0)
    assert "cannot be mailed" in answer.troubles[0]
    (waiting,) = schedules.made()
    assert waiting.stored_at
    assert (waiting.tries, waiting.mailed_ms, waiting.is_delivered) == (1, None, False)
    up = msgspec.structs.replace(place, smtp=smtp)
    assert tend(up, 24 * 31 + 1.001).delivered == 0, "tried again too soon"
    assert tend(up, 24 * 31 + 1.1).delivered == 1
    assert len(box.received) == 1
    assert schedules.made()[0].trouble == ""


def test_a_folder_that_cannot_be_written_is_tried_again_and_said(schedules, place, tmp_path) -> None:
    schedules.add(schedule(every="monthly"))
    Path(place.folder).write_text("a file where the folder should be")
    assert "cannot be written" in tend(place, 24 * 31 + 1).troubles[0]
    Path(place.folder).unlink()
    assert tend(place, 24 * 31 + 2).delivered == 1


def test_a_full_disk_leaves_no_half_report(schedules, place, monkeypatch) -> None:
    schedules.add(schedule(every="monthly"))

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert "No space left" in tend(place, 24 * 31 + 1).troubles[0]
    assert list(Path(place.folder, "finance").iterdir()) == []
    monkeypatch.undo()
    assert tend(place, 24 * 31 + 2).delivered == 1
    assert len(list(Path(place.folder, "finance").iterdir())) == 1


def test_no_mail_server_is_said(schedules, place) -> None:
    schedules.add(schedule(every="monthly", folder=None, mail_to=["a@example.org"]))
    assert "start the broker with --smtp" in tend(place, 24 * 31 + 1).troubles[0]


def test_a_schedule_that_cannot_be_made_does_not_hold_up_the_others(schedules, place) -> None:
    schedules.add(schedule(schedule_id="bad", by="colour"))
    schedules.add(schedule(schedule_id="good", every="monthly"))
    answer = tend(place, 24 * 31 + 1)
    assert answer.delivered == 1
    assert "schedule bad, 2026-10-01" in answer.troubles[0]


def test_weeks_and_months_are_due_when_they_are_over() -> None:
    end_ms = START_MS + 60 * 24 * HOUR_MS
    weeks = [period.name for period in due(schedule(every="weekly"), {"2026-W41"}, end_ms)]
    assert weeks[:2] == ["2026-W40", "2026-W42"]
    assert [period.name for period in due(schedule(every="monthly"), (), end_ms)] == ["2026-10"]


def test_retries_come_further_and_further_apart() -> None:
    waits = [next_try_ms(tries, 0) // 60_000 for tries in range(1, 9)]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_report_is_delivered_when_all_of_it_is() -> None:
    made = MadeReport(
        report_id="r",
        schedule_id="s",
        period="2026-10",
        zone="UTC",
        by="tenant",
        tenant=None,
        format="csv",
        file_name="f",
        made_ms=0,
        sha256="",
        to_folder="x",
        mail_to=["a@example.org"],
        stored_at="/x/f",
    )
    assert not made.is_delivered
    assert msgspec.structs.replace(made, mailed_ms=1).is_delivered


@pytest.mark.parametrize("name", ["", "/etc", "a/../../b", "a\0b"])
def test_a_folder_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="no folder below"):
        check_folder(name)


@pytest.mark.parametrize("url", ["http://x", "smtp://", "smtp://h:99999", "mail.example.org"])
def test_what_is_no_mail_server_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="not understood"):
        check_smtp(url)
