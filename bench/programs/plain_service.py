"""A plain recognition service, as one writes it in an afternoon: FastAPI, and so many RapidOCR engines with their defaults.

    python plain_service.py PORT ENGINES

It knows nothing of gpupool. Requests wait for a free engine in the order they came.
"""

import asyncio
import sys

import cv2
import numpy as np
import uvicorn
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from rapidocr import RapidOCR

app = FastAPI()
engines: asyncio.Queue[RapidOCR] = asyncio.Queue()


def read(engine: RapidOCR, content: bytes) -> dict:
    result = engine(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR))
    boxes = [] if result.boxes is None else result.boxes.tolist()
    return {"lines": [{"polygon": box, "text": text} for box, text in zip(boxes, result.txts or (), strict=True)]}


@app.post("/recognize")
async def recognize(request: Request) -> dict:
    content = await request.body()
    engine = await engines.get()
    try:
        return await run_in_threadpool(read, engine, content)
    finally:
        engines.put_nowait(engine)


@app.get("/readyz")
async def readyz() -> dict:
    return {"status": "ready"}


if __name__ == "__main__":
    for _ in range(int(sys.argv[2])):
        engines.put_nowait(RapidOCR())
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
