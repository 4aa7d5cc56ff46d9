"""Tensors of clients on the worker's own host in memory both have mapped, and memory no worker should map."""

from __future__ import annotations

import fcntl
import mmap
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpupool_agent import shared_memory
from gpupool_agent.shared_memory import mapped
from gpupool_agent.standalone import StandaloneWorker
from gpupool_wire import messages as m
from gpupool_wire.arena import ARENA_BYTES, Arena
from gpupool_wire.codec import encode
from gpupool_wire.errors import LimitExceeded
from gpupool_wire.stream import SHARED, laid_out
from tests.agent.worker.conftest import NearClient

X = np.arange(16, dtype=np.float32)
LARGE = np.arange(1_500_000, dtype=np.float32)


@pytest.fixture
def make_memory() -> Iterator[Any]:
    """Memory as a client makes it, or with something wrong with it; closed when the test is over."""
    made: list[int] = []

    def make(nbytes: int = ARENA_BYTES, flags: int = os.MFD_ALLOW_SEALING, seals: int = fcntl.F_SEAL_SHRINK) -> int:
        fd = os.memfd_create("test", flags)
        made.append(fd)
        os.ftruncate(fd, nbytes)
        if seals:
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
        return fd

    yield make
    for fd in made:
        os.close(fd)


def join_with(client: NearClient, ticket: bytes, descriptors: list[int]) -> m.Joined:
    """Join and offer memory."""
    join = laid_out(encode(m.Join(version=m.PROTOCOL_VERSION, ticket=ticket)))
    socket.send_fds(client.stream, [bytes(part) for part in join], descriptors)
    joined, _ = client.receive()
    assert isinstance(joined, m.Joined)
    if joined.arena_bytes:
        client.inflow.arena = Arena(mmap.mmap(descriptors[0], joined.arena_bytes))
    return joined


@pytest.fixture
def sharing(near: Any, make_memory: Any) -> Any:
    """Make clients of one link, each of which shares memory with the worker."""

    def make() -> NearClient:
        client: NearClient = near(joined=False)
        assert join_with(client, near.ticket, [make_memory()]).arena_bytes == ARENA_BYTES
        return client

    make.near = near  # type: ignore[attr-defined]
    return make


def arenas_of(worker: StandaloneWorker) -> int:
    return Path(f"/proc/{worker.pid}/maps").read_text().count("memfd:test")


@pytest.mark.parametrize("x", [X, LARGE, np.tile(LARGE, 7)], ids=["small", "large", "more than there is room for"])
def test_a_call_gives_what_it_gives_in_the_socket(sharing: Any, models: Any, x: Any) -> None:
    client = sharing()
    session_id = client.open(models.doubling()).session_id
    for _ in range(3):
        (y,) = client.run(session_id, {"x": x})
        assert np.array_equal(y, x + x)


def test_large_tensors_do_not_go_through_the_socket(sharing: Any, models: Any) -> None:
    client = sharing()
    session_id = client.open(models.doubling()).session_id
    client.send_run(session_id, {"x": LARGE})
    client.stream.recv(1, socket.MSG_PEEK)
    assert len(client.stream.recv(LARGE.nbytes, socket.MSG_PEEK)) < 1000
    assert np.array_equal(client.result()[0], LARGE + LARGE)


def test_what_a_client_writes_out_of_its_turn_changes_no_tensor_that_was_taken(
    sharing: Any, models: Any, shared_worker: StandaloneWorker
) -> None:
    """Its call waits for the slice's turn, and it scribbles meanwhile."""
    client = sharing()
    session_id = client.open(models.doubling()).session_id
    shared_worker.allow(grants=False)
    try:
        client.send_run(session_id, {"x": LARGE})
        client.send(m.Ping(call_id=9))
        assert isinstance(client.receive()[0], m.Pong)  # so the call was heard before
        client.inflow.arena.hold([b"", bytes(LARGE.nbytes)])
    finally:
        shared_worker.allow(grants=True)
    assert np.array_equal(client.result()[0], LARGE + LARGE)


