from __future__ import annotations

import mmap
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gpupool import shared_memory
from gpupool.gone import Gone, Silent
from gpupool.stream import Stream, is_wanted
from gpupool_wire.arena import ARENA_BYTES, Arena
from gpupool_wire.errors import RemoteProtocolError
from gpupool_wire.stream import SCRATCH_BYTES, Inflow, Outflow, laid_out

LARGE = os.urandom(3_000_000)


class Listener:
    """Who listens at an abstract name: the test's own process."""

    def __init__(self) -> None:
        self.name = f"gpupool-test-{secrets.token_hex(8)}"
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind("\0" + self.name)
        self._socket.listen()

    def connect(self, is_lost: Callable[[], bool] = lambda: False) -> tuple[Stream, socket.socket]:
        stream = Stream(self.name, os.getpid(), is_lost)
        return stream, self._socket.accept()[0]

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def listener() -> Iterator[Any]:
    listener = Listener()
    yield listener
    listener.close()


def echo(peer: socket.socket) -> None:
    inflow = Inflow()
    while nbytes := peer.recvmsg_into(inflow.room())[0]:
        for frames in inflow.took(nbytes):
            outflow = Outflow(laid_out(frames))
            while not outflow.is_done:
                outflow.sent(peer.sendmsg(outflow.views()))


def test_messages_of_any_size_go_there_and_back(listener: Any) -> None:
    stream, peer = listener.connect()
    with peer:
        thread = threading.Thread(target=echo, args=(peer,))
        thread.start()
        for frames in ([b"x"], [b"header", LARGE, b""], [b"a", b"b" * 5000]):
            stream.send(frames)
            assert list(map(bytes, stream.receive(None))) == frames
        stream.close()
        thread.join(5)


@pytest.fixture
def sharing(listener: Any) -> Iterator[tuple[Stream, socket.socket, Inflow]]:
    """A stream, its peer, and the peer's inflow, once both have mapped the same memory."""
    stream, peer = listener.connect()
    stream.offer()
    stream.send([b"greeting"])
    inflow = Inflow()
    room = inflow.room()
    nbytes, descriptors = socket.recv_fds(peer, SCRATCH_BYTES, 2)[:2]
    room[0][: len(nbytes)] = nbytes
    assert list(map(bytes, inflow.took(len(nbytes))[0])) == [b"greeting"]
    (fd,) = descriptors
    inflow.arena = Arena(mmap.mmap(fd, os.fstat(fd).st_size))
    os.close(fd)
    stream.accepted(len(inflow.arena))
    with peer:
        yield stream, peer, inflow
    stream.close()


def answered(peer: socket.socket, inflow: Inflow) -> list[bytes]:
    """Answer a message with itself; return what it was."""
    while not (messages := inflow.took(peer.recvmsg_into(inflow.room())[0])):
        pass
    (frames,) = messages
    peer.sendmsg(laid_out(frames, inflow.arena))
    return list(map(bytes, frames))


def test_large_frames_lie_in_shared_memory(sharing: tuple[Stream, socket.socket, Inflow]) -> None:
    stream, peer, inflow = sharing
    for said in ([b"header", LARGE, b"", LARGE[:100_000]], [b"h", LARGE[1:]]):
        stream.send(said)
        assert len(peer.recv(1000, socket.MSG_PEEK)) < 100
        assert answered(peer, inflow) == said
        assert list(map(bytes, stream.receive(None))) == said


def test_what_was_received_stays_when_the_memory_is_written_again(sharing: tuple[Stream, socket.socket, Inflow]) -> None:
    """Also behind the turn's back: a peer that writes late changes nothing that was taken."""
    stream, peer, inflow = sharing
    stream.send([b"h", LARGE])
    answered(peer, inflow)
    received = stream.receive(None)
    assert inflow.arena is not None
    inflow.arena.hold([b"", bytes(len(LARGE))])
    stream.close()
    del inflow.arena
    assert bytes(received[1]) == LARGE


