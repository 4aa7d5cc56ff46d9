"""Models on a slice of the pool: the one module of this application that knows gpupool."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Protocol, cast

from gpupool_ocr.sessions import HeldSlice, Session, SliceWish
from gpupool_wire.errors import UsageError

#: Detection, recognition and direction weights (33 MB), their activations for the largest page, and room to breathe.
DEFAULT_MEMORY = "2GiB"
#: Where nobody else is on the device, the OCR application may use all of it.
DEFAULT_COMPUTE = 100
#: What a program that was killed held is free again within seconds.
DEFAULT_WAIT_S = 10.0


class _Slice(Protocol):
    @property
    def slice_id(self) -> str: ...

    @property
    def node(self) -> str: ...

    @property
    def device(self) -> str: ...

    def inference_session(self, model: bytes) -> object: ...

    def release(self) -> None: ...


class PoolFactory:
    """Opens models on one slice, which is taken with the first of them, and holds others of the same pool. Thread-safe."""

    def __init__(self, take: Callable[[], _Slice], ask: Callable[[SliceWish], _Slice] | None = None) -> None:
        """`ask` asks the pool for another slice; None where the program was given one and has no pool."""
        self._take, self._ask = take, ask
        self._slice: _Slice | None = None
        self._lock = threading.Lock()

    def open(self, model: bytes) -> Session:
        """Return a session that runs on the slice."""
        with self._lock:
            if self._slice is None:
                self._slice = self._take()
        return cast(Session, self._slice.inference_session(model))

    def hold(self, wish: SliceWish) -> HeldSlice:
        """Return another slice. Raises UsageError where the program was given the one it has, SliceRefused."""
        if self._ask is None:
            raise UsageError(
                f"{wish.label} asks for a slice, and `gpupool run` gave this program the one it has: start it itself"
            )
        held = self._ask(wish)
        where = f"{held.node}/{held.device}, slice {held.slice_id}"
        return HeldSlice(factory=PoolFactory(lambda: held), where=where, release=held.release)


@contextmanager
def pool_factory(
    *, compute: int = DEFAULT_COMPUTE, memory: str = DEFAULT_MEMORY, wait_s: float = DEFAULT_WAIT_S
) -> Iterator[PoolFactory]:
    """Have a slice of the pool at GPUPOOL_URL, else of the embedded one (started and stopped if need be).

    It is taken with the first model: whoever runs them all on slices held besides needs none.
    Inside `gpupool run` the slice that was made for the program is used.
    """
    import gpupool

    def ask(wish: SliceWish) -> _Slice:
        return pool.slice(wish.compute, wish.memory, wait=wait_s, label=wish.label, labels=wish.labels, models=wish.gpus)

    if "GPUPOOL_SLICE" in os.environ:
        yield PoolFactory(gpupool.current_slice)
        return
    with gpupool.embedded_pool() as pool, ExitStack() as stack:
        yield PoolFactory(lambda: stack.enter_context(pool.slice(compute=compute, memory=memory, wait=wait_s, label="ocr")), ask)
