"""Bad pages of a running service: kept off its path, within bounds, by rule."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from gpupool_ocr.cases import keeper as keeping
from gpupool_ocr.cases.keeper import Keeper
from gpupool_ocr.cases.seen import Seen
from gpupool_ocr.cases.store import CaseStore, Retention
from gpupool_ocr.plans.spec import CasesSpec
from gpupool_wire.errors import NotFound

PNG = bytes(cv2.imencode(".png", np.full((40, 60, 3), 200, np.uint8))[1].tobytes())
CORNERS = [[1, 1], [30, 1], [30, 9], [1, 9]]


def page(number: int = 1, score: float = 0.3, **more: Any) -> dict[str, Any]:
    lines = [{"order": 0, "polygon": CORNERS, "text": "TOTAL", "score": score}]
    return {"page": number, "width": 60, "height": 40, "lines": lines, "fields": {}, "problems": [], **more}


def seen(job: str = "j", *, pages: tuple[dict[str, Any], ...] = (page(),), **more: Any) -> Seen:
    values: dict[str, Any] = {
        "tenant": "shop",
        "business": "acme",
        "trace": "t" + job,
        "name": "a.png",
        "content": PNG,
        "rule": CasesSpec(),
        "made_with": {"release": 3},
    }
    return Seen(job=job, pages=pages, **values | more)


def eventually(holds: Callable[[], bool], within_s: float = 15.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def counts() -> Counter[tuple[str, str]]:
    return Counter()


@pytest.fixture
def keeper(tmp_path: Path, counts: Counter[tuple[str, str]]) -> Iterator[Keeper]:
    made = Keeper(tmp_path / "cases", is_on=True, counts=lambda reason, result: counts.update([(reason, result)]))
    yield made
    made.close()


def test_a_doubtful_page_is_kept_with_its_picture_its_sender_and_what_read_it(
    keeper: Keeper, counts: Counter[tuple[str, str]]
) -> None:
    keeper.offer(seen())
    eventually(lambda: counts["low_confidence", "kept"] == 1)
    (case,) = keeper.store.list()
    assert (case.id, case.tenant, case.business, case.trace, case.reason) == ("j-1", "shop", "acme", "tj", "low_confidence")
    assert case.result["lines"][0]["text"] == "TOTAL"
    assert case.result["release"] == 3
    assert case.size_bytes == len(keeper.store.picture("j-1") or b"") > 0


def test_a_page_that_was_read_well_is_not_kept(keeper: Keeper, counts: Counter[tuple[str, str]]) -> None:
    keeper.offer(seen("good", pages=(page(score=0.99),)))
    keeper.offer(seen("bad"))
    eventually(lambda: counts.total() == 1)
    assert [case.id for case in keeper.store.list()] == ["bad-1"]


def test_a_plan_says_what_is_doubtful(keeper: Keeper, counts: Counter[tuple[str, str]]) -> None:
    keeper.offer(seen("strict", pages=(page(score=0.95),), rule=CasesSpec(below=1.0)))
    keeper.offer(seen("lenient", pages=(page(score=0.3),), rule=CasesSpec(below=0.1)))
    eventually(lambda: counts["low_confidence", "kept"] == 1)
    assert [case.id for case in keeper.store.list()] == ["strict-1"]


def test_whether_pages_are_kept_is_said_by_their_plan_else_by_the_service(tmp_path: Path) -> None:
    on, off = Keeper(tmp_path / "on", is_on=True), Keeper(tmp_path / "off")
    assert (on.rule(None), off.rule(None)) == (CasesSpec(), None)
    assert on.rule(CasesSpec(keep=False)) is None
    assert off.rule(CasesSpec(below=0.5)) == CasesSpec(below=0.5)
    on.close()
    off.close()
    assert not (tmp_path / "off").exists()


def test_of_several_pages_the_bad_ones_are_kept(keeper: Keeper, tmp_path: Path, counts: Counter[tuple[str, str]]) -> None:
    from PIL import Image

    first, second = (Image.new("RGB", (60, 40), colour) for colour in ("white", "red"))
    first.save(tmp_path / "two.tiff", save_all=True, append_images=[second])
    pages = (page(1, 0.99), page(2, 0.2))
    keeper.offer(seen(name="two.tiff", content=(tmp_path / "two.tiff").read_bytes(), pages=pages))
    eventually(lambda: counts["low_confidence", "kept"] == 1)
    picture = cv2.imdecode(np.frombuffer(keeper.store.picture("j-2") or b"", np.uint8), cv2.IMREAD_COLOR)
    assert picture[0, 0].tolist() == [0, 0, 255]


@pytest.mark.parametrize(("content", "has_picture"), [(PNG, True), (b"no page at all", False)])
def test_a_failed_page_is_kept_with_its_error_and_a_picture_where_there_is_one(
    keeper: Keeper, counts: Counter[tuple[str, str]], content: bytes, has_picture: bool
) -> None:
    keeper.offer(seen(pages=(), error={"code": "plugin", "message": "it hung"}, content=content))
    eventually(lambda: counts["failed", "kept"] == 1)
    (case,) = keeper.store.list()
    assert (case.result["error"]["message"], bool(case.size_bytes)) == ("it hung", has_picture)


def test_what_killed_its_readers_is_not_decoded_again(keeper: Keeper, counts: Counter[tuple[str, str]]) -> None:
    keeper.offer(seen(pages=(), error={"code": "error", "message": "3 workers died"}, is_deadly=True))
    eventually(lambda: counts["failed", "kept"] == 1)
    assert keeper.store.get("j-1").size_bytes == 0


def test_a_document_that_two_workers_read_is_one_case(keeper: Keeper, counts: Counter[tuple[str, str]]) -> None:
    for _ in range(2):
        keeper.offer(seen())
    eventually(lambda: counts["low_confidence", "kept"] == 2)
    assert len(keeper.store.list()) == 1


def test_fields_are_taken_out_as_service_and_plan_say(tmp_path: Path) -> None:
    area = [[1, 1], [20, 1], [20, 20], [1, 20]]
    fields = {name: {"value": "7", "normalised": "7", "polygon": area} for name in ("payer", "account", "total")}
    found = {"type": "bank_slip", "fields": fields}
    keeper = Keeper(tmp_path / "cases", is_on=True, redact=["payer"])
    keeper.offer(seen(pages=(page(fields=found),), rule=CasesSpec(redact=["account"])))
    keeper.close()
    with CaseStore(tmp_path / "cases") as store:
        case = store.get("j-1")
        assert [field["value"] for field in case.result["fields"].values()] == ["█", "█", "7"]
        assert case.result["lines"][0]["text"] == "█████"
        picture = cv2.imdecode(np.frombuffer(store.picture("j-1") or b"", np.uint8), cv2.IMREAD_COLOR)
        assert picture[10, 10].tolist() == [0, 0, 0]


def test_what_does_not_fit_is_dropped_at_once_and_counted(
    tmp_path: Path, counts: Counter[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs = threading.Event()
    monkeypatch.setattr(CaseStore, "add", lambda *_, **__: hangs.wait(30))
    monkeypatch.setattr(keeping, "MAX_QUEUED", 4)
    keeper = Keeper(tmp_path, is_on=True, counts=lambda reason, result: counts.update([(reason, result)]))
    start = time.perf_counter()
    for number in range(50):
        keeper.offer(seen(str(number)))
    assert time.perf_counter() - start < 1  # while the disk hangs for half a minute
    hangs.set()
    keeper.close()
    assert counts["low_confidence", "dropped"] in (45, 46)  # one is in the thread's hands, or not yet
    assert counts.total() == 50


def test_a_disk_that_fails_is_counted_and_tried_again(
    keeper: Keeper, counts: Counter[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> bool:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(CaseStore, "add", fail)
        keeper.offer(seen("one"))
        eventually(lambda: counts["low_confidence", "failed"] == 1)
    keeper.offer(seen("two"))
    eventually(lambda: counts["low_confidence", "kept"] == 1)


def test_what_is_too_old_or_too_much_is_forgotten_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "PRUNE_S", 0.05)
    keeper = Keeper(tmp_path, is_on=True, retention=Retention(max_cases=2))
    for number in range(5):
        keeper.offer(seen(str(number)))
    eventually(lambda: len(keeper.store.list()) == 2 and not keeper._queue)
    keeper.close()


def test_recent_documents_can_be_corrected_by_their_sender_for_a_while(tmp_path: Path) -> None:
    now = [100.0]
    keeper = Keeper(tmp_path, is_on=True, clock=lambda: now[0])
    good = seen(pages=(page(score=0.99),))
    keeper.offer(good)
    assert keeper.recent("shop", "tj") == [good]
    assert keeper.recent("other", "tj") == []
    case = keeper.keep_corrected(good, 1)
    assert (case.id, case.reason) == ("j-1", "corrected")
    with pytest.raises(NotFound, match="no page 2"):
        keeper.keep_corrected(good, 2)
    now[0] += keeping.RECENT_S
    assert keeper.recent("shop", "tj") == []
    keeper.close()


def test_recent_documents_take_no_more_memory_than_they_may(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "RECENT_BYTES", 3 * len(PNG))
    for number in range(6):
        keeper.offer(seen(str(number), pages=(page(score=0.99),)))
    assert [bool(keeper.recent("shop", f"t{number}")) for number in range(6)] == [False] * 3 + [True] * 3
