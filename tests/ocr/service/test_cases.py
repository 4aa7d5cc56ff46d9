"""Bad cases over HTTP: kept by a running service, seen by their tenant alone, corrected, labelled, exported, deleted."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest

from gpupool_ocr.cases import keeper as keeping
from gpupool_ocr.cases.store import CaseStore
from gpupool_ocr.service.parts import Parts
from gpupool_ocr.synthesis.dataset import find_examples
from tests.ocr.service.conftest import drawn

TEXT = "BANK427965"


@pytest.fixture
def of(keeping_address: str, keeping_parts: Parts) -> Iterator[Callable[[str], httpx.Client]]:
    """Return a tenant's client; no case is left behind."""
    clients: list[httpx.Client] = []

    def client(tenant: str) -> httpx.Client:
        headers = {"Authorization": f"Bearer {tenant}"}
        clients.append(httpx.Client(base_url=keeping_address, timeout=60, trust_env=False, headers=headers))
        return clients[-1]

    yield client
    for one in clients:
        one.close()
    for case in keeping_parts.keeper.store.list():
        keeping_parts.keeper.store.remove(case.id)


def read(client: httpx.Client, page: bytes, **query: str) -> dict[str, Any]:
    answer = client.post("/v1/recognize", params=query, content=page, headers={"Content-Type": "image/png"})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def kept(client: httpx.Client, trace: str) -> dict[str, Any]:
    """Return the case of a trace, once it is there."""
    deadline = time.monotonic() + 20
    while not (cases := client.get("/v1/cases", params={"trace": trace}).json()["cases"]):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    (case,) = cases
    assert isinstance(case, dict)
    return case


