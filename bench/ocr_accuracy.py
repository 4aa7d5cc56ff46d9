"""How well the pool's reader reads, against RapidOCR with its defaults, on the pages of ../shared/data/ocr.

python -m bench.ocr_accuracy [--pool]      # --pool reads through a slice of the embedded pool, else in this process
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import gpupool_ocr.pool
from gpupool_ocr.local import LocalFactory
from gpupool_ocr.metrics import character_matches
from gpupool_ocr.models import packaged_models
from gpupool_ocr.pages import load_pages
from gpupool_ocr.pipeline import Pipeline

DATA = Path("../shared/data/ocr")
Reader = Callable[[Path], list[str]]


def receipt_truth(page: Path) -> list[str]:
    rows = (page.parent.parent / "box" / f"{page.stem}.csv").read_text("utf-8", errors="replace").splitlines()
    return [row.split(",", 8)[8] for row in rows if row.count(",") >= 8]


def document_truth(page: Path) -> list[str]:
    return [line["text"] for line in json.loads(page.with_suffix(".json").read_text("utf-8"))["lines"]]


def measure(name: str, pages: Sequence[Path], truth: Callable[[Path], list[str]], readers: dict[str, Reader]) -> None:
    for reader, read in readers.items():
        sums = [sum(values) for values in zip(*(character_matches(truth(page), read(page)) for page in pages), strict=True)]
        print(f"{name:10} {reader:10} recall {sums[0] / sums[1]:.4f}  precision {sums[0] / sums[2]:.4f}  ({len(pages)} pages)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pool", action="store_true", help="read through a slice of the embedded pool")
    arguments = parser.parse_args()
    from rapidocr import RapidOCR

    theirs = RapidOCR()
    with gpupool_ocr.pool.pool_factory() if arguments.pool else nullcontext(LocalFactory()) as factory:
        pipeline = Pipeline(factory, packaged_models())
        readers: dict[str, Reader] = {
            "rapidocr": lambda page: list(theirs(str(page)).txts or ()),
            "gpupool": lambda page: [line.text for sheet in load_pages(page) for line in pipeline.read(sheet.image).lines],
        }
        measure("receipts", sorted((DATA / "receipts/img").glob("*.jpg")), receipt_truth, readers)
        measure("documents", sorted((DATA / "documents").glob("*.jpg")), document_truth, readers)


if __name__ == "__main__":
    main()
