from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gpupool.gone import Gone, Silent
from gpupool.stream import Stream, is_wanted
from gpupool_wire.errors import RemoteProtocolError
from gpupool_wire.stream import Inflow, Outflow

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
            outflow = Outflow(frames)
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