@pytest.mark.parametrize("nbytes", [0, ARENA_BYTES - 1])
def test_memory_the_worker_did_not_map_is_not_used(listener: Any, nbytes: int) -> None:
    stream, peer = listener.connect()
    with peer:
        stream.offer()
        stream.send([b"greeting"])
        stream.accepted(nbytes)
        thread = threading.Thread(target=echo, args=(peer,))
        thread.start()
        assert bytes(stream.receive(None)[0]) == b"greeting"
        stream.send([b"h", LARGE])
        assert bytes(stream.receive(None)[1]) == LARGE
        stream.close()
        thread.join(5)


def test_without_memfd_tensors_stay_in_the_socket(listener: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    stream, peer = listener.connect()
    with peer:
        stream.offer()
        stream.send([b"greeting"])
        assert socket.recv_fds(peer, 1000, 1)[1] == []
    stream.close()


def test_shared_memory_cannot_shrink_and_leaves_no_descriptor(listener: Any) -> None:
    before = len(os.listdir("/proc/self/fd"))
    stream, peer = listener.connect()
    with peer:
        stream.offer()
        stream.send([b"greeting"])
        (fd,) = socket.recv_fds(peer, 1000, 1)[1]
        with pytest.raises(PermissionError):
            os.ftruncate(fd, 0)
        os.close(fd)
    stream.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_forked_child_has_none_of_the_memory(sharing: tuple[Stream, socket.socket, Inflow]) -> None:
    stream, peer, inflow = sharing
    child = os.fork()
    if child == 0:
        mapped = [line for line in Path("/proc/self/maps").read_text().splitlines() if "gpupool-arena" in line]
        os._exit(len(mapped) - 1)  # the peer's own, which is this process's as well here
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    stream.send([b"h", LARGE])
    assert answered(peer, inflow)[1] == LARGE


def test_nobody_there_is_gone() -> None:
    with pytest.raises(Gone, match="cannot be reached directly"):
        Stream("gpupool-nobody", os.getpid(), lambda: False)


def test_another_process_in_its_place_is_told_nothing(listener: Any) -> None:
    with pytest.raises(Gone, match="another process listens"):
        Stream(listener.name, os.getppid(), lambda: False)


def test_the_end_of_the_worker_is_noticed(listener: Any) -> None:
    stream, peer = listener.connect()
    peer.close()
    with pytest.raises(Gone, match="the connection broke"):
        stream.receive(None)
    with pytest.raises(Gone):
        stream.send([b"x"])
    stream.close()


def test_silence_ends_the_wait(listener: Any) -> None:
    stream, peer = listener.connect()
    with peer, pytest.raises(Silent, match="did not answer in time"):
        stream.receive(time.monotonic() + 0.1)
    stream.close()


@pytest.mark.parametrize("wait", [lambda stream: stream.receive(None), lambda stream: stream.send([LARGE * 3])])
def test_whoever_waits_for_a_worker_that_hangs_hears_that_the_link_is_lost(listener: Any, wait: Callable[[Any], Any]) -> None:
    lost = threading.Event()
    stream, peer = listener.connect(lost.is_set)
    threading.Timer(0.1, lost.set).start()
    with peer, pytest.raises(Gone, match="is lost"):
        wait(stream)
    stream.close()


def test_what_is_no_message_is_said_so(listener: Any) -> None:
    stream, peer = listener.connect()
    with peer:
        peer.sendall(b"\xff" * 8)
        with pytest.raises(RemoteProtocolError, match="frames arrived"):
            stream.receive(None)
    stream.close()


def test_a_forked_child_does_not_keep_it_open(listener: Any) -> None:
    stream, peer = listener.connect()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)  # lives on until the parent says otherwise
        os._exit(0)
    stream.close()
    peer.settimeout(5)
    with peer:
        assert peer.recv(1) == b""
    os.close(writer)
    os.close(reader)
    os.waitpid(child, 0)


def test_it_can_be_turned_off() -> None:
    assert is_wanted({})
    assert not is_wanted({"GPUPOOL_LOCAL_STREAM": "off"})
    assert shared_memory.is_wanted({})
    assert not shared_memory.is_wanted({"GPUPOOL_SHARED_MEMORY": "off"})
