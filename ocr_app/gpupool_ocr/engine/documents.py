"""A document to its answer: pages decoded one by one, each read by the plan that the whole document is bound to."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpupool_ocr.engine.running import BoundPlan, Hears, PageReading, read_page
from gpupool_ocr.pages import load_pages
from gpupool_wire.errors import LimitExceeded

#: More is not one request's business: split the file.
MAX_PAGES = 100


class TooManyPages(LimitExceeded):
    """The document has more pages than one request may bring."""

    http_status = 413


@dataclass(frozen=True, kw_only=True, slots=True)
class PageAnswer:
    """One page of a document."""

    number: int
    count: int
    reading: PageReading


_ages = itertools.count()
#: Lines of a page, as they come: the page's number, and what Hears gets.
HearsPages = Callable[[int], Hears]


def read_document(
    plan: BoundPlan, name: str, content: bytes, *, max_pages: int = MAX_PAGES, hears: HearsPages | None = None
) -> Iterator[PageAnswer]:
    """Yield the pages of a file. Raises PageError, LimitExceeded, and what steps raise."""
    age = next(_ages)
    for page in load_pages(Path(name), content):
        if page.count > max_pages:
            raise TooManyPages(
                f"{name} has {page.count} pages; the limit is {max_pages}: split it", pages=page.count, limit=max_pages
            )
        reading = read_page(plan, page.image, number=age, hears=hears(page.number) if hears else None)
        yield PageAnswer(number=page.number, count=page.count, reading=reading)


def describe_page(page: PageAnswer) -> dict[str, Any]:
    """Return a page as it is answered. Polygons are whole pixels, from where the text begins round clockwise."""
    work = page.reading.work
    return {
        "page": page.number,
        "width": page.reading.width,
        "height": page.reading.height,
        "lines": [
            {"order": order, "polygon": line.quad.astype(int).tolist(), "text": line.text, "score": round(line.score, 6)}
            for order, line in enumerate(work.lines)
        ],
        "fields": work.fields,
        "problems": work.problems,
        "timings_ms": {step: round(seconds * 1000, 3) for step, seconds in page.reading.timings_s.items()},
    }


def describe_plan(plan: BoundPlan) -> dict[str, Any]:
    """Return what an answer says of the versions it was made with."""
    return {"plan": plan.name, "release": plan.release, "versions": dict(plan.versions)}


def read_whole(plan: BoundPlan, name: str, content: bytes, *, max_pages: int = MAX_PAGES) -> dict[str, Any]:
    """Return the answer to a document. Raises what read_document raises."""
    start = time.perf_counter()
    pages = [describe_page(page) for page in read_document(plan, name, content, max_pages=max_pages)]
    total_ms = round((time.perf_counter() - start) * 1000, 3)
    read_ms = sum(page["timings_ms"]["total"] for page in pages)
    return {
        **describe_plan(plan),
        "pages": pages,
        "timings_ms": {"decode": round(total_ms - read_ms, 3), "read": round(read_ms, 3), "total": total_ms},
    }
