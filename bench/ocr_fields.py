"""Fields: F1 on the receipts of ../shared/data/ocr, exactness on documents of the generator, both through the real models.

    python -m bench.ocr_fields [--documents N] [--seed S] [--degrade NAME=STRENGTH,... | --by-degradation STRENGTH]

Dates and totals are compared in their normal form, company and address in two ways: to the letter but for case, width and spaces,
and of these only letters and digits. The rules for receipts were written looking at these receipts: their figures say how far
rules reach, not how they do on receipts of other layouts. The seed of the documents is none that the rules were written with.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from gpupool_ocr.evaluation.job import is_same, true_fields
from gpupool_ocr.evaluation.versions import Read, Version, open_version
from gpupool_ocr.fields.document import Document
from gpupool_ocr.fields.duplicates import MAX_DISTANCE, distance, perceptual_hash
from gpupool_ocr.fields.extraction import Extractor
from gpupool_ocr.fields.packaged import load_extractor
from gpupool_ocr.local import LocalFactory
from gpupool_ocr.pages import load_pages
from gpupool_ocr.synthesis.dataset import Example, find_examples, write
from gpupool_ocr.synthesis.degradation import NAMES, parse_degradations
from gpupool_ocr.synthesis.generator import Order, draw
from gpupool_ocr.synthesis.templates import TEMPLATES

RECEIPTS = Path("../shared/data/ocr/receipts")


def receipts(which: str, extractor: Extractor, pages: Iterable[tuple[Example, Read]]) -> None:
    labelled, found, right, alike = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    for example, read in pages:
        values = extractor.extract(read.lines).normalised()
        for name, truth in true_fields(extractor, example).items():
            labelled[name] += 1
            if name in values:
                found[name] += 1
                right[name] += is_same(values[name], truth)
                alike[name] += letters(values[name]) == letters(truth)
    for name in labelled:
        both = labelled[name] + found[name]
        strict, loose = 2 * right[name] / both, 2 * alike[name] / both
        print(f"receipts   {which:5} {name:10} F1 {strict:.4f}   letters and digits {loose:.4f}   ({labelled[name]})")


def letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))


@dataclass
class Exactness:
    """Drawn documents whose type was recognised, and fields of them that were read to the letter (of the right type only)."""

    pages: int = 0
    typed: int = 0
    labelled: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def add(self, example: Example, document: Document) -> None:
        self.pages += 1
        self.typed += document.type == example.type
        values = document.normalised() if document.type == example.type else {}
        for name, truth in example.fields.items():
            self.labelled[example.type] += 1
            if is_same(values.get(name, ""), truth):
                self.right[example.type] += 1
            else:
                self.wrong.append(f"{example.image.stem} {name}: {truth!r} read as {values.get(name)!r}")

    def __str__(self) -> str:
        right, labelled = self.right.total(), self.labelled.total()
        return f"type {self.typed:3} of {self.pages:3}   fields exact {right / labelled:.4f}   ({right} of {labelled})"


def read_documents(order: Order, extractor: Extractor, version: Version) -> tuple[Exactness, list[int]]:
    """Return how an order's documents are read, and how near pictures of different ones of one form are (bits)."""
    found = Exactness()
    with tempfile.TemporaryDirectory() as folder:
        for name, drawn in draw(order):
            write(name, drawn, Path(folder))
        examples = find_examples(Path(folder))
        for example in examples:
            found.add(example, extractor.extract(version.read(example).lines))
        return found, gaps_between(examples)


def documents(order: Order, extractor: Extractor, version: Version) -> None:
    found, gaps = read_documents(order, extractor, version)
    for name, labelled in found.labelled.items():
        right = found.right[name]
        print(f"documents  {name:22} exact {right / labelled:.4f}   ({right} of {labelled} fields)")
    print(f"documents  {'all':22} {found}", *found.wrong[:20], sep="\n", flush=True)
    if gaps:
        near = sum(gap <= MAX_DISTANCE for gap in gaps)
        print(f"different documents of one form: {near} of {len(gaps)} pairs within {MAX_DISTANCE} bits, nearest {min(gaps)}")


def by_degradation(order: Order, strength: float, extractor: Extractor, version: Version) -> None:
    """Print a row for the same documents clean, and after each thing that may happen to a page."""
    for name in ("", *NAMES):
        wanted = {name: strength} if name else {}
        found, _ = read_documents(replace(order, degradations=wanted), extractor, version)
        print(f"documents  {f'{name} {strength:g}' if name else 'clean':22} {found}", flush=True)


def gaps_between(examples: Iterable[Example]) -> list[int]:
    """Return how near the pictures of different documents of one form are: why a number decides before a picture."""
    hashes: dict[str, list[int]] = {}
    for example in examples:
        hashes.setdefault(example.type, []).append(perceptual_hash(next(load_pages(example.image)).image))
    return [distance(one, other) for found in hashes.values() for index, one in enumerate(found) for other in found[:index]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=42)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--degrade", default="")
    parser.add_argument("--by-degradation", type=float, metavar="STRENGTH", help="documents only: a row for each degradation")
    arguments = parser.parse_args()
    extractor, version = load_extractor(), open_version("packaged", LocalFactory)
    order = Order(
        kinds=tuple(TEMPLATES), count=arguments.documents, seed=arguments.seed, degradations=parse_degradations(arguments.degrade)
    )
    if arguments.by_degradation:
        by_degradation(order, arguments.by_degradation, extractor, version)
        return
    documents(order, extractor, version)
    if RECEIPTS.is_dir():
        examples = find_examples(RECEIPTS / "img", RECEIPTS / "box", RECEIPTS / "key")
        pages = [(example, version.read(example)) for example in examples]
        for name, chosen in (("all", pages), ("even", pages[::2]), ("odd", pages[1::2])):
            receipts(name, extractor, chosen)


if __name__ == "__main__":
    main()
