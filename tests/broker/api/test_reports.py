"""Reports over REST of a real broker: roles, formats, prices, closings, schedules, and what is refused."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

pytestmark = pytest.mark.system

NOW = datetime.now(UTC)
MONTH = f"{NOW:%Y-%m}"
SLICE = {"compute": 25, "memory": "512MiB", "kind": "null"}
PRICE = {"valid_from": "2020-01-01", "currency": "EUR", "reserved_pct_hour": "0.02"}


def token(broker, role: str, tenant: str = "") -> str:
    return broker.rest("POST", "/api/v1/tokens", {"role": role, "tenant": tenant})[1]["token"]


def test_a_report_in_every_format(start_broker, agent) -> None:
    broker = start_broker()
    _node = agent(broker)
    broker.rest("POST", "/api/v1/slices", SLICE)
    starts = {"json": b"{", "csv": b"Tenant,", "xlsx": b"PK", "pdf": b"%PDF-"}
    for name, start in starts.items():
        request = urllib.request.Request(f"{broker.http}/api/v1/reports/{MONTH}?format={name}")
        request.add_header("Authorization", f"Bearer {broker.token}")
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.read().startswith(start)
            assert answer.headers["Content-Disposition"] == f'attachment; filename="gpupool-{MONTH}-all-by-tenant.{name}"'


def test_a_tenant_sees_its_own_and_finance_everybodys(start_broker) -> None:
    broker = start_broker()
    ours, finance = token(broker, "tenant", "a"), token(broker, "finance")
    path = f"/api/v1/reports/{MONTH}"
    assert broker.rest("GET", path, token=ours)[1]["tenant"] == "a"
    assert broker.rest("GET", f"{path}?tenant=a/project", token=ours)[1]["tenant"] == "a/project"
    assert broker.rest("GET", f"{path}?tenant=b", token=ours)[0] == 403
    assert broker.rest("GET", f"{path}?tenant=ab", token=ours)[0] == 403
    assert broker.rest("GET", path, token=finance)[1]["tenant"] is None
    assert broker.rest("GET", "/api/v1/made-reports", token=ours)[0] == 403
    assert broker.rest("POST", "/api/v1/prices", PRICE, token=finance)[0] == 403
    assert broker.rest("POST", f"{path}/freeze", {}, token=ours)[0] == 403


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("2999-01", "has not begun"),
        ("2016-01..2026-01", "can be had at once"),
        ("october", "is no period"),
        (f"{MONTH}?zone=Mars", "no time zone"),
        (f"{MONTH}?format=docx", "format"),
        (f"{MONTH}?by=colour", "by"),
        ("1990-01", "before 2000"),
    ],
)
def test_what_cannot_be_reported_is_refused(empty_broker, path: str, words: str) -> None:
    status, answer = empty_broker.rest("GET", f"/api/v1/reports/{path}")
    assert status == 422
    assert words in answer["error"]["message"]


def test_a_month_without_anything_is_an_empty_report(empty_broker) -> None:
    status, report = empty_broker.rest("GET", "/api/v1/reports/2026-01")
    assert (status, report["rows"], report["notes"][0]) == (200, [], "Nobody held anything in this time.")


def test_prices_and_factors_survive_the_broker(start_broker, tmp_path) -> None:
    broker = start_broker()
    assert broker.rest("POST", "/api/v1/prices", PRICE)[0] == 201
    assert broker.rest("POST", "/api/v1/prices", {**PRICE, "currency": "USD"})[0] == 422
    assert broker.rest("POST", "/api/v1/prices", {**PRICE, "used_hour": "cheap"})[0] == 422
    assert broker.rest("POST", "/api/v1/carbon", {"valid_from": "2020-01-01", "grams_per_kwh": "380"})[0] == 201
    broker.kill()
    again = start_broker()
    (price,) = again.rest("GET", "/api/v1/prices")[1]
    (factor,) = again.rest("GET", "/api/v1/carbon")[1]
    assert (price["reserved_pct_hour"], price["by"], factor["grams_per_kwh"]) == ("0.02", "admin first admin", "380")
    assert again.rest("GET", f"/api/v1/reports/{MONTH}")[1]["currency"] == "EUR"


def test_a_month_is_frozen_when_it_is_over_and_once(start_broker) -> None:
    broker = start_broker()
    assert broker.rest("POST", "/api/v1/prices", PRICE)[0] == 201
    status, answer = broker.rest("POST", f"/api/v1/reports/{MONTH}/freeze", {})
    assert status == 409
    assert "not over" in answer["error"]["message"]
    status, frozen = broker.rest("POST", "/api/v1/reports/2026-01/freeze", {"zone": "Europe/Berlin"})
    assert (status, len(frozen["sha256"])) == (200, 64)
    assert broker.rest("GET", "/api/v1/reports/2026-01?zone=Europe/Berlin")[1]["frozen_sha256"] == frozen["sha256"]
    assert broker.rest("POST", "/api/v1/reports/2026-01/freeze", {"zone": "Europe/Berlin"})[0] == 409
    (kept,) = broker.rest("GET", "/api/v1/made-reports")[1]
    assert broker.rest("GET", f"/api/v1/made-reports/{kept['report_id']}")[1]["by"] == "project"


def test_a_schedule_needs_somewhere_to_go(empty_broker) -> None:
    broker = empty_broker
    for body, words in (
        ({"every": "daily"}, "somewhere"),
        ({"every": "hourly", "folder": "x"}, "every"),
        ({"every": "daily", "folder": "../x"}, "no folder below"),
        ({"every": "daily", "folder": "/etc"}, "no folder below"),
        ({"every": "daily", "mail_to": ["x\r\nBcc: y@z"]}, "mail_to"),
        ({"every": "daily", "folder": "x", "since": "soon"}, "is no day"),
        ({"every": "daily", "folder": "x", "zone": "Mars"}, "no time zone"),
    ):
        status, answer = broker.rest("POST", "/api/v1/report-schedules", body)
        assert status == 422, body
        assert words in answer["error"]["message"]
    assert broker.rest("DELETE", "/api/v1/report-schedules/none")[0] == 404
    assert broker.rest("GET", "/api/v1/made-reports/none")[0] == 404


def test_reports_that_were_missed_are_made_when_the_broker_is_back(start_broker) -> None:
    broker = start_broker()
    since = (NOW - timedelta(days=3)).date().isoformat()
    body = {"every": "daily", "format": "csv", "folder": "finance", "since": since}
    assert broker.rest("POST", "/api/v1/report-schedules", body)[1]["since"] == since
    broker.kill()
    again = start_broker(None, "--report-every", "1")
    made = eventually(
        lambda: again.rest("GET", "/api/v1/made-reports")[1],
        lambda made: len(made) >= 3 and all(one["state"] == "delivered" for one in made),
    )
    assert {one["period"] for one in made} >= {(NOW - timedelta(days=n)).date().isoformat() for n in (1, 2, 3)}
    files = sorted((again.home / "reports" / "finance").iterdir())
    assert len(files) == len(made)
    assert files[0].read_text().startswith("Tenant,")


def eventually(look: Callable[[], list[dict]], is_enough: Callable[[list[dict]], bool], timeout_s: float = 30.0) -> list[dict]:
    deadline = time.monotonic() + timeout_s
    while not is_enough(found := look()):
        assert time.monotonic() < deadline, json.dumps(found)
        time.sleep(0.1)
    return found