def message(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    return str(answer.json()["error"]["message"])


def test_a_doubtful_page_is_kept_with_its_picture(of: Callable[[str], httpx.Client], page: bytes) -> None:
    shop = of("shop")
    answer = read(shop, page, bid="acme")
    case = kept(shop, answer["trace"])
    assert (case["id"], case["tenant"], case["business"]) == (f"{answer['job']}-1", "shop", "acme")
    assert (case["reason"], case["status"]) == ("low_confidence", "open")
    assert case["result"]["lines"] == answer["pages"][0]["lines"]
    picture = shop.get(f"/v1/cases/{case['id']}/picture")
    assert (picture.headers["content-type"], picture.headers["cache-control"]) == ("image/png", "no-store")
    assert cv2.imdecode(np.frombuffer(picture.content, np.uint8), cv2.IMREAD_COLOR).shape == (400, 420, 3)
    small = shop.get(f"/v1/cases/{case['id']}/picture", params={"width": 84}).content
    assert cv2.imdecode(np.frombuffer(small, np.uint8), cv2.IMREAD_COLOR).shape == (80, 84, 3)


def test_pages_read_line_by_line_are_kept_too(of: Callable[[str], httpx.Client], page: bytes) -> None:
    shop = of("shop")
    answer = shop.post("/v1/recognize?mode=stream", content=page, headers={"Content-Type": "image/png"})
    assert kept(shop, answer.headers["X-Trace-Id"])["result"]["lines"][0]["text"] == TEXT


def test_a_file_that_is_no_page_is_kept_as_a_fact(of: Callable[[str], httpx.Client]) -> None:
    shop = of("shop")
    answer = shop.post("/v1/recognize", content=b"no page", headers={"Content-Type": "image/png"})
    assert answer.status_code == 422
    case = kept(shop, answer.json()["trace"])
    assert (case["reason"], case["size_bytes"], case["result"]["error"]["code"]) == ("failed", 0, "page")
    assert "no picture" in message(shop.get(f"/v1/cases/{case['id']}/picture"), 404)


def test_nobody_sees_another_tenants_pages_unless_the_file_of_tenants_says_so(
    of: Callable[[str], httpx.Client], page: bytes
) -> None:
    case = kept(of("shop"), read(of("shop"), page)["trace"])
    other, address = of("other"), f"/v1/cases/{case['id']}"
    assert other.get("/v1/cases").json() == {"cases": [], "more": False}
    labels = {"lines": case["result"]["lines"]}
    asked = [other.get(address), other.get(f"{address}/picture"), other.put(f"{address}/labels", json=labels)]
    for answer in [*asked, other.delete(address), other.get("/v1/cases/nothing")]:
        assert "there is no case" in message(answer, 404)
    assert "nothing is kept" in message(other.post("/v1/corrections", json={"trace": case["trace"], "complete": True}), 404)
    assert zipfile.ZipFile(io.BytesIO(other.get("/v1/cases.zip").content)).namelist() == []
    assert httpx.get(f"{other.base_url}/v1/cases", trust_env=False).status_code == 401
    assert [found["id"] for found in of("clerk").get("/v1/cases").json()["cases"]] == [case["id"]]


@pytest.mark.parametrize(("tenant", "query"), [("shop", {"keep": "false"}), ("shop", {"tid": "off"}), ("private", {})])
def test_requests_plans_and_tenants_can_keep_their_pages_out(
    of: Callable[[str], httpx.Client], page: bytes, tenant: str, query: dict[str, str]
) -> None:
    client = of(tenant)
    trace = read(client, page, **query)["trace"]
    kept(of("shop"), read(of("shop"), page)["trace"])  # whatever came before is dealt with
    assert client.get("/v1/cases", params={"trace": trace}).json()["cases"] == []
    assert "nothing is kept" in message(client.post("/v1/corrections", json={"trace": trace, "complete": True}), 404)


def test_a_keep_that_is_neither_is_refused(of: Callable[[str], httpx.Client], page: bytes) -> None:
    answer = of("shop").post("/v1/recognize", files={"file": ("a.png", page)}, data={"keep": "perhaps"})
    assert "'perhaps' is neither true nor false" in message(answer, 422)


def test_a_case_is_labelled_exported_as_training_data_and_deleted(
    of: Callable[[str], httpx.Client], page: bytes, tmp_path: Path
) -> None:
    shop = of("shop")
    case = kept(shop, read(shop, page)["trace"])
    address = f"/v1/cases/{case['id']}"
    draft = shop.get(address).json()["draft"]
    assert [line["text"] for line in draft["lines"]] == [TEXT]
    draft["lines"][0]["text"] = "BANK 427965"
    labelled = shop.put(f"{address}/labels", json=draft | {"fields": {"number": "427965"}}).json()
    assert (labelled["status"], labelled["labels"]["fields"]) == ("labelled", {"number": "427965"})
    with zipfile.ZipFile(io.BytesIO(shop.get("/v1/cases.zip").content)) as archive:
        archive.extractall(tmp_path)
    (example,) = find_examples(tmp_path)
    assert ([line.text for line in example.lines], example.fields) == (["BANK 427965"], {"number": "427965"})
    assert shop.delete(address).status_code == 204
    assert "there is no case" in message(shop.get(address), 404)
    again = {"trace": case["trace"], "complete": True}
    assert "nothing is kept" in message(shop.post("/v1/corrections", json=again), 404)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"lines": "none"}, 'no list called "lines"'),
        ({"lines": [{"polygon": [[0, 0]], "text": "x"}]}, "four corners"),
        ({"lines": [{"polygon": [[0, 0], [9e9, 0], [9, 9]], "text": "x"}]}, "420x400 pixels"),
        ({"lines": [], "fields": {"a": 1}}, "fields must be texts"),
        ([], "does not fit"),
    ],
)
def test_labels_that_are_none_are_refused(of: Callable[[str], httpx.Client], page: bytes, body: object, why: str) -> None:
    shop = of("shop")
    case = kept(shop, read(shop, page)["trace"])
    assert why in message(shop.put(f"/v1/cases/{case['id']}/labels", json=body), 422)
    assert shop.get(f"/v1/cases/{case['id']}").json()["status"] == "open"


def test_whoever_knows_the_trace_corrects_a_line_and_the_rest_stays_to_be_looked_at(
    of: Callable[[str], httpx.Client], page: bytes
) -> None:
    shop = of("shop")
    trace = read(shop, page)["trace"]
    said = {"trace": trace, "lines": [{"order": 0, "text": "BANK 1"}], "fields": {"total": "9.00"}}
    case = shop.post("/v1/corrections", json=said).json()
    assert (case["reason"], case["status"]) == ("corrected", "open")
    assert [line["text"] for line in case["labels"]["lines"]] == ["BANK 1"]
    assert case["labels"]["fields"] == {"total": "9.00"}
    done = shop.post("/v1/corrections", json={"trace": trace, "complete": True}).json()
    assert (done["id"], done["status"], done["labels"]["lines"][0]["text"]) == (case["id"], "labelled", "BANK 1")
    assert "labelled already" in message(shop.post("/v1/corrections", json=said), 409)
    assert "no line 7" in message(
        shop.post("/v1/corrections", json={"trace": read(shop, page)["trace"], "lines": [{"order": 7, "text": "x"}]}), 404
    )


