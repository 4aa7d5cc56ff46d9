"""The pool's own reader on the same footing as rapidocr_pages.py: one JSON line a page, the first page read twice.

Pages overlap, as in `gpupool ocr`: a page's seconds are those since the page before it was done, and they add up to the whole.
"""

import json
import os
import sys
import time
from pathlib import Path

from gpupool_ocr.models import packaged_models
from gpupool_ocr.pipeline import Pipeline
from gpupool_ocr.pool import pool_factory
from gpupool_ocr.reading import BadFile, pages_of, read_ahead

paths = [Path(argument) for argument in sys.argv[1:]]
compute = int(os.environ.get("GPUPOOL_BENCH_COMPUTE", "100"))
with pool_factory(compute=compute) as factory:
    pipeline = Pipeline(factory, packaged_models())
    list(read_ahead(pipeline.read, pages_of(paths[:1])))
    last = time.perf_counter()
    for outcome in read_ahead(pipeline.read, pages_of(paths)):
        if isinstance(outcome, BadFile):
            raise SystemExit(str(outcome.error))
        now = time.perf_counter()
        lines = outcome.text.lines
        row = {
            "page": str(outcome.page.path),
            "seconds": now - last,
            "texts": [line.text for line in lines],
            "scores": [line.score for line in lines],
        }
        print(json.dumps(row, ensure_ascii=False), flush=True)
        last = now
