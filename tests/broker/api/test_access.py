"""Users, sessions, tokens, audit and settings over REST of a real broker."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from gpupool_broker.access.passwords import MAX_BYTES

pytestmark = pytest.mark.system
NAMES = iter(range(1_000))


@pytest.fixture
def user(empty_broker: Any) -> Callable[..., tuple[str, str]]:
    """Return a function that makes a user who has chosen a password; it gives name and session."""

    def make(role: str = "admin", tenant: str = "") -> tuple[str, str]:
        name = f"user {next(NAMES)}"
        made = empty_broker.rest("POST", "/api/v1/users", {"name": name, "role": role, "tenant": tenant})[1]
        session = sign_in(empty_broker, name, made["one_time_password"])[1]["session"]
        status, _ = empty_broker.rest(
            "POST", "/api/v1/password", {"old": made["one_time_password"], "new": f"password of {name}"}, token=session
        )
        assert status == 200
        return name, session

    return make


def sign_in(broker: Any, name: str, password: str) -> tuple[int, Any]:
    answer: tuple[int, Any] = broker.rest("POST", "/api/v1/sign-in", {"name": name, "password": password}, token=None)
    return answer


def newest(broker: Any, action: str) -> dict[str, Any]:
    return broker.rest("GET", f"/api/v1/audit?limit=1&action={action}")[1][0]  # type: ignore[no-any-return]


def test_a_one_time_password_is_good_for_choosing_another(empty_broker) -> None:
    made = empty_broker.rest("POST", "/api/v1/users", {"name": "grace", "role": "finance"})[1]
    first = made["one_time_password"]
    status, signed = sign_in(empty_broker, "grace", first)
    assert (status, signed["must_change"], signed["kind"]) == (201, True, "user")
    session = signed["session"]
    assert empty_broker.rest("GET", "/api/v1/slices", token=session)[0] == 403
    chosen = {"old": first, "new": "correct horse"}
    assert empty_broker.rest("POST", "/api/v1/password", chosen, token=session)[1]["must_change"] is False
    assert empty_broker.rest("GET", "/api/v1/slices", token=session)[0] == 200
    assert sign_in(empty_broker, "grace", first)[0] == 401
    assert first not in str(empty_broker.rest("GET", "/api/v1/audit?limit=1000")[1])


def test_the_first_start_makes_an_admin_who_is_there_after_the_next(start_broker, tmp_path) -> None:
    file = tmp_path / "admin.password"
    broker = start_broker(None, "--admin-password-file", str(file))
    assert file.stat().st_mode & 0o777 == 0o600
    first = file.read_text().strip()
    session = sign_in(broker, "admin", first)[1]["session"]
    broker.rest("POST", "/api/v1/password", {"old": first, "new": "correct horse"}, token=session)
    broker.kill()
    again = start_broker(None, "--admin-password-file", str(file))
    assert not file.exists()
    assert again.rest("GET", "/api/v1/whoami", token=session)[1]["name"] == "admin"
    assert [entry["action"] for entry in again.rest("GET", "/api/v1/audit")[1]][-2:] == ["users.create", "tokens.issue"]


def test_signing_out_ends_this_session_and_a_new_password_the_others(empty_broker, user) -> None:
    name, one = user()
    two = sign_in(empty_broker, name, f"password of {name}")[1]["session"]
    assert len(empty_broker.rest("GET", "/api/v1/sessions", token=one)[1]) == 2
    empty_broker.rest("POST", "/api/v1/password", {"old": f"password of {name}", "new": "another horse"}, token=one)
    assert empty_broker.rest("GET", "/api/v1/whoami", token=two)[0] == 401
    assert empty_broker.rest("DELETE", "/api/v1/session", token=one) == (200, {"ended": 1})
    assert empty_broker.rest("GET", "/api/v1/whoami", token=one)[0] == 401
    assert empty_broker.rest("DELETE", "/api/v1/session")[0] == 404


def test_a_disabled_user_is_out_and_an_admin_cannot_disable_itself(empty_broker, user) -> None:
    name, session = user()
    path = f"/api/v1/users/{name.replace(' ', '%20')}"
    assert empty_broker.rest("PATCH", path, {"disabled": True}, token=session)[0] == 409
    assert empty_broker.rest("PATCH", path, {"role": "finance"}, token=session)[0] == 409
    assert empty_broker.rest("PATCH", path, {"disabled": True})[1]["disabled_at"]
    assert empty_broker.rest("GET", "/api/v1/whoami", token=session)[0] == 401
    entry = newest(empty_broker, "users.change")
    assert (entry["target"], entry["before"]["disabled_at"], entry["who"]) == (name, None, "first admin")
    assert entry["after"]["disabled_at"]


def test_a_reset_password_ends_the_sessions(empty_broker, user) -> None:
    name, session = user("tenant", "ocr")
    path = f"/api/v1/users/{name.replace(' ', '%20')}"
    one_time = empty_broker.rest("POST", f"{path}/reset-password")[1]["one_time_password"]
    assert empty_broker.rest("GET", "/api/v1/whoami", token=session)[0] == 401
    again = sign_in(empty_broker, name, one_time)[1]
    assert (again["must_change"], again["tenant"]) == (True, "ocr")
    assert empty_broker.rest("POST", f"{path}/end-sessions")[1] == {"ended": 1}


def test_a_hundred_wrong_passwords_say_when_to_come_again_and_hold_nobody_up(start_broker) -> None:
    broker = start_broker()
    made = broker.rest("POST", "/api/v1/users", {"name": "eve", "role": "admin"})[1]
    with ThreadPoolExecutor(20) as threads:
        waiting = [threads.submit(sign_in, broker, "admin", "wrong horse") for _ in range(100)]
        slowest = 0.0
        for _ in range(20):
            begun = time.monotonic()
            assert broker.rest("GET", "/api/v1/slices")[0] == 200
            slowest = max(slowest, time.monotonic() - begun)
        answers = [one.result() for one in waiting]
    assert {status for status, _ in answers} <= {401, 429, 503}
    refused = [answer["error"] for status, answer in answers if status != 401]
    assert len(refused) > 50
    assert all(error["details"]["retry_after_s"] >= 1 for error in refused)
    assert slowest < 5
    assert sign_in(broker, "eve", made["one_time_password"])[0] in (201, 429), "the same address may have to wait"


@pytest.mark.parametrize(
    "body",
    [
        {"name": "ada", "password": "x" * (MAX_BYTES + 1)},
        {"name": "ada", "password": 5},
        {"name": "x" * 513, "password": "y"},
        {"password": "y"},
        {"token": "gpp_" * 500},
        b'{"name": "\xff\xfe", "password": "x"}',
        b"",
        b"[]",
    ],
)
def test_what_is_no_sign_in_is_refused_before_anything_is_worked_out(empty_broker, body) -> None:
    status, answer = empty_broker.rest("POST", "/api/v1/sign-in", body, token=None)
    assert status in (400, 422)
    assert answer["error"]["message"]


@pytest.mark.parametrize("body", [b'{"name": "\\ud800", "password": "\\ud800"}', b'{"name": "a\\u0000b", "password": "\\u0000"}'])
def test_texts_that_are_none_sign_nobody_in(empty_broker, body) -> None:
    assert empty_broker.rest("POST", "/api/v1/sign-in", body, token=None)[0] in (401, 422)


def test_a_token_that_may_only_read_changes_nothing(empty_broker) -> None:
    made = empty_broker.rest("POST", "/api/v1/tokens", {"role": "admin", "name": "board", "read_only": True})[1]
    token = made["token"]
    assert (made["read_only"], made["made_by"]) == (True, "admin first admin")
    assert empty_broker.rest("GET", "/api/v1/tokens", token=token)[0] == 200
    assert empty_broker.rest("POST", "/api/v1/explain", {"compute": 1, "memory": 1}, token=token)[0] == 200
    assert empty_broker.rest("POST", "/api/v1/tokens", {"role": "admin"}, token=token)[0] == 403
    assert empty_broker.rest("PUT", "/api/v1/quotas/t", {"compute": 1}, token=token)[0] == 403
    assert newest(empty_broker, "tenants")["outcome"] == "not_authorized"
    assert empty_broker.rest("POST", "/api/v1/tokens", {"role": "join", "read_only": True})[0] == 422


def test_a_session_of_a_token_ends_with_it(empty_broker) -> None:
    made = empty_broker.rest("POST", "/api/v1/tokens", {"role": "finance", "name": "f"})[1]
    signed = empty_broker.rest("POST", "/api/v1/sign-in", {"token": made["token"]}, token=None)[1]
    assert (signed["role"], signed["kind"]) == ("finance", "token")
    empty_broker.rest("DELETE", f"/api/v1/tokens/{made['id']}")
    assert empty_broker.rest("GET", "/api/v1/whoami", token=signed["session"])[0] == 401


def test_a_change_is_recorded_with_who_before_after_and_from_where(empty_broker, user) -> None:
    name, session = user()
    for compute in (100, 150):
        assert empty_broker.rest("PUT", "/api/v1/quotas/ocr", {"compute": compute}, token=session)[0] == 200
    entry = newest(empty_broker, "tenants.set_quota")
    assert (entry["who"], entry["role"], entry["target"], entry["outcome"]) == (name, "admin", "ocr", "done")
    assert entry["credential"].startswith("session b-")
    assert entry["address"] == "127.0.0.1"
    assert (entry["before"]["quota"]["compute_pct"], entry["after"]["quota"]["compute_pct"]) == (100, 150)


def test_what_was_refused_is_recorded_and_what_nobody_sent_is_not(empty_broker, user) -> None:
    before = empty_broker.rest("GET", "/api/v1/audit?limit=1")[1][0]["seq"]
    assert empty_broker.rest("POST", "/api/v1/nodes/none/cordon", token=None)[0] == 401
    assert empty_broker.rest("POST", "/api/v1/nodes/none/cordon")[0] == 404
    (entry,) = (one for one in empty_broker.rest("GET", "/api/v1/audit")[1] if one["seq"] > before)
    assert (entry["action"], entry["outcome"], entry["target"]) == ("inventory.cordon", "not_found", "none")
    assert "none" in entry["remark"]


def test_the_audit_log_is_for_admins_and_finance(empty_broker, user) -> None:
    assert empty_broker.rest("GET", "/api/v1/audit", token=user("finance")[1])[0] == 200
    assert empty_broker.rest("GET", "/api/v1/audit", token=user("tenant", "t")[1])[0] == 403
    assert empty_broker.rest("GET", "/api/v1/audit?since=2026-10-01T00:00:00")[0] == 422
    assert empty_broker.rest("GET", "/api/v1/audit?since=2999-01-01T00:00:00Z")[1] == []


def test_an_export_has_no_formulas(empty_broker) -> None:
    formula = "=HYPERLINK(1)"
    empty_broker.rest("POST", "/api/v1/users", {"name": formula, "role": "admin"})
    table = list(csv.DictReader(io.StringIO(empty_broker.rest("GET", f"/api/v1/audit.csv?target={formula}")[1])))
    assert [(row["action"], row["target"]) for row in table] == [("users.create", f"'{formula}")]


def test_settings_hold_at_once_and_say_who_changed_them(start_broker, agent) -> None:
    broker = start_broker()
    _nodes = [agent(broker, f"node-{number}") for number in range(2)]
    status, settings = broker.rest(
        "PATCH", "/api/v1/settings", {"values": {"placement": "spread"}, "expected": {"placement": "fgd+"}}
    )
    assert (status, settings[0]["value"], settings[0]["changed_by"]) == (200, "spread", "admin first admin")
    made = [broker.rest("POST", "/api/v1/slices", {"compute": 10, "memory": 64, "kind": "null"})[1] for _ in range(2)]
    assert len({one["node"] for one in made}) == 2
    entry = newest(broker, "settings.change")
    assert entry["before"] == {"placement": "fgd+"}
    assert broker.rest("PATCH", "/api/v1/settings", {"values": {"placement": "best"}})[0] == 422
    assert broker.rest("PATCH", "/api/v1/settings", {"values": {"placement": "pack"}, "expected": {"placement": "fgd"}})[0] == 409
