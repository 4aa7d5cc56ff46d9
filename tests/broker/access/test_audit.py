"""The audit log on its way into the store."""

from __future__ import annotations

import threading

import pytest

from gpupool_broker.access.audit import DAY_MS, AuditDesk
from gpupool_broker.access.desks import Desks
from gpupool_broker.store.audit import AuditEntry, AuditQuery
from gpupool_broker.store.errors import StoreFailed


def entry(number: int) -> AuditEntry:
    return AuditEntry(at_ms=number, who="ada", action="slices.resize", target=str(number))


def test_what_is_recorded_is_stored_whoever_writes_it(desks: Desks) -> None:
    threads = [threading.Thread(target=lambda n=n: desks.audit.record(entry(n))) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = desks.audit.store.find(AuditQuery(), 100)
    assert {one.target for one in found} == {str(n) for n in range(20)}
    assert [one.seq for one in found] == list(range(20, 0, -1))


def test_what_the_store_refuses_is_kept_for_the_next_time(desks: Desks, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_entries: object) -> None:
        raise StoreFailed("the disk is full")

    with monkeypatch.context() as full:
        full.setattr(desks.audit.store, "add", refuse)
        desks.audit.record(entry(1))
        desks.audit.record(entry(2))
    desks.audit.record(entry(3))
    assert [one.at_ms for one in desks.audit.store.find(AuditQuery(), 9)] == [3, 2, 1]


def test_old_entries_go_and_none_where_all_are_kept(desks: Desks) -> None:
    desk: AuditDesk = desks.audit
    for number in (1, 2, 5 * DAY_MS):
        desk.record(entry(number))
    assert desk.drop_old(5 * DAY_MS, None) == 0
    assert desk.drop_old(5 * DAY_MS, 4) == 2
    assert [one.at_ms for one in desk.store.find(AuditQuery(), 9)] == [5 * DAY_MS]
