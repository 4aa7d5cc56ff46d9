"""Fields: F1 on the receipts of ../shared/data/ocr, exactness on documents of the generator, both through the real models.

    python -m bench.ocr_fields [--documents N] [--seed S] [--degrade NAME=STRENGTH,...]

Dates and totals are compared in their normal form, company and address in two ways: to the letter but for case, width and spaces,
and of these only letters and digits. The rules for receipts were written looking at these receipts: their figures say how far
rules reach, not how they do on receipts of other layouts. The seed of the documents is none that the rules were written with.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from gpupool_ocr.evaluation.job import is_same, true_fields
from gpupool_ocr.evaluation.versions import Read, open_version
from gpupool_ocr.fields.duplicates import MAX_DISTANCE, distance, perceptual_hash
from gpupool_ocr.fields.extraction import Extractor
from gpupool_ocr.fields.packaged import load_extractor
from gpupool_ocr.local import LocalFactory
from gpupool_ocr.pages import load_pages
from gpupool_ocr.synthesis.dataset import Example, find_examples, write
from gpupool_ocr.synthesis.degradation import parse_degradations
from gpupool_ocr.synthesis.generator import Order, draw
from gpupool_ocr.synthesis.templates import TEMPLATES

RECEIPTS = Path("../shared/data/ocr/receipts")


def receipts(extractor: Extractor, pages: Iterable[tuple[Example, Read]]) -> None:
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
        print(f"receipts   {name:10} F1 {strict:.4f}   letters and digits {loose:.4f}   ({labelled[name]})")


def letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))


def documents(extractor: Extractor, pages: Iterable[tuple[Example, Read]]) -> None:
    labelled, right, wrong = Counter[str](), Counter[str](), []
    for example, read in pages:
        document = extractor.extract(read.lines)
        values = document.normalised() if document.type == example.type else {}
        for name, truth in example.fields.items():
            labelled[example.type] += 1
            if is_same(values.get(name, ""), truth):
                right[example.type] += 1
            else:
                wrong.append(f"{example.image.stem} {name}: {truth!r} read as {values.get(name)!r}")
    for name in labelled:
        print(f"documents  {name:22} exact {right[name] / labelled[name]:.4f}   ({right[name]} of {labelled[name]} fields)")
    print(f"documents  {'all':22} exact {right.total() / labelled.total():.4f}   ({right.total()} of {labelled.total()} fields)")
    print("\n".join(wrong[:20]))


def look_alikes(examples: Iterable[Example]) -> None:
    """How near the pictures of different documents of one form are to each other: why a number decides before a picture."""
    hashes: dict[str, list[int]] = {}
    for example in examples:
        hashes.setdefault(example.type, []).append(perceptual_hash(next(load_pages(example.image)).image))
    gaps = [distance(one, other) for found in hashes.values() for index, one in enumerate(found) for other in found[:index]]
    if gaps:
        near = sum(gap <= MAX_DISTANCE for gap in gaps)
        print(f"different documents of one form: {near} of {len(gaps)} pairs within {MAX_DISTANCE} bits, nearest {min(gaps)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=42)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--degrade", default="")
    arguments = parser.parse_args()
    extractor, version = load_extractor(), open_version("packaged", LocalFactory)
    order = Order(
        kinds=tuple(TEMPLATES), count=arguments.documents, seed=arguments.seed, degradations=parse_degradations(arguments.degrade)
    )
    with tempfile.TemporaryDirectory() as folder:
        for name, drawn in draw(order):
            write(name, drawn, Path(folder))
        examples = find_examples(Path(folder))
        documents(extractor, ((example, version.read(example)) for example in examples))
        look_alikes(examples)
    if RECEIPTS.is_dir():
        examples = find_examples(RECEIPTS / "img", RECEIPTS / "box", RECEIPTS / "key")
        receipts(extractor, ((example, version.read(example)) for example in examples))


if __name__ == "__main__":
    main()
