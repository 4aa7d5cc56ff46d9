"""An unmodified RapidOCR program: reads the pages named on its command line, prints one JSON line a page.

It knows nothing of gpupool. The first page is read twice, so that opening models is not counted.
"""

import json
import sys
import time

from rapidocr import RapidOCR

engine = RapidOCR()
pages = sys.argv[1:]
engine(pages[0])
for page in pages:
    start = time.perf_counter()
    result = engine(page)
    seconds = time.perf_counter() - start
    texts = list(result.txts or ())
    scores = [float(score) for score in result.scores or ()]
    print(json.dumps({"page": page, "seconds": seconds, "texts": texts, "scores": scores}, ensure_ascii=False), flush=True)
