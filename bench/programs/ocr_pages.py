"""The pool's own reader on the same footing as rapidocr_pages.py: one JSON line a page, the first page read twice."""

import json
import sys
import time

from gpupool_ocr.pages import load_pages
from gpupool_ocr.pool import pool_pipeline

with pool_pipeline() as pipeline:
    paths = sys.argv[1:]
    pipeline.read(next(iter(load_pages(paths[0]))))
    for path in paths:
        start = time.perf_counter()
        lines = [line for page in load_pages(path) for line in pipeline.read(page).lines]
        seconds = time.perf_counter() - start
        texts, scores = [line.text for line in lines], [float(line.score) for line in lines]
        print(json.dumps({"page": path, "seconds": seconds, "texts": texts, "scores": scores}, ensure_ascii=False), flush=True)
