"""A job to its outcome: read with one release, logged, counted. What goes wrong becomes an outcome, too."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gpupool_ocr.cases.keeper import Keeper
from gpupool_ocr.cases.seen import Seen
from gpupool_ocr.engine.documents import MAX_PAGES, read_whole
from gpupool_ocr.engine.router import Router
from gpupool_ocr.jobs.job import Job, Outcome, Taken
from gpupool_ocr.plans.spec import CasesSpec
from gpupool_ocr.service.metrics import Meters
from gpupool_ocr.service.request_log import RequestLog
from gpupool_wire.errors import GpupoolError

#: Documents a shadow may be behind; beyond that it leaves some out.
MAX_SHADOWS = 4
#: Failures that say nothing of the page: it is too large, or the service is full, starting, or stopping.
_NOT_THE_PAGES = frozenset({404, 413, 429, 503})


def describe_error(error: GpupoolError, job: Job | None = None) -> bytes:
    """Return an error as every JSON answer shows it."""
    described: dict[str, Any] = {"code": error.code, "message": error.message, "details": error.details}
    return msgspec.json.encode({"error": described, **({"job": job.id, "trace": job.trace} if job else {})})


@dataclass(kw_only=True, slots=True)
class Reader:
    """Reads jobs. Threads share it."""

    router: Router
    meters: Meters
    log: RequestLog
    keeper: Keeper
    instance: str
    max_pages: int = MAX_PAGES
    _shadows: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "ocr-shadow"))
    _shadowing: int = 0

    def read(self, taken: Taken) -> Outcome:
        """Return the outcome of a job. Never raises."""
        job, start = taken.job, time.perf_counter()
        answer: dict[str, Any] = {}
        rule: CasesSpec | None = None
        try:
            with self.router.take(job.bid, job.tid, job.id) as plan:
                rule = self.keeper.rule(plan.cases)
                answer = read_whole(plan, job.name, taken.content, max_pages=self.max_pages)
            outcome = Outcome(status=200, body=self._body(job, answer), instance=self.instance)
        except GpupoolError as error:
            outcome = Outcome(status=error.http_status, body=describe_error(error, job), instance=self.instance)
        except Exception as error:  # noqa: BLE001 - a page must not take the worker with it, whatever it brings up
            fault = GpupoolError(f"reading {job.name} failed: {type(error).__name__}: {error}")
            outcome = Outcome(status=500, body=describe_error(fault, job), instance=self.instance)
        self.note(taken, outcome, answer, rule, took_s=time.perf_counter() - start)
        if answer:
            self._shadow(job, taken.content, answer)
        return outcome

    def refuse(self, taken: Taken, why: str) -> Outcome:
        """Return the outcome of a job that is not tried again."""
        outcome = Outcome(status=500, body=describe_error(GpupoolError(why), taken.job), instance=self.instance)
        self._log(taken, outcome, {}, 0.0)
        with suppress(GpupoolError), self.router.take(taken.job.bid, taken.job.tid, taken.job.id) as plan:
            self._keep(self.seen(taken.job, taken.content, self.keeper.rule(plan.cases), {}, outcome, is_deadly=True))
        return outcome

    def note(self, taken: Taken, outcome: Outcome, answer: dict[str, Any], rule: CasesSpec | None, *, took_s: float) -> None:
        """Log and count a document that was read, and keep it where it was read badly."""
        self._log(taken, outcome, answer, took_s)
        self._keep(self.seen(taken.job, taken.content, rule, answer, outcome))

    def _keep(self, seen: Seen | None) -> None:
        """Offer a document to the keeper of bad cases, where its rule and its sender let it be kept."""
        if seen is not None:
            self.keeper.offer(seen)

    def seen(
        self,
        job: Job,
        content: bytes,
        rule: CasesSpec | None,
        answer: Mapping[str, Any],
        outcome: Outcome,
        *,
        is_deadly: bool = False,
    ) -> Seen | None:
        """Return a document as the keeper takes it; None where its rule or its sender does not let it be kept."""
        if rule is None or not job.keep or outcome.status in _NOT_THE_PAGES:
            return None
        error = None if outcome.status < 400 else msgspec.json.decode(outcome.body)["error"]
        return Seen(
            job=job.id,
            tenant=job.tenant,
            business=job.bid,
            trace=job.trace,
            name=job.name,
            content=content,
            rule=rule,
            pages=answer.get("pages", ()),
            made_with={key: answer[key] for key in ("plan", "release", "versions") if key in answer},
            error=error and {"code": error["code"], "message": error["message"]},
            is_deadly=is_deadly,
        )

    def close(self) -> None:
        """End the shadow's thread."""
        self._shadows.shutdown(cancel_futures=True)

    def _body(self, job: Job, answer: dict[str, Any]) -> bytes:
        head = {"job": job.id, "trace": job.trace, "bid": job.bid, "tid": job.tid, "name": job.name, "instance": self.instance}
        return msgspec.json.encode({**head, **answer})

    def _log(self, taken: Taken, outcome: Outcome, answer: dict[str, Any], took_s: float) -> None:
        job, pages = taken.job, answer.get("pages", [])
        lines = [line["text"] for page in pages for line in page["lines"]]
        characters = sum(map(len, lines))
        self.meters.characters.inc(characters)
        if pages:
            self.meters.pages.labels(str(answer["release"])).inc(len(pages))
        self.log.put(
            {
                "at": time.time(),
                "trace": job.trace,
                "job": job.id,
                "tenant": job.tenant,
                "bid": job.bid,
                "tid": job.tid,
                "instance": self.instance,
                "delivery": taken.delivery,
                "status": outcome.status,
                "bytes": len(taken.content),
                "pages": len(pages),
                "lines": len(lines),
                "characters": characters,
                "took_ms": round(took_s * 1000, 3),
                "plan": answer.get("plan"),
                "release": answer.get("release"),
                "versions": answer.get("versions"),
                "text": lines,
                "error": None if outcome.status < 400 else msgspec.json.decode(outcome.body)["error"]["message"],
            }
        )

    def _shadow(self, job: Job, content: bytes, answer: dict[str, Any]) -> None:
        """Have the candidate read the document too, behind the answer, where it is a shadow."""
        routing = self.router.routing
        if routing is None or not routing.shadow or self._shadowing >= MAX_SHADOWS:
            return
        self._shadowing += 1
        self._shadows.submit(self._compare, job, content, answer)

    def _compare(self, job: Job, content: bytes, answer: dict[str, Any]) -> None:
        try:
            with self.router.take_shadow(job.bid, job.tid) as plan:
                if plan is None:
                    return
                other = read_whole(plan, job.name, content, max_pages=self.max_pages)
            for one, two in zip(answer["pages"], other["pages"], strict=True):
                same = _says(one) == _says(two)
                self.meters.shadow.labels("same" if same else "different").inc()
        except Exception:  # noqa: BLE001 - a candidate that fails in the shadow is counted, and harms nobody
            self.meters.shadow.labels("failed").inc()
        finally:
            self._shadowing -= 1


def _says(page: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    return [line["text"] for line in page["lines"]], page["fields"]