@pytest.mark.parametrize("offset", [ARENA_BYTES, ARENA_BYTES - 99, 2**32 - 1])
def test_a_frame_that_lies_elsewhere_ends_the_stream_and_nothing_else(sharing: Any, models: Any, offset: int) -> None:
    liar, other = sharing(), sharing()
    liar.stream.sendall(struct.pack("<4I", 2, 1, SHARED | 100, offset))
    answer, _ = liar.receive()
    assert isinstance(answer, m.Failed)
    assert "is said to lie at" in answer.error.message
    with pytest.raises(EOFError):
        liar.receive()
    assert np.array_equal(other.run(other.open(models.doubling()).session_id, {"x": LARGE})[0], LARGE + LARGE)


def test_a_client_that_dies_in_mid_call_leaves_no_memory_behind(
    sharing: Any, models: Any, shared_worker: StandaloneWorker, eventually: Any
) -> None:
    before = arenas_of(shared_worker)
    dying, other = sharing(), sharing()
    session_id = other.open(models.doubling()).session_id
    dying.send_run(session_id, {"x": LARGE})
    dying.close()
    other.close()
    eventually(lambda: arenas_of(shared_worker) == before)
    assert np.array_equal(sharing.near.first.run(session_id, {"x": X})[0], X + X)


@pytest.mark.parametrize("what", ["not sealed", "too large", "of huge pages", "a file", "sealed against writing", "empty"])
def test_memory_that_is_not_fit_is_not_mapped(near: Any, make_memory: Any, models: Any, what: str, tmp_path: Path) -> None:
    match what:
        case "not sealed":
            fd = make_memory(seals=0)
        case "too large":
            fd = make_memory(ARENA_BYTES + mmap.PAGESIZE)
        case "of huge pages":
            fd = make_memory(2**25, os.MFD_ALLOW_SEALING | os.MFD_HUGETLB)
        case "a file":
            fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
            os.ftruncate(fd, ARENA_BYTES)
        case "sealed against writing":
            fd = make_memory(seals=fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_WRITE)
        case "empty":
            fd = make_memory(0)
    client = near(joined=False)
    assert join_with(client, near.ticket, [fd]).arena_bytes == 0
    assert np.array_equal(client.run(client.open(models.doubling()).session_id, {"x": LARGE})[0], LARGE + LARGE)
    if what == "a file":
        os.close(fd)


def test_descriptors_nobody_asked_for_are_closed(near: Any, make_memory: Any, shared_worker: StandaloneWorker) -> None:
    before = len(os.listdir(f"/proc/{shared_worker.pid}/fd"))
    client = near(joined=False)
    shared = bool(join_with(client, near.ticket, [make_memory() for _ in range(5)]).arena_bytes)
    client.usage()
    assert len(os.listdir(f"/proc/{shared_worker.pid}/fd")) == before + 1 + shared  # the stream's own, and that of a mapping
    socket.send_fds(client.stream, [b"".join(map(bytes, laid_out(encode(m.Ping(call_id=7)))))], [make_memory()])
    assert isinstance(client.receive()[0], m.Pong)
    assert len(os.listdir(f"/proc/{shared_worker.pid}/fd")) == before + 1 + shared


def test_a_stranger_has_nothing_mapped(near: Any, make_memory: Any, shared_worker: StandaloneWorker) -> None:
    before = arenas_of(shared_worker)
    stranger = near(joined=False)
    join = laid_out(encode(m.Join(version=m.PROTOCOL_VERSION, ticket=b"?" * 32)))
    socket.send_fds(stranger.stream, [bytes(part) for part in join], [make_memory()])
    assert isinstance(stranger.receive()[0], m.Failed)
    assert arenas_of(shared_worker) == before


def test_all_arenas_together_are_bounded(make_memory: Any) -> None:
    assert len(mapped(make_memory(), ARENA_BYTES)) == ARENA_BYTES
    with pytest.raises(LimitExceeded, match=f"{ARENA_BYTES - 1} may be mapped"):
        mapped(make_memory(), ARENA_BYTES - 1)
    assert shared_memory.MAX_SHARED_BYTES >= 32 * ARENA_BYTES  # every channel of one client
