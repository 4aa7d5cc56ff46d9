"""One run of `gpupool ocr fields`: files in, documents out as text, JSON lines or CSV.

files ──reading──> lines ──Extractor──> Document ──verifiers, Register──> text, JSON, CSV
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from gpupool_ocr.fields.document import Document
from gpupool_ocr.fields.duplicates import Register, Seen, perceptual_hash
from gpupool_ocr.fields.export import write_csv
from gpupool_ocr.fields.extraction import Extractor
from gpupool_ocr.fields.geometry import TextLine
from gpupool_ocr.fields.packaged import load_extractor
from gpupool_ocr.fields.verification import Verifier, load_verifiers, verified
from gpupool_ocr.pipeline import Line
from gpupool_ocr.reading import ReadingJob, ReadPage, opened
from gpupool_wire.errors import UsageError

FORMATS = ("text", "json", "csv")


@dataclass(frozen=True, kw_only=True, slots=True)
class Understood:
    """A page as a document, and what it repeats."""

    file: str
    page: int
    document: Document
    #: "NAME (reason)", or empty.
    duplicate_of: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldsJob:
    """What one command line asks for."""

    reading: ReadingJob
    form: str = "text"
    rules: Path | None = None
    type_name: str | None = None
    verifiers: list[str] = field(default_factory=list)

    def run(self) -> int:
        """Read and understand everything; return how many files failed."""
        extractor, verifiers = load_extractor(self.rules), load_verifiers(self.verifiers)
        if self.form not in FORMATS:
            raise UsageError(f"there is no format {self.form!r}; there are: {', '.join(FORMATS)}")
        if self.type_name is not None and self.type_name not in extractor.types:
            raise UsageError(f"there is no document type {self.type_name!r}; there are: {', '.join(sorted(extractor.types))}")
        with ExitStack() as stack:
            out = stack.enter_context(opened(self.reading.output)) if self.reading.output else sys.stdout
            understood = self._understood(extractor, verifiers)
            if self.form == "csv":
                self._as_csv(list(understood), out)
            else:
                for page in understood:
                    out.write(as_json(page) if self.form == "json" else as_text(page))
                    out.flush()
        return self.reading.failed

    def _understood(self, extractor: Extractor, verifiers: dict[str, Verifier]) -> Iterator[Understood]:
        register = Register()
        for read in self.reading.pages():
            document = verified(extractor.extract(map(as_text_line, read.text.lines), self.type_name), verifiers)
            yield Understood(
                file=str(read.page.path),
                page=read.page.number,
                document=document,
                duplicate_of=_repeated(register, read, document),
            )

    def _as_csv(self, pages: list[Understood], out: TextIO) -> None:
        names = dict.fromkeys(name for page in pages for name in page.document.fields)
        write_csv(((page.file, page.page, page.document, page.duplicate_of) for page in pages), names, out)


def as_text_line(line: Line) -> TextLine:
    """Return a line of the pipeline as the rules see it."""
    return TextLine.of(line.quad.tolist(), line.text, line.score)


def _repeated(register: Register, read: ReadPage, document: Document) -> str:
    several = read.page.count > 1
    name = f"{read.page.path}{f', page {read.page.number}' if several else ''}"
    found = register.add(Seen(name=name, identity=document.identity, picture=perceptual_hash(read.page.image)))
    return f"{found[0][0].name} ({found[0][1]})" if found else ""


def as_json(page: Understood) -> str:
    """Return a document as one line of JSON."""
    content = {"path": page.file, "page": page.page, **page.document.to_json(), "duplicate_of": page.duplicate_of}
    return json.dumps(content, ensure_ascii=False) + "\n"


def as_text(page: Understood) -> str:
    """Return a document for people: fields, what is missing, and which checks failed."""
    document = page.document
    lines = [f"{page.file}, page {page.page}: {document.title or document.type}"]
    width = max((len(name) for name in document.fields), default=0)
    lines += [f"  {name:{width}}  {item.normalised}  ({item.confidence:.2f})" for name, item in document.fields.items()]
    lines += [f"  missing: {name}" for name in document.missing]
    marks = {True: "passed", False: "FAILED", None: "open"}
    lines += [f"  {check.check} {marks[check.passed]}: {check.message}" for check in document.checks]
    lines += [f"  duplicate of {page.duplicate_of}"] if page.duplicate_of else []
    return "\n".join(lines) + "\n"
