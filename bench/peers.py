"""The recognition-shaped model behind the pool and behind mosec, against ONNX Runtime in process: requests/s, 1 and 8 callers.

    python -m venv FOLDER; FOLDER/bin/pip install mosec; python -m bench.peers --mosec FOLDER [--rounds 3] [--seconds 1.5]

mosec gets as many processes as there are cores, raw bytes as bodies and connections that stay open; nothing else is tuned.
It is no dependency of the project's, so it has an environment of its own, to which this one's ONNX Runtime is lent.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import socket
import subprocess
import sysconfig
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime as ort

import gpupool
from bench.client import CALLERS, OPTIONS, per_second
from bench.paired import run_paired
from bench.programs.recognition import CLASSES, STEPS, image, recognition

SERVER = Path(__file__).parent / "programs" / "mosec_server.py"
START_S = 60.0


class Mosec:
    """A client of the server: a connection for each thread."""

    def __init__(self, port: int, body: bytes) -> None:
        self._port = port
        self._body = body
        self._of_thread = threading.local()

    def __call__(self) -> np.ndarray:
        """Ask once."""
        connection = getattr(self._of_thread, "connection", None)
        if connection is None:
            connection = self._of_thread.connection = http.client.HTTPConnection("127.0.0.1", self._port)
        connection.request("POST", "/inference", self._body)
        answer = connection.getresponse()
        data = answer.read()
        if answer.status != 200:
            raise SystemExit(f"mosec answers {answer.status}: {data[:200]!r}")
        return np.frombuffer(data, np.float32).reshape(1, STEPS, CLASSES)


@contextlib.contextmanager
def mosec(folder: str) -> Iterator[Mosec]:
    """Run the server until the end of the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environ = {**os.environ, "PYTHONPATH": sysconfig.get_path("purelib")}
    command = [str(Path(folder) / "bin" / "python"), str(SERVER), "--port", str(port)]
    server = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + START_S
        while True:
            try:
                asked = Mosec(port, image().tobytes())
                asked()
                break
            except OSError:
                if time.monotonic() > until or server.poll() is not None:
                    raise
                time.sleep(0.1)
        yield asked
    finally:
        server.terminate()
        server.wait(20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mosec", required=True, help="the environment mosec was installed to")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5)
    arguments = parser.parse_args()
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    local, feed = ort.InferenceSession(recognition(), options), {"image": image()}
    with gpupool.embedded_pool() as pool, pool.slice(100, "1GiB", wait=10) as slice_, mosec(arguments.mosec) as peer:
        model = slice_.open_model(recognition(), OPTIONS)
        if not np.array_equal(peer(), model.run(feed)[0]):
            raise SystemExit("mosec and the pool return different results")
        for callers in CALLERS:
            contenders = {
                f"in process, {callers} callers": lambda: per_second(lambda _: local.run(None, feed), callers, arguments.seconds),  # noqa: B023
                f"the pool, {callers} callers": lambda: per_second(lambda _: model.run(feed), callers, arguments.seconds),  # noqa: B023
                f"mosec, {callers} callers": lambda: per_second(lambda _: peer(), callers, arguments.seconds),  # noqa: B023
            }
            for contender in contenders.values():
                contender()
            print(run_paired(contenders, arguments.rounds).table("calls/s"), flush=True)


if __name__ == "__main__":
    main()
