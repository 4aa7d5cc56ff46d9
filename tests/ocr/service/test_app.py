"""The service over HTTP, with the real models."""

from __future__ import annotations

import io
import json
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pypdfium2
import pytest
from PIL import Image

from gpupool_ocr.plans.reading import write_snapshot
from gpupool_ocr.plans.spec import Snapshot
from gpupool_ocr.service.parts import Parts

TEXT = "BANK427965"


def post(client: httpx.Client, content: bytes, **query: str) -> httpx.Response:
    return client.post("/v1/recognize", params=query, content=content, headers={"Content-Type": "application/octet-stream"})


def texts(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [line["text"] for page in answer.json()["pages"] for line in page["lines"]]


def error(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    message: str = answer.json()["error"]["message"]
    return message


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def picture(page: bytes) -> Image.Image:
    return Image.open(io.BytesIO(page)).convert("RGB")


def test_a_page_is_answered_with_lines_versions_and_timings(client: httpx.Client, page: bytes) -> None:
    answer = client.post("/v1/recognize", files={"file": ("../x/one.png", page)}, params={"bid": "acme", "tid": "text"})
    body = answer.json()
    assert texts(answer) == [TEXT]
    assert (body["name"], body["bid"], body["plan"], body["release"]) == ("one.png", "acme", "text", 1)
    assert set(body["versions"]) == {"detection", "recognition", "direction"}
    (read,) = body["pages"]
    assert (read["width"], read["height"]) == (420, 400)
    (line,) = read["lines"]
    assert line["order"] == 0
    assert line["score"] > 0.8
    assert np.asarray(line["polygon"]).shape == (4, 2)
    assert {"detect", "recognize", "order", "total"} <= set(read["timings_ms"])


def test_the_file_itself_may_be_the_body(client: httpx.Client, page: bytes) -> None:
    assert texts(post(client, page, name="one.png")) == [TEXT]


def test_the_callers_trace_goes_through(client: httpx.Client, page: bytes) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    answer = client.post("/v1/recognize", files={"file": ("a", page)}, headers=headers)
    assert (answer.headers["X-Trace-Id"], answer.json()["trace"]) == (trace, trace)


def test_a_job_is_asked_for_until_it_is_done(client: httpx.Client, page: bytes) -> None:
    accepted = post(client, page, mode="async")
    assert accepted.status_code == 202
    deadline = time.monotonic() + 60
    while (answer := client.get(accepted.headers["Location"])).status_code == 202:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert texts(answer) == [TEXT]
    assert "no job 'nothing'" in error(client.get("/v1/jobs/nothing"), 404)


def test_a_request_repeated_with_its_key_gets_the_same_answer(client: httpx.Client, page: bytes) -> None:
    headers = {"Idempotency-Key": "k1", "Content-Type": "image/png"}
    one, two = (client.post("/v1/recognize", content=page, headers=headers).json() for _ in range(2))
    assert one == two


def test_lines_come_before_their_page(client: httpx.Client, page: bytes) -> None:
    answer = post(client, page, mode="stream")
    events = [json.loads(line) for line in answer.text.splitlines()]
    assert [event["event"] for event in events] == ["start", "line", "page", "end"]
    assert events[1]["text"] == events[2]["lines"][0]["text"] == TEXT


def test_a_stream_of_what_is_no_page_ends_with_the_error(client: httpx.Client) -> None:
    events = [json.loads(line) for line in post(client, b"hello", mode="stream").text.splitlines()]
    assert [event["event"] for event in events] == ["start", "error"]
    assert "not an image" in events[1]["error"]["message"]


def test_each_file_of_a_batch_has_an_answer_of_its_own(client: httpx.Client, page: bytes) -> None:
    files = [("file", ("good.png", page)), ("file", ("bad.txt", b"hello")), ("file", ("again.png", page))]
    results = client.post("/v1/batch", files=files).json()["results"]
    assert [(one["name"], one["status"]) for one in results] == [("good.png", 200), ("bad.txt", 422), ("again.png", 200)]
    assert results[2]["answer"]["pages"][0]["lines"][0]["text"] == TEXT
    assert "bad.txt is not an image" in results[1]["answer"]["error"]["message"]


@pytest.mark.parametrize(
    ("query", "status", "why"),
    [
        ({"tid": "plates"}, 404, "may use tid text"),
        ({"bid": "a b"}, 422, "is no name"),
        ({"mode": "later"}, 422, "mode"),
        ({"callback": "http://127.0.0.1/x"}, 422, "not fetched from 127.0.0.1"),
    ],
)
def test_a_wish_that_cannot_be_is_refused(
    client: httpx.Client, page: bytes, query: dict[str, str], status: int, why: str
) -> None:
    assert why in error(post(client, page, **query), status)


def test_requests_that_make_no_sense_are_refused(client: httpx.Client, page: bytes) -> None:
    assert "body is empty" in error(post(client, b""), 422)
    assert "2 files" in error(client.post("/v1/recognize", files=[("file", ("a", page)), ("file", ("b", page))]), 422)
    assert "no file" in error(client.post("/v1/recognize", files={"bid": (None, "x")}), 422)
    assert "is not {" in error(client.post("/v1/recognize", json={"uri": "x"}), 422)
    assert "allowed hosts: none" in error(client.post("/v1/recognize", json={"url": "http://example.org/a.png"}), 422)
    broken = client.post("/v1/recognize", content=b"x", headers={"Content-Type": "multipart/form-data"})
    assert broken.status_code in (413, 422)
    assert error(client.get("/nothing"), 404)
    assert error(client.delete("/v1/recognize"), 405)


def test_pages_of_other_sites_may_not_use_it(client: httpx.Client, page: bytes) -> None:
    answer = client.post("/v1/recognize", content=page, headers={"Origin": "https://evil.example", "Content-Type": "image/png"})
    assert "evil.example may not" in error(answer, 403)
    same = {"Origin": str(client.base_url).rstrip("/"), "Content-Type": "image/png"}
    assert client.post("/v1/recognize", content=page, headers=same).status_code == 200


def test_pictures_of_every_kind_are_read(client: httpx.Client, picture: Image.Image) -> None:
    grey = np.asarray(picture.convert("L")).astype(np.uint16) * 257
    turned = Image.Exif()
    turned[0x0112] = 6  # to be shown turned by 90 degrees
    sideways = picture.transpose(Image.Transpose.ROTATE_90)
    kinds = {
        "animated": saved(picture, "GIF", save_all=True, append_images=[picture.rotate(180)]),
        "cmyk": saved(picture.convert("CMYK"), "JPEG", quality=95),
        "16 bit": saved(Image.fromarray(grey), "PNG"),
        "exif": saved(sideways, "JPEG", exif=turned, quality=95),
        "upside down": saved(picture.rotate(180), "PNG"),
    }
    read = {name: texts(post(client, content)) for name, content in kinds.items()}
    assert read == {name: [TEXT] for name in kinds}


def test_a_page_without_text_has_no_lines(client: httpx.Client) -> None:
    assert texts(post(client, saved(Image.new("RGB", (300, 200), "white"), "PNG"))) == []


def test_vertical_text_is_read(client: httpx.Client, picture: Image.Image) -> None:
    assert texts(post(client, saved(picture.transpose(Image.Transpose.ROTATE_270), "PNG"))) == [TEXT]


def test_documents_that_cannot_be_read_are_refused_with_the_reason(client: httpx.Client, page: bytes, locked_pdf: Path) -> None:
    bomb = saved(Image.new("1", (20_000, 20_000)), "PNG")
    assert "is encrypted" in error(post(client, locked_pdf.read_bytes()), 422)
    assert "pixels" in error(post(client, bomb), 422)
    assert "is damaged" in error(post(client, page[: len(page) // 2]), 422)
    assert "is not an image" in error(post(client, b"hello"), 422)


def test_a_document_of_too_many_pages_is_refused_with_the_numbers(client: httpx.Client) -> None:
    document = pypdfium2.PdfDocument.new()
    for _ in range(500):
        document.new_page(50, 50).close()
    file = io.BytesIO()
    document.save(file)
    document.close()
    assert "500 pages; the limit is 20" in error(post(client, file.getvalue()), 413)


def test_it_says_how_it_is(client: httpx.Client, parts: Parts) -> None:
    assert client.get("/healthz").json()["instance"] == parts.instance
    assert client.get("/readyz").json() == {"status": "ready", "release": 1}
    metrics = client.get("/metrics").text
    for name in (
        "requests_total",
        "step_seconds_count",
        "device_busy_seconds_total",
        "jobs_waiting",
        "log_dropped_total",
        "pages_total",
    ):
        assert f"gpupool_ocr_{name}" in metrics
    described = client.get("/openapi.json").json()
    assert {"/v1/recognize", "/v1/batch", "/v1/jobs/{job_id}", "/v1/admin/snapshots"} <= set(described["paths"])


@pytest.mark.parametrize("mode", ["sync", "stream"])
def test_the_log_has_a_line_for_each_document_with_numbers_taken_out(
    client: httpx.Client, home: Path, page: bytes, mode: str
) -> None:
    answer = json.loads(post(client, page, mode=mode).text.splitlines()[0])
    deadline = time.monotonic() + 10
    while answer["job"] not in (text := (home / "log").read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    record = next(json.loads(line) for line in text.splitlines() if answer["job"] in line)
    assert (record["status"], record["characters"], record["trace"]) == (200, len(TEXT), answer["trace"])
    assert "427965" not in record["text"]


def test_versions_change_under_load_without_a_failure_and_never_within_an_answer(
    client: httpx.Client, parts: Parts, snapshot: Snapshot, page: bytes
) -> None:
    answers: list[httpx.Response] = []
    stop = threading.Event()

    def call() -> None:
        while not stop.is_set():
            answers.append(post(client, page))

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    try:
        yaml = write_snapshot(snapshot).replace("recognition\n    version: PP-OCRv6-small", "recognition\n    version: newer")
        difference = client.post("/v1/admin/diff", content=yaml).json()["changes"]
        assert [change["where"] for change in difference] == ["models.recognition.version"]
        tried = client.post("/v1/admin/snapshots", content=yaml, params={"percent": 50}).json()
        assert (tried["desired"]["candidate"], tried["recall"]) == (tried["number"], {"*/text": 1.0})
        seen = len(answers)
        deadline = time.monotonic() + 60
        while {answer.json()["release"] for answer in answers[seen:]} != {1, tried["number"]}:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert client.post("/v1/admin/promote").json()["active"] == tried["number"]
        assert texts(post(client, page)) == [TEXT]
        assert client.post("/v1/admin/rollback").json()["active"] == 1
        assert "nothing before" in error(client.post("/v1/admin/rollback"), 409)
    finally:
        stop.set()
        for caller in callers:
            caller.join(60)
    assert {answer.status_code for answer in answers} == {200}
    pairs = {(answer.json()["release"], answer.json()["versions"]["recognition"].partition("@")[0]) for answer in answers}
    assert pairs == {(1, "PP-OCRv6-small"), (tried["number"], "newer")}
    deadline = time.monotonic() + 10
    while len(parts.workshop.parts) > 3:  # what only the candidate held is closed
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_snapshot_that_reads_badly_or_cannot_be_opened_is_refused(client: httpx.Client, snapshot: Snapshot) -> None:
    yaml = write_snapshot(snapshot)
    missing = yaml.replace("role: recognition\n", "role: recognition\n    source: /nowhere.onnx\n")
    assert "/nowhere.onnx cannot be read" in error(client.post("/v1/admin/snapshots", content=missing), 422)
    golden = Path(snapshot.golden.samples) / "one.json"
    truth = golden.read_text()
    golden.write_text(json.dumps({"lines": ["SOMETHING ELSE ENTIRELY"]}))
    try:
        assert "golden samples; 0.8 are needed" in error(client.post("/v1/admin/snapshots", content=yaml), 422)
    finally:
        golden.write_text(truth)
    assert "is not YAML" in error(client.post("/v1/admin/snapshots", content="a: ["), 422)
    assert client.get("/v1/admin/status").json()["desired"]["active"] == 1
    deadline = time.monotonic() + 10
    while client.get("/v1/admin/status").json()["instances"][0]["lacks"]:  # until it has told what it has opened
        assert time.monotonic() < deadline
        time.sleep(0.02)
