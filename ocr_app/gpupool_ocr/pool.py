"""Models on a slice of the pool: the one module of this application that knows gpupool."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, cast

from gpupool_ocr.sessions import Session

#: Detection, recognition and direction weights (33 MB), their activations for the largest page, and room to breathe.
DEFAULT_MEMORY = "2GiB"
#: Where nobody else is on the device, the OCR application may use all of it.
DEFAULT_COMPUTE = 100
#: What a program that was killed held is free again within seconds.
DEFAULT_WAIT_S = 10.0


class _Slice(Protocol):
    def inference_session(self, model: bytes) -> object: ...


@dataclass(frozen=True, slots=True)
class PoolFactory:
    """Opens models on one slice."""

    slice: _Slice

    def open(self, model: bytes) -> Session:
        """Return a session that runs on the slice."""
        return cast(Session, self.slice.inference_session(model))


@contextmanager
def pool_factory(
    *, compute: int = DEFAULT_COMPUTE, memory: str = DEFAULT_MEMORY, wait_s: float = DEFAULT_WAIT_S
) -> Iterator[PoolFactory]:
    """Hold a slice of the pool at GPUPOOL_URL, else of the embedded one (started and stopped if need be).

    Inside `gpupool run` the slice that was made for the program is used.
    """
    import gpupool

    if "GPUPOOL_SLICE" in os.environ:
        yield PoolFactory(gpupool.current_slice())
        return
    with gpupool.embedded_pool() as pool, pool.slice(compute=compute, memory=memory, wait=wait_s, label="ocr") as slice_:
        yield PoolFactory(slice_)
