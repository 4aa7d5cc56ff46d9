"""The shell of `gpupool ocr eval`: files, sessions and the clock around evaluate()."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from gpupool_ocr.evaluation import report
from gpupool_ocr.evaluation.job import evaluate
from gpupool_ocr.evaluation.versions import BadVersion, open_version, parse_version
from gpupool_ocr.fields.packaged import load_extractor
from gpupool_ocr.local import LocalFactory
from gpupool_ocr.pool import pool_factory
from gpupool_ocr.sessions import SessionFactory
from gpupool_ocr.synthesis.dataset import find_examples
from gpupool_wire.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationJob:
    """What one command line asks for."""

    images: Path
    labels: Path | None
    keys: Path | None
    versions: list[str]
    rules: Path | None
    report: Path | None
    as_json: bool
    compute: int
    memory: str
    wait_s: float
    local: bool

    def run(self) -> str:
        """Evaluate; return what is to be printed. Raises UsageError where something cannot be read or written."""
        names = [parse_version(version)[0] for version in self.versions]
        if len(names) > 2 or len(set(names)) < len(names):
            raise BadVersion(f"versions {', '.join(names)}: give one, or two of different names (NAME=SOURCE)")
        examples, extractor = find_examples(self.images, self.labels, self.keys), load_extractor(self.rules)
        with ExitStack() as stack:
            # Two versions share one slice; what was read before needs none.
            factory = cache(partial(self._factory, stack))
            versions = [open_version(version, factory) for version in self.versions]
            found = evaluate(examples, versions, extractor, lambda *_: None)
        if self.report:
            try:
                self.report.write_text(report.as_html(found), "utf-8")
            except OSError as error:
                raise UsageError(f"{self.report} cannot be written: {error.strerror}") from error
        return json.dumps(report.as_json(found), ensure_ascii=False) + "\n" if self.as_json else report.as_table(found)

    def _factory(self, stack: ExitStack) -> SessionFactory:
        if self.local:
            return LocalFactory()
        return stack.enter_context(pool_factory(compute=self.compute, memory=self.memory, wait_s=self.wait_s))
