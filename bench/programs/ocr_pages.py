"""The pool's own reader on the same footing as rapidocr_pages.py: one JSON line a page, the first page read twice."""

import json
import sys
import time
from pathlib import Path

from gpupool_ocr.models import packaged_models
from gpupool_ocr.pages import load_pages
from gpupool_ocr.pipeline import Pipeline
from gpupool_ocr.pool import pool_factory


def read(pipeline: Pipeline, path: Path) -> tuple[list[str], list[float]]:
    lines = [line for page in load_pages(path) for line in pipeline.read(page.image).lines]
    return [line.text for line in lines], [line.score for line in lines]


paths = [Path(argument) for argument in sys.argv[1:]]
with pool_factory() as factory:
    pipeline = Pipeline(factory, packaged_models())
    read(pipeline, paths[0])
    for path in paths:
        start = time.perf_counter()
        texts, scores = read(pipeline, path)
        seconds = time.perf_counter() - start
        print(
            json.dumps({"page": str(path), "seconds": seconds, "texts": texts, "scores": scores}, ensure_ascii=False), flush=True
        )
