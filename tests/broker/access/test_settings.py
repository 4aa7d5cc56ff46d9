"""Settings: valid or refused, told, kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gpupool_broker.access.desks import HOUR_MS, Desks, open_desks
from gpupool_broker.access.settings import AUDIT_DAYS, PLACEMENT, SESSION_HOURS
from gpupool_broker.store.databases import sqlite_url
from gpupool_broker.store.sql import SqlStore
from gpupool_wire.errors import Conflict, UsageError


def test_a_change_is_told_kept_and_there_after_a_restart(open_again: Callable[[], Desks]) -> None:
    desk, told = open_again().settings, []
    desk.tell(PLACEMENT, told.append)
    desk.change({PLACEMENT: "pack", AUDIT_DAYS: None}, {PLACEMENT: "fgd+"}, "admin ada")
    again = open_again().settings
    assert told == ["pack"]
    assert (again.get(PLACEMENT), again.get(AUDIT_DAYS), again.get(SESSION_HOURS)) == ("pack", None, 12)
    changed = again.changed(PLACEMENT)
    assert changed is not None
    assert changed.changed_by == "admin ada"


@pytest.mark.parametrize(
    "values",
    [{PLACEMENT: "best"}, {PLACEMENT: ["pack"]}, {AUDIT_DAYS: 0}, {AUDIT_DAYS: True}, {SESSION_HOURS: 1.5}, {"surprise": 1}],
)
def test_what_cannot_be_changes_nothing(desks: Desks, values: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"may be|there is no setting"):
        desks.settings.change({SESSION_HOURS: 1} | values, {}, "ada")
    assert desks.settings.get(SESSION_HOURS) == 12


def test_two_admins_at_once_are_told(desks: Desks) -> None:
    desks.settings.change({SESSION_HOURS: 8}, {SESSION_HOURS: 12}, "ada")
    with pytest.raises(Conflict, match="session_hours is 8 by now, not '12'"):
        desks.settings.change({SESSION_HOURS: 24}, {SESSION_HOURS: 12}, "bob")


def test_an_option_of_the_broker_holds(tmp_path: Any) -> None:
    store = SqlStore(sqlite_url(tmp_path / "b.sqlite"))
    desk = open_desks(store, lambda: 0, {PLACEMENT: "spread"}).settings
    assert desk.get(PLACEMENT) == "spread"
    with pytest.raises(Conflict, match="fixed by an option"):
        desk.change({PLACEMENT: "pack"}, {}, "ada")
    store.close()


def test_sessions_last_as_long_as_is_set(desks: Desks, ada: str) -> None:
    desks.settings.change({SESSION_HOURS: 2}, {}, "ada")
    session, _ = desks.signing_in.with_password("ada", ada, "::1")
    assert session.expires_ms - session.created_ms == 2 * HOUR_MS
