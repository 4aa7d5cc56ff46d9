"""Bad cases: kept, redacted, labelled, exported, forgotten."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import cv2
import numpy as np
import pytest

from gpupool_ocr.cases.case import reason_for
from gpupool_ocr.cases.redaction import BLACKED, Redacted
from gpupool_ocr.cases.store import CaseStore, Retention
from gpupool_ocr.synthesis.dataset import BadDataset, find_examples
from gpupool_wire.errors import Conflict, NotFound, UsageError

DAY = 86_400.0
LABELS = {"lines": [{"polygon": [[1, 1], [30, 1], [30, 9], [1, 9]], "text": "TOTAL"}], "fields": {"total": "9.00"}}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CaseStore]:
    with CaseStore(tmp_path / "cases") as store:
        yield store


def page(width: int = 100, height: int = 60) -> np.ndarray:
    return np.full((height, width, 3), 200, np.uint8)


def add(store: CaseStore, case_id: str, *, business: str = "acme", now: float = 0.0, **options: Any) -> bool:
    values = {"image": page(), "result": {"lines": []}, "reason": "failed"} | options
    return store.add(case_id, business=business, now=now, **values)


def test_a_page_is_kept_with_what_was_read(store: CaseStore) -> None:
    assert add(store, "a", result={"lines": [{"text": "发票", "score": 0.4}]}, reason="low_confidence", now=5.0)
    case = store.get("a")
    assert (case.business, case.reason, case.status, case.added_at, case.labels) == ("acme", "low_confidence", "open", 5.0, None)
    assert case.result["lines"][0]["text"] == "发票"
    picture = store.picture("a")
    assert picture is not None
    assert case.size_bytes == len(picture)
    assert (cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR) == page()).all()


def test_a_page_without_a_picture_is_kept_as_a_fact(store: CaseStore) -> None:
    add(store, "a", image=None, result={"error": "damaged"})
    assert (store.picture("a"), store.get("a").result) == (None, {"error": "damaged"})


def test_cases_outlive_the_store(tmp_path: Path) -> None:
    with CaseStore(tmp_path) as store:
        add(store, "a")
    with CaseStore(tmp_path) as store:
        assert [case.id for case in store.list()] == ["a"]


def test_listing_is_by_age_and_filtered(store: CaseStore) -> None:
    for now, (case_id, business) in enumerate([("a", "x"), ("b", "y"), ("c", "x")]):
        add(store, case_id, business=business, now=now)
    store.label("a", LABELS)
    assert [case.id for case in store.list()] == ["c", "b", "a"]
    assert [case.id for case in store.list(business="x")] == ["c", "a"]
    assert [case.id for case in store.list(status="labelled")] == ["a"]
    assert [case.id for case in store.list(limit=1, offset=1)] == ["b"]
    assert store.list(reason="corrected") == []


def test_labelled_cases_are_exported_as_training_data(store: CaseStore, tmp_path: Path) -> None:
    for case_id in ("a", "b", "c"):
        add(store, case_id, image=None if case_id == "c" else page())
    for case_id in ("a", "c"):
        assert store.label(case_id, LABELS).status == "labelled"
    assert store.export(tmp_path / "out") == 1
    (example,) = find_examples(tmp_path / "out")
    assert (example.image.name, example.lines[0].text, example.fields) == ("a.png", "TOTAL", {"total": "9.00"})
    example.check_size(100, 60)


@pytest.mark.parametrize("labels", [{}, {"lines": "x"}, {"lines": [{"text": "x"}]}, {"lines": [], "fields": {"a": 1}}])
def test_labels_that_are_none_are_refused_and_change_nothing(store: CaseStore, labels: dict[str, Any]) -> None:
    add(store, "a")
    with pytest.raises(BadDataset, match="case a"):
        store.label("a", labels)
    assert store.get("a").status == "open"


def test_what_is_old_goes_then_the_oldest_of_too_much(tmp_path: Path) -> None:
    with CaseStore(tmp_path, retention=Retention(max_age_s=10 * DAY)) as store:
        for day in range(5):
            add(store, f"d{day}", now=day * DAY)
        assert store.prune(now=11.5 * DAY) == 2
        assert [case.id for case in store.list()] == ["d4", "d3", "d2"]
        size = store.get("d4").size_bytes
        store.retention = Retention(max_bytes=2 * size)
        assert store.prune(now=0) == 1
        assert sorted(path.stem for path in (tmp_path / "pages").iterdir()) == ["d3", "d4"]


def test_who_opts_out_is_forgotten_and_not_kept(store: CaseStore) -> None:
    add(store, "a", business="x")
    add(store, "b", business="y")
    assert store.opt_out("x") == 1
    assert not add(store, "c", business="x")
    assert [case.id for case in store.list()] == ["b"]
    assert store.opted_out() == {"x"}
    store.opt_in("x")
    assert add(store, "c", business="x")


UNDERSTOOD = {
    "type": "bank_slip",
    "identity": "bank_slip/6222",
    "checks": [{"message": "6222: check digits fit"}],
    "lines": [
        {"polygon": [[0, 0], [80, 0], [80, 20], [0, 20]], "text": "账号 6222"},
        {"polygon": [[0, 30], [80, 30], [80, 50], [0, 50]], "text": "货款"},
    ],
    "fields": {
        "payer_account": {"value": "6222", "normalised": "6222", "polygon": [[40, 0], [80, 0], [80, 20], [40, 20]]},
        "purpose": {"value": "货款", "normalised": "货款", "polygon": [[0, 30], [80, 30], [80, 50], [0, 50]]},
    },
}


def test_chosen_fields_leave_picture_lines_and_values(tmp_path: Path) -> None:
    with CaseStore(tmp_path, redact={"payer_account", "passenger"}) as store:
        add(store, "a", result=UNDERSTOOD)
        case, picture = store.get("a"), store.picture("a")
    assert "6222" not in json.dumps(case.to_json())
    assert case.result["lines"][0]["text"] == BLACKED * 7
    assert (case.result["lines"][1]["text"], case.result["fields"]["purpose"]["value"]) == ("货款", "货款")
    assert picture is not None
    kept = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    assert (kept[0:21, 40:81] == 0).all()
    assert (kept[30:50, 0:80] == 200).all()
    assert "6222" in json.dumps(UNDERSTOOD)


def test_of_a_page_nobody_understood_only_the_fact_is_kept_where_fields_are_taken_out(tmp_path: Path) -> None:
    with CaseStore(tmp_path, redact={"payer_account"}) as store:
        add(store, "a", result={"lines": [{"text": "6222"}]})
        assert (store.get("a").result, store.picture("a")) == ({}, None)


@pytest.mark.parametrize("case_id", ["", "../a", "a/b", "a.b", "x" * 65, "é"])
def test_ids_that_are_paths_are_refused(store: CaseStore, case_id: str) -> None:
    with pytest.raises(UsageError, match="ids are"):
        add(store, case_id)


def test_an_id_is_taken_once_and_keeps_its_page(store: CaseStore) -> None:
    add(store, "a")
    for image in (page(7, 7), None):
        with pytest.raises(Conflict, match="case a already"):
            add(store, "a", image=image)
    assert store.get("a").size_bytes == len(store.picture("a") or b"")


def test_what_is_not_there_is_named(store: CaseStore, tmp_path: Path) -> None:
    for call in (store.get, store.picture, store.remove, lambda case_id: store.label(case_id, LABELS)):
        with pytest.raises(NotFound, match="no case z"):
            call("z")
    with pytest.raises(UsageError, match="limit 5000"):
        store.list(limit=5000)
    with pytest.raises(UsageError, match="cannot be kept"):
        Retention(max_age_s=0)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot hold bad cases"):
        CaseStore(tmp_path / "file")


def test_threads_share_a_store(store: CaseStore) -> None:
    def work(name: str) -> None:
        for number in range(10):
            add(store, f"{name}{number}")

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.list()) == 30


def test_a_page_is_a_bad_case_by_the_share_of_its_doubtful_lines() -> None:
    assert reason_for([]) is None
    assert reason_for([0.99, 0.95]) is None
    assert reason_for([0.99, 0.5]) == "low_confidence"
    assert reason_for([0.99] * 20 + [0.5]) is None


def test_labels_do_not_bring_back_what_was_taken_out(tmp_path: Path) -> None:
    with CaseStore(tmp_path, redact={"payer_account"}) as store:
        add(store, "a", result=UNDERSTOOD)
        with pytest.raises(Redacted, match="'payer_account' is taken out"):
            store.label("a", {"lines": [], "fields": {"payer_account": "6222"}})
        line = {"polygon": [[0, 0], [80, 0], [80, 20], [0, 20]], "text": "账号 6222"}
        with pytest.raises(Redacted, match="账号 6222"):
            store.label("a", {"lines": [line]})
        far = {"polygon": [[1e300, 1], [1e301, 1], [9, 9]], "text": "far away"}
        assert store.label("a", {"lines": [{**line, "polygon": UNDERSTOOD["fields"]["purpose"]["polygon"]}, far]}).labels
        assert "6222" not in json.dumps(store.get("a").result)


def test_a_page_that_must_have_the_field_but_does_not_show_it_is_kept_as_a_fact(tmp_path: Path) -> None:
    with CaseStore(tmp_path, redact={"payer_account"}) as store:
        add(store, "a", result={**UNDERSTOOD, "fields": {}, "missing": ["payer_account"]})
        assert (store.get("a").result, store.picture("a")) == ({}, None)
        add(store, "b", result={"error": {"code": "plugin", "message": "6222 hung"}})
        assert store.get("b").result == {"error": {"code": "plugin"}}


def test_labels_outside_their_page_are_refused(store: CaseStore) -> None:
    add(store, "a", result={"width": 100, "height": 60, "lines": []})
    with pytest.raises(BadDataset, match="100x60 pixels"):
        store.label("a", {"lines": [{"polygon": [[0, 0], [300, 0], [300, 9]], "text": "x"}]})
    assert store.get("a").status == "open"


def test_what_a_sender_corrects_stays_open_until_it_is_complete(store: CaseStore) -> None:
    add(store, "a")
    assert (store.correct("a", LABELS).status, store.get("a").reason, store.get("a").labels) == ("open", "corrected", LABELS)
    assert store.correct("a", LABELS, is_complete=True).status == "labelled"


def test_cases_are_told_apart_by_tenant_and_trace(store: CaseStore, tmp_path: Path) -> None:
    for case_id, tenant, trace in (("a", "one", "t1"), ("b", "two", "t1"), ("c", "one", "t2")):
        add(store, case_id, tenant=tenant, trace=trace)
        store.label(case_id, LABELS)
    assert sorted(case.id for case in store.list(tenants={"one"})) == ["a", "c"]
    assert [case.id for case in store.list(tenants={"one", "three"}, trace="t1")] == ["a"]
    assert store.list(tenants=[]) == []
    assert [name for name, _ in store.examples(tenants={"two"})] == ["b.png", "b.json"]


def test_a_store_of_an_older_version_is_taken_on(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "cases.sqlite", isolation_level=None)) as old:
        old.execute(
            "CREATE TABLE cases (id TEXT PRIMARY KEY, business TEXT NOT NULL, reason TEXT NOT NULL, status TEXT NOT NULL, "
            "added_at REAL NOT NULL, size_bytes INTEGER NOT NULL, result TEXT NOT NULL, labels TEXT)"
        )
        old.execute("INSERT INTO cases VALUES ('a', 'acme', 'failed', 'open', 1.0, 0, '{}', NULL)")
    with CaseStore(tmp_path) as store:
        assert (store.get("a").tenant, store.get("a").trace) == ("default", "")
        add(store, "b", tenant="shop")
        assert [case.tenant for case in store.list()] == ["default", "shop"]


def test_cases_without_pictures_are_bounded_by_their_number(tmp_path: Path) -> None:
    with CaseStore(tmp_path, retention=Retention(max_cases=2)) as store:
        for now in range(4):
            add(store, f"c{now}", image=None, now=float(now))
        assert store.prune(now=4.0) == 2
        assert [case.id for case in store.list()] == ["c3", "c2"]


def test_half_of_a_picture_is_not_left_behind(store: CaseStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    opened = Path.open

    def open_full(path: Path, mode: str = "r", **more: Any) -> Any:
        file = opened(path, mode, **more)
        if mode != "xb":
            return file
        file.close()
        broken = MagicMock()
        broken.__enter__.return_value.write.side_effect = full
        broken.__exit__.return_value = False
        return broken

    with monkeypatch.context() as disk:
        disk.setattr(Path, "open", open_full)
        with pytest.raises(OSError, match="No space left"):
            add(store, "a")
    assert list((tmp_path / "cases" / "pages").iterdir()) == []
    assert add(store, "a")
