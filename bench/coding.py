"""How fast tensors are coded and decoded on one core, and how small they get, on what readers feed their models with.

    python -m bench.coding [--pages N]

Tensors are those that RapidOCR and the pool's reader give their models for receipts, and the largest outputs they get back; every
coding is checked bit for bit. Speeds are of the tensor as it is in memory, the best of five.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.ocr import DATA
from gpupool_wire.coding import Coder
from gpupool_wire.coding.choice import Choice, Method
from gpupool_wire.tensors import pack_tensor, unpack_tensor

TIMES = 5


class Fixed(Choice):
    """Always the same method, where it can be had."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self._method = method

    def best(self, methods: Any, link_ns: float) -> Method:
        return self._method if self._method in methods else Method.RAW


class Figure(NamedTuple):
    """What one coding did to one tensor: bytes raw and coded, seconds."""

    raw: int
    coded: int
    encode_s: float
    decode_s: float


@contextmanager
def caught() -> Iterator[dict[str, list[np.ndarray]]]:
    """Collect what every ONNX Runtime session is fed with and gives back meanwhile, by kind."""
    import onnxruntime

    tensors: dict[str, list[np.ndarray]] = defaultdict(list)
    run = onnxruntime.InferenceSession.run

    def watched(session: Any, names: Any, feed: Any, *rest: Any) -> Any:
        results = run(session, names, feed, *rest)
        for way, values in (("in", feed.values()), ("out", results)):
            for value in values:
                if isinstance(value, np.ndarray) and value.nbytes > 65_536:
                    tensors[f"{value.dtype} {value.ndim}-d {way}"].append(np.array(value))
        return results

    onnxruntime.InferenceSession.run = watched
    try:
        yield tensors
    finally:
        onnxruntime.InferenceSession.run = run


def best_of(act: Callable[[], Any]) -> tuple[float, Any]:
    least, result = float("inf"), None
    for _ in range(TIMES):
        start = time.perf_counter()
        result = act()
        least = min(least, time.perf_counter() - start)
    return least, result


def measure(tensor: np.ndarray, method: Method) -> Figure | None:
    """Return what a method does to a tensor; None where it cannot."""
    coder = Coder(time.perf_counter_ns)
    coder._choice = Fixed(method)
    encode_s, (spec, frames) = best_of(lambda: coder.pack(tensor, 1))
    if spec.coding != method:
        return None
    frames = [bytes(frame) for frame in frames]
    decode_s, back = best_of(lambda: unpack_tensor(spec, frames))
    if back.tobytes() != tensor.tobytes():
        raise SystemExit(f"{method} changed a tensor of {tensor.dtype}{tensor.shape}")
    return Figure(tensor.nbytes, spec.nbytes, encode_s, decode_s)


def report(kind: str, tensors: list[np.ndarray]) -> None:
    for method in list(Method)[1:]:
        figures = [figure for tensor in tensors if (figure := measure(tensor, method)) is not None]
        if not figures:
            continue
        raw, coded, encode_s, decode_s = (sum(column) for column in zip(*figures, strict=True))
        print(
            f"{kind:22} {method:14} {len(figures):4} of {len(tensors):3}  {raw / 1e6:8.1f} MB  ratio {coded / raw:6.3f}  "
            f"in {raw / encode_s / 1e9:5.2f} GB/s  out {raw / decode_s / 1e9:5.2f} GB/s",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=2)
    pages = sorted((DATA / "receipts/img").glob("*.jpg"))[: parser.parse_args().pages]
    from rapidocr import RapidOCR

    from gpupool_ocr.local import LocalFactory
    from gpupool_ocr.models import packaged_models
    from gpupool_ocr.pages import load_pages
    from gpupool_ocr.pipeline import Pipeline

    for name, read in (("RapidOCR", RapidOCR()), ("gpupool ocr", Pipeline(LocalFactory(), packaged_models()).read)):
        with caught() as tensors:
            for page in pages:
                for sheet in load_pages(Path(page)):
                    read(sheet.image)
        print(f"── {name}, {len(pages)} receipts")
        for kind, found in sorted(tensors.items()):
            report(kind, [tensor for tensor in found if tensor.nbytes < 1 << 25][:24])
    zeros = np.zeros(1 << 24, np.float32)
    seconds, _ = best_of(lambda: pack_tensor(zeros))
    print(
        f"raw: {seconds * 1e6:.0f} us whatever the size; copying 64 MiB: {zeros.nbytes / best_of(zeros.copy)[0] / 1e9:.1f} GB/s"
    )


if __name__ == "__main__":
    main()
