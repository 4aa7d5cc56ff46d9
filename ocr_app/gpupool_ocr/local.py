"""Models in this process, with ONNX Runtime: for comparison, and for hosts that have the hardware themselves."""

from __future__ import annotations

from typing import cast

from gpupool_ocr.sessions import HeldSlice, Session, SliceWish
from gpupool_wire.errors import UsageError


class LocalFactory:
    """Opens models on this host's CPU."""

    def open(self, model: bytes) -> Session:
        """Return a session on the CPU provider. Raises UsageError where ONNX Runtime is not installed."""
        try:
            import onnxruntime
        except ImportError as error:
            raise UsageError("reading in this process needs ONNX Runtime: install gpupool[cpu]") from error
        return cast(Session, onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]))

    def hold(self, wish: SliceWish) -> HeldSlice:
        """Refuse: there is no pool. Raises UsageError."""
        raise UsageError(f"{wish.label} asks for a slice of the pool, and models run in this process: start without --local")
