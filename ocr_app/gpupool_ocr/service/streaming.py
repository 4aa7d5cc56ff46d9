"""Lines as they are read: one JSON document a line (NDJSON), the whole page behind its lines.

{"event":"start",…} {"event":"line",…} … {"event":"page",…} … {"event":"end",…}      or, at any time, {"event":"error",…}
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec

from gpupool_ocr.engine.documents import describe_page, describe_plan, read_document
from gpupool_ocr.engine.running import Hears
from gpupool_ocr.jobs.job import Job, Outcome, Taken
from gpupool_ocr.pipeline import Line
from gpupool_ocr.plans.spec import CasesSpec
from gpupool_ocr.service.parts import Parts
from gpupool_ocr.service.reader import describe_error
from gpupool_ocr.service.tenants import Caller
from gpupool_wire.errors import GpupoolError

_END = None


#: Queues an event; says whether the caller is still there.
Put = Callable[[dict[str, Any] | None], bool]


async def stream_lines(parts: Parts, caller: Caller, job: Job, content: bytes) -> AsyncIterator[bytes]:
    """Yield the events of a document. At most `parts.streams` documents are read so; others wait.

    The document counts as the caller's from the first event on: whoever goes before it must not stay counted.
    """
    loop = asyncio.get_running_loop()
    events: asyncio.Queue[bytes | None] = asyncio.Queue()
    gone = False

    def put(event: dict[str, Any] | None) -> bool:
        if not gone:
            loop.call_soon_threadsafe(events.put_nowait, _END if event is None else msgspec.json.encode(event) + b"\n")
        return not gone

    parts.tenants.resume(caller)
    try:
        async with parts.streams:
            reading = loop.run_in_executor(None, _read, parts, job, content, put)
            while (event := await events.get()) is not _END:
                yield event
            await reading
    finally:
        gone = True
        parts.tenants.end(caller)


def _read(parts: Parts, job: Job, content: bytes, put: Put) -> None:
    """Read a document in a thread, and put its events, until the caller has gone."""
    answer: dict[str, Any] = {"pages": []}
    start = time.perf_counter()
    rule: CasesSpec | None = None
    outcome = Outcome(status=200, body=b"", instance=parts.reader.instance)
    try:
        with parts.router.take(job.bid, job.tid, job.id) as plan:
            rule = parts.keeper.rule(plan.cases)
            answer |= describe_plan(plan)
            put({"event": "start", "job": job.id, "trace": job.trace, **describe_plan(plan)})
            for page in read_document(plan, job.name, content, max_pages=parts.reader.max_pages, hears=_lines(put)):
                answer["pages"].append(describe_page(page))
                if not put({"event": "page", **answer["pages"][-1]}):
                    return
        put({"event": "end"})
    except Exception as error:  # noqa: BLE001 - the caller hears of it, whatever it is
        known = error if isinstance(error, GpupoolError) else GpupoolError(f"{type(error).__name__}: {error}")
        outcome = Outcome(status=known.http_status, body=describe_error(known))
        put({"event": "error", **msgspec.json.decode(outcome.body)})
    finally:
        put(_END)
        taken = Taken(job=job, content=content)
        parts.reader.note(taken, outcome, answer, rule, took_s=time.perf_counter() - start)


def _lines(put: Put) -> Callable[[int], Hears]:
    def of_page(number: int) -> Hears:
        def hear(lines: list[tuple[int, Line]]) -> None:
            for index, line in lines:
                described = {"polygon": line.quad.astype(int).tolist(), "text": line.text, "score": round(line.score, 6)}
                put({"event": "line", "page": number, "box": index, **described})

        return hear

    return of_page