def test_a_page_read_elsewhere_is_corrected_with_its_job_and_the_document_again(
    of: Callable[[str], httpx.Client], page: bytes, keeping_parts: Parts
) -> None:
    shop = of("shop")
    answer = read(shop, page, tid="strict")
    trace, job = answer["trace"], answer["job"]
    keeping_parts.keeper.forget("shop", job)  # as if another instance had read it
    said = {"trace": trace, "lines": [{"order": 0, "text": "BANK 1"}]}
    assert "later with `job`" in message(shop.post("/v1/corrections", json=said), 404)

    def again(content: bytes, **more: str) -> httpx.Response:
        return shop.post("/v1/corrections", data={"correction": json.dumps(said | more)}, files={"file": ("a.png", content)})

    assert "no job None" in message(again(page), 404)
    assert "no job" in message(again(page, job=job, trace="other"), 404)
    assert "420x400 pixels; this document has 300x400" in message(again(drawn(width=300), job=job), 422)
    case = again(page, job=job).json()
    assert (case["id"], case["reason"], case["labels"]["lines"][0]["text"]) == (f"{job}-1", "corrected", "BANK 1")
    assert shop.get(f"/v1/cases/{case['id']}/picture").status_code == 200


def test_of_several_documents_under_one_trace_one_is_named(of: Callable[[str], httpx.Client], page: bytes) -> None:
    shop = of("shop")
    batch = shop.post("/v1/batch", files=[("file", (name, page)) for name in ("a.png", "b.png")]).json()
    assert "2 documents" in message(shop.post("/v1/corrections", json={"trace": batch["trace"], "complete": True}), 409)
    job = batch["results"][1]["answer"]["job"]
    case = shop.post("/v1/corrections", json={"trace": batch["trace"], "job": job, "complete": True}).json()
    assert case["id"] == f"{job}-1"


def test_a_disk_that_hangs_slows_no_request_and_what_is_dropped_is_counted(
    of: Callable[[str], httpx.Client], page: bytes, monkeypatch: pytest.MonkeyPatch, keeping_parts: Parts
) -> None:
    import threading

    hangs = threading.Event()
    monkeypatch.setattr(keeping, "MAX_QUEUED", 1)
    with monkeypatch.context() as disk:
        disk.setattr(CaseStore, "add", lambda *_, **__: hangs.wait(60))
        shop = of("shop")
        try:
            for _ in range(4):
                read(shop, page)
        finally:
            hangs.set()
    metrics = shop.get("/metrics").text
    assert 'gpupool_ocr_cases_total{reason="low_confidence",result="dropped"}' in metrics


def test_lists_are_read_in_parts(of: Callable[[str], httpx.Client], page: bytes) -> None:
    shop = of("shop")
    trace = "5cf92f3577b34da6a3ce929d0e0e4737"  # of both, so that cases of other tests are not among them
    for count in (1, 2):
        shop.post("/v1/recognize", content=page, headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}).raise_for_status()
        deadline = time.monotonic() + 20
        while len(shop.get("/v1/cases", params={"trace": trace}).json()["cases"]) < count:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    first = shop.get("/v1/cases", params={"trace": trace, "limit": 1}).json()
    second = shop.get("/v1/cases", params={"trace": trace, "limit": 1, "offset": 1, "status": "open"}).json()
    assert (first["more"], second["more"]) == (True, False)
    assert first["cases"][0]["id"] != second["cases"][0]["id"]
    assert "limit" in message(shop.get("/v1/cases", params={"limit": 0}), 422)


def test_a_service_that_keeps_nothing_lists_nothing(client: httpx.Client, page: bytes, parts: Parts) -> None:
    trace = read(client, page)["trace"]
    assert client.get("/v1/cases").json() == {"cases": [], "more": False}
    assert "nothing is kept" in message(client.post("/v1/corrections", json={"trace": trace, "complete": True}), 404)
