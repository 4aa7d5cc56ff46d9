"""The recognition-shaped model behind mosec, with raw bytes as bodies: python mosec_server.py --port PORT."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from mosec import Server, Worker

# Run as a script, from anywhere.
sys.path.insert(0, str(Path(__file__).parents[2]))
from bench.programs.recognition import SHAPE, recognition


class Recognition(Worker):
    """One process with one thread of ONNX Runtime, as a worker of the pool has it."""

    def __init__(self) -> None:
        super().__init__()
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(recognition(), options)

    def deserialize(self, data: bytes) -> Any:
        return np.frombuffer(data, np.float32).reshape(SHAPE)

    def forward(self, data: Any) -> Any:
        return self._session.run(None, {"image": data})[0]

    def serialize(self, data: Any) -> bytes:
        return bytes(data.tobytes())


if __name__ == "__main__":
    server = Server()
    server.append_worker(Recognition, num=os.cpu_count() or 1)
    server.run()
