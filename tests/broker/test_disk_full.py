"""No room for a commit: nothing is acknowledged that is not stored, the broker lives on, and grants again once there is room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from gpupool_wire import messages as m

pytestmark = pytest.mark.system

DISK_BYTES = 2 * 1024 * 1024


class Tmpfs:
    """A file system of two megabytes; filled by a file beside the database."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, _broker: Any) -> None:
        free = os.statvfs(self.folder).f_bavail * os.statvfs(self.folder).f_frsize
        (self.folder / "ballast").write_bytes(b"\1" * free)

    def make_room(self, _broker: Any) -> None:
        (self.folder / "ballast").unlink()


class FileLimit:
    """The broker's own files may not grow any more (RLIMIT_FSIZE): needs no rights."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, broker: Any) -> None:
        # To the byte: a file that is overwritten at its beginning would not notice.
        wal = self.folder / "broker.sqlite-wal"
        psutil.Process(broker.process.pid).rlimit(psutil.RLIMIT_FSIZE, (wal.stat().st_size, psutil.RLIM_INFINITY))

    def make_room(self, broker: Any) -> None:
        psutil.Process(broker.process.pid).rlimit(psutil.RLIMIT_FSIZE, (psutil.RLIM_INFINITY, psutil.RLIM_INFINITY))


@contextmanager
def mounted(folder: Path) -> Iterator[Path]:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root may mount a small file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(params=[Tmpfs, FileLimit])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    folder = tmp_path / "disk"
    if request.param is FileLimit:
        folder.mkdir()
        yield FileLimit(folder)
    else:
        with mounted(folder):
            yield Tmpfs(folder)


def ask_for(call_id: int) -> m.RequestSlice:
    return m.RequestSlice(call_id=call_id, request_id=f"r{call_id}", compute_pct=1, memory_mib=1, kind="null", hold="held")  # type: ignore[arg-type]


def test_a_full_disk_refuses_and_room_heals(
    start_broker: Callable[..., Any], agent: Callable[..., Any], client: Callable[..., Any], disk: Any, tmp_path: Path
) -> None:
    database = ("--database", f"sqlite:///{disk.folder}/broker.sqlite")
    broker = start_broker(tmp_path / "home", *database)
    node, app = agent(broker), client(broker)
    granted = {app.ask(ask_for(call_id)).slice_id for call_id in range(1, 6)}

    disk.fill(broker)
    refused = []
    for call_id in range(6, 60):
        node.send(m.Beat(seq=call_id))
        answer = app.ask(ask_for(call_id))
        if isinstance(answer, m.Failed):
            refused.append((call_id, answer.error))
        else:
            granted.add(answer.slice_id)
        if len(refused) == 5:
            break
    assert [error.code for _, error in refused] == ["store"] * 5
    assert "full" in refused[0][1].message or "disk I/O" in refused[0][1].message
    assert {row["slice_id"] for row in broker.rest("GET", "/api/v1/slices")[1]} == granted
    assert broker.process.poll() is None
    assert broker.rest("GET", "/healthz", token=None)[0] == 200

    disk.make_room(broker)
    node.send(m.Beat(seq=100))
    again = app.ask(ask_for(refused[0][0]))
    assert isinstance(again, m.SliceGranted), again
    granted.add(again.slice_id)

    broker.kill()
    restarted = start_broker(broker.home, *database)
    assert {row["slice_id"] for row in restarted.rest("GET", "/api/v1/slices")[1]} == granted
    welcome = agent(restarted, credential=node.welcome.credential).welcome
    assert {slice_.slice_id for slice_ in welcome.slices} == granted
