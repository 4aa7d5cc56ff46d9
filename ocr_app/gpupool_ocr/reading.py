"""One run of `gpupool ocr`: files in, text or JSON lines out, a progress bar for people, nothing lost on bad input."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from gpupool_ocr.local import LocalFactory
from gpupool_ocr.models import packaged_models
from gpupool_ocr.pages import Page, PageError, count_pages, find_files, load_pages
from gpupool_ocr.pipeline import PageText, Pipeline
from gpupool_ocr.pool import pool_factory
from gpupool_ocr.sessions import SessionFactory

if TYPE_CHECKING:
    from rich.progress import Progress


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadingJob:
    """What one command line asks for."""

    paths: list[Path]
    as_json: bool = False
    output: Path | None = None
    compute: int = 100
    memory: str = "2GiB"
    local: bool = False

    def run(self) -> int:
        """Read everything; return how many files failed."""
        failed, files = self._existing()
        if not files:
            return failed
        with ExitStack() as stack:
            out = stack.enter_context(self.output.open("w", encoding="utf-8")) if self.output else sys.stdout
            pipeline = Pipeline(stack.enter_context(self._factory()), packaged_models())
            progress = stack.enter_context(_progress(files))
            for file in files:
                failed += self._read_file(pipeline, file, out, progress)
        return failed

    def _existing(self) -> tuple[int, list[Path]]:
        """Return how many of the paths cannot be looked at, and the files under the others."""
        failed, files = 0, []
        for path in self.paths:
            try:
                files += find_files([path])
            except (PageError, OSError) as error:
                failed += _complain(error)
        return failed, files

    def _factory(self) -> AbstractContextManager[SessionFactory]:
        return nullcontext(LocalFactory()) if self.local else pool_factory(compute=self.compute, memory=self.memory)

    def _read_file(self, pipeline: Pipeline, file: Path, out: TextIO, progress: Progress | None) -> int:
        """Read one file page by page; return 1 where it could not be read to its end."""
        try:
            for page in load_pages(file):
                text = pipeline.read(page.image)
                out.write(_as_json(page, text) if self.as_json else _as_text(text))
                out.flush()
                if progress:
                    progress.advance(progress.task_ids[0])
        except (PageError, OSError) as error:
            return _complain(error)
        return 0


def _complain(error: Exception) -> int:
    print(f"gpupool ocr: {error}", file=sys.stderr)
    return 1


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
    with Progress(*columns, console=console, transient=True) as progress:
        progress.add_task("pages", total=sum(count_pages(file) for file in files))
        yield progress


def _as_text(text: PageText) -> str:
    return "".join(f"{line.text}\n" for line in text.lines)


def _as_json(page: Page, text: PageText) -> str:
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
