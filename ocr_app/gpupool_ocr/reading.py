"""One run of `gpupool ocr`: files in, text or JSON lines out, a progress bar for people, nothing lost on bad input.

files ──load_pages──> pages ──two at a time──> Pipeline.read ──in order──> text, JSON
          │ bad file: one sentence on standard error, the others go on
"""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from gpupool_ocr.local import LocalFactory
from gpupool_ocr.models import packaged_models
from gpupool_ocr.pages import Image, Page, PageError, count_pages, find_files, load_pages
from gpupool_ocr.pipeline import PageText, Pipeline
from gpupool_ocr.pool import pool_factory
from gpupool_ocr.sessions import SessionFactory
from gpupool_wire.errors import UsageError

if TYPE_CHECKING:
    from rich.progress import Progress

#: While the device works for one page, another is decoded, cut up and put into words here. More would only hold more memory.
PAGES_IN_FLIGHT = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class BadFile:
    """A file that could not be read to its end, and why."""

    error: Exception


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadPage:
    """A page and what it says."""

    page: Page
    text: PageText


@dataclass(kw_only=True, slots=True)
class ReadingJob:
    """What one command line asks for."""

    paths: list[Path]
    as_json: bool = False
    output: Path | None = None
    compute: int = 100
    memory: str = "2GiB"
    wait_s: float = 10.0
    local: bool = False
    #: How many files could not be read so far.
    failed: int = 0

    def run(self) -> int:
        """Read everything; return how many files failed. Raises UsageError where the output cannot be written."""
        files = self._existing()
        with ExitStack() as stack:
            out = stack.enter_context(opened(self.output)) if self.output else None
            for outcome in self._read(files):
                # Looked up anew: while the bar is shown, standard output may be a writer that keeps clear of it.
                target = out or sys.stdout
                target.write(as_json(outcome) if self.as_json else as_text(outcome, headed=len(files) > 1))
                target.flush()
        return self.failed

    def pages(self) -> Iterator[ReadPage]:
        """Read everything, and yield the pages in their order; `failed` counts the files that could not be read."""
        yield from self._read(self._existing())

    def _read(self, files: list[Path]) -> Iterator[ReadPage]:
        if not files:
            return
        with ExitStack() as stack:
            pipeline = Pipeline(stack.enter_context(self._factory()), packaged_models())
            progress = stack.enter_context(_progress(files))
            for outcome in read_ahead(pipeline.read, pages_of(files)):
                if isinstance(outcome, BadFile):
                    self._complain(outcome.error)
                else:
                    yield outcome
                if progress:
                    progress.advance(progress.task_ids[0])

    def _existing(self) -> list[Path]:
        """Return the files under the paths that can be looked at."""
        files = []
        for path in self.paths:
            try:
                files += find_files([path])
            except (PageError, OSError) as error:
                self._complain(error)
        return files

    def _complain(self, error: Exception) -> None:
        self.failed += 1
        print(f"gpupool ocr: {error}", file=sys.stderr)

    def _factory(self) -> AbstractContextManager[SessionFactory]:
        return (
            nullcontext(LocalFactory())
            if self.local
            else pool_factory(compute=self.compute, memory=self.memory, wait_s=self.wait_s)
        )


def pages_of(files: Iterable[Path]) -> Iterator[Page | BadFile]:
    """Yield the pages of all files in order, and a BadFile where one cannot be read on."""
    for file in files:
        try:
            yield from load_pages(file)
        except (PageError, OSError) as error:
            yield BadFile(error=error)


def read_ahead(read: Callable[[Image], PageText], pages: Iterable[Page | BadFile]) -> Iterator[ReadPage | BadFile]:
    """Yield what the pages say, in their order, while PAGES_IN_FLIGHT of them are being read. Raises what `read` raises."""
    waiting: deque[BadFile | tuple[Page, Future[PageText]]] = deque()
    executor = ThreadPoolExecutor(PAGES_IN_FLIGHT, "gpupool-ocr")
    try:
        for page in pages:
            waiting.append(page if isinstance(page, BadFile) else (page, executor.submit(read, page.image)))
            if len(waiting) > PAGES_IN_FLIGHT:
                yield _outcome(waiting.popleft())
        while waiting:
            yield _outcome(waiting.popleft())
    finally:
        executor.shutdown(cancel_futures=True)


def _outcome(first: BadFile | tuple[Page, Future[PageText]]) -> ReadPage | BadFile:
    if isinstance(first, BadFile):
        return first
    page, text = first
    return ReadPage(page=page, text=text.result())


def opened(output: Path) -> TextIO:
    """Open a file to write to; raise UsageError where that cannot be."""
    try:
        return output.open("w", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}") from error


@contextmanager
def _progress(files: list[Path]) -> Iterator[Progress | None]:
    """A bar on standard error where that is a terminal, nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("reading"), BarColumn(), MofNCompleteColumn(), TextColumn("pages"), TimeRemainingColumn())
    # Only where both are the same screen: text for a pipe or a file must not be printed above the bar instead.
    with Progress(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty()) as progress:
        progress.add_task("pages", total=sum(count_pages(file) for file in files))
        yield progress


def as_text(read: ReadPage, *, headed: bool) -> str:
    """Return the lines of a page, under its name where it is not the only one."""
    page = read.page
    several = page.count > 1
    heading = f"==> {page.path}{f', page {page.number}' if several else ''} <==\n" if headed or several else ""
    return heading + "".join(f"{line.text}\n" for line in read.text.lines)


def as_json(read: ReadPage) -> str:
    """Return a page as one line of JSON. Polygons are whole pixels, from where the text begins round clockwise."""
    page, text = read.page, read.text
    document: dict[str, Any] = {
        "path": str(page.path),
        "page": page.number,
        "width": page.image.shape[1],
        "height": page.image.shape[0],
        "lines": [
            {"polygon": line.quad.astype(int).tolist(), "text": line.text, "score": round(line.score, 6)} for line in text.lines
        ],
        "timings_ms": {stage: round(seconds * 1000, 3) for stage, seconds in text.timings_s.items()},
    }
    return json.dumps(document, ensure_ascii=False) + "\n"
