"""Models in this process, with ONNX Runtime: for comparison, and for hosts that have the hardware themselves."""

from __future__ import annotations

from typing import cast

from gpupool_ocr.sessions import Session


class LocalFactory:
    """Opens models on this host's CPU."""

    def open(self, model: bytes) -> Session:
        """Return a session on the CPU provider."""
        import onnxruntime

        return cast(Session, onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]))
