"""A connection to a worker on the same host: a Unix socket, which the calling thread writes to and reads from itself.

ZeroMQ hands every message to a thread of its own and takes it back from there, at both ends: four wake-ups a round trip, most of
what a small call costs. Here there are none. What ZeroMQ's thread is for (to notice a host that is silent) the link's first
channel still does, which stays on ZeroMQ. Large tensors lie in memory that both have mapped, where that can be had: each is
copied into it once and out of it once, and what goes through the kernel is a few bytes that say so.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from gpupool import forks, shared_memory
from gpupool.gone import Gone, Silent
from gpupool_wire.arena import Arena
from gpupool_wire.errors import RemoteProtocolError
from gpupool_wire.spinning import CROWDED_NS, Spin
from gpupool_wire.stream import STREAM_BUFFER_BYTES, Inflow, Outflow, laid_out
from gpupool_wire.tensors import Buffer

#: How often a thread that waits for the worker looks whether the link is lost: a worker that hangs is still connected.
LOOK_S: Final = 0.05
#: A caller that is alone looks so long for its answer before it sleeps: small calls take less, others are not worth it.
SPIN_NS: Final = 250_000
#: "off" keeps every channel on ZeroMQ: to measure it, and for tests that stand between a client and its worker.
VARIABLE: Final = "GPUPOOL_LOCAL_STREAM"
#: Descriptors from here on select(2) cannot wait for; poll(2), as Python has it, counts in milliseconds.
_SELECTED: Final = 1024
_timeval = struct.Struct("@ll")
_credentials = struct.Struct("@iII")


def is_wanted(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether this process uses such connections where it can."""
    return environ.get(VARIABLE, "on").lower() not in ("off", "0", "no")


class Stream:
    """A Connection (see gpupool.line). Raises Gone where nobody, or somebody other than process `pid`, listens at `name`.

    `is_lost` says whether the link is lost, `is_alone` whether no other thread of this process waits for the worker.
    """

    def __init__(self, name: str, pid: int, is_lost: Callable[[], bool], is_alone: Callable[[], bool] = lambda: False) -> None:
        self.address = f"process {pid} on this host"
        self._is_lost = is_lost
        self._is_alone = is_alone
        self._spin = Spin(SPIN_NS)
        self._inflow = Inflow()
        self._arrived: deque[list[Buffer]] = deque()
        #: What goes with the first message, and what lies in memory once the worker has mapped it.
        self._offered: shared_memory.SharedMemory | None = None
        self._arena: Arena | None = None
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Also where a listener does not accept: there the queue of those who wait may be full.
            self._socket.settimeout(LOOK_S)
            self._socket.connect("\0" + name)
            self._check_peer(pid)
        except OSError as error:
            self._socket.close()
            raise Gone(f"{self.address} cannot be reached directly: {error}") from error
        self._socket.settimeout(None)
        # The kernel's own timeouts: Python's would ask with every message whether the socket is ready.
        timeout = _timeval.pack(0, int(LOOK_S * 1e6))
        for option, value in (
            (socket.SO_RCVTIMEO, timeout),
            (socket.SO_SNDTIMEO, timeout),
            (socket.SO_SNDBUF, STREAM_BUFFER_BYTES),
        ):
            self._socket.setsockopt(socket.SOL_SOCKET, option, value)
        forks.renew_after_fork(self)

    def __repr__(self) -> str:
        return f"<Stream to {self.address}>"

    def renew_in_child(self) -> None:
        """Let go of the parent's end in a forked child: as long as anybody has it, the worker does not see it close."""
        self._socket.close()
        self.accepted(0)
        self._arena = self._inflow.arena = None

    def offer(self) -> None:
        """Offer the worker memory to share, with the message that is sent next. Does nothing where there is none to be had."""
        with contextlib.suppress(OSError):
            self._offered = shared_memory.SharedMemory()

    def accepted(self, nbytes: int) -> None:
        """The worker has mapped so much of what it was offered: all of it, or it is not used."""
        offered, self._offered = self._offered, None
        if offered is None:
            return
        offered.close()
        if nbytes == len(offered.arena):
            self._arena = self._inflow.arena = offered.arena

    def _check_peer(self, pid: int) -> None:
        """Raise OSError where another process has taken the name after the worker's end."""
        told = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _credentials.size)
        if _credentials.unpack(told)[0] != pid:
            raise OSError("another process listens in its place")

    def send(self, parts: Sequence[Buffer]) -> None:
        """Write a message; waits while the worker takes nothing. Raises Gone where the worker or the link is."""
        outflow = Outflow(laid_out(parts, self._arena))
        passed = () if self._offered is None else self._offered.ancillary
        while not outflow.is_done:
            try:
                outflow.sent(self._socket.sendmsg(outflow.views(), passed, socket.MSG_NOSIGNAL))
            except BlockingIOError:
                self._look(None)
            except OSError as error:
                raise Gone(f"{self.address} is gone: {error}") from error
            else:
                passed = ()

    def receive(self, deadline: float | None) -> list[Buffer]:
        """Return the next message. Raises Gone, Silent after the deadline, RemoteProtocolError for what is no message."""
        if not self._arrived and self._is_alone():
            self._receive_alone(deadline)
        while not self._arrived:
            if not self._read(0):
                self._look(deadline)
        return self._arrived.popleft()

    def _receive_alone(self, deadline: float | None) -> None:
        """Wait where nobody else of this process does, so that looking for the answer keeps nobody from anything."""
        start_ns = time.monotonic_ns()
        if budget_ns := self._spin.budget_ns():
            self._watch(budget_ns)
        while not self._arrived:
            if not self._read(0):
                self._look(deadline)
        self._spin.took(time.monotonic_ns() - start_ns)

    def _read(self, flags: int) -> bool:
        """Read what there is; return False where nothing came in time."""
        room = self._inflow.room()
        if self._inflow.is_amid_large:
            # Else the kernel would hand over every piece as it comes, with Python's lock taken and given for each.
            flags = socket.MSG_WAITALL
        try:
            nbytes = self._socket.recv_into(room[0], 0, flags) if len(room) == 1 else self._socket.recvmsg_into(room, 0, flags)[0]
        except BlockingIOError:
            return False
        except OSError as error:
            raise Gone(f"{self.address} is gone: {error}") from error
        if not nbytes:
            raise Gone(f"{self.address} is gone: the connection broke")
        self._arrived += self._inflow.took(nbytes)
        return True

    def _watch(self, budget_ns: int) -> None:
        """Look for the answer without sleeping, as far as nobody else wants the core, about when it usually comes."""
        if self._naps(self._spin.nap_ns()):
            return
        now_ns = time.monotonic_ns()
        until_ns = now_ns + budget_ns
        while not self._read(socket.MSG_DONTWAIT):
            os.sched_yield()
            before_ns, now_ns = now_ns, time.monotonic_ns()
            if now_ns - before_ns > CROWDED_NS:
                self._spin.crowded()
                return
            if now_ns > until_ns:
                self._spin.missed()
                return
        self._spin.hit()

    def _naps(self, nap_ns: int) -> bool:
        """Sleep for so long at the most; return whether something has come before that."""
        if not nap_ns or self._socket.fileno() >= _SELECTED:
            return False
        return bool(select.select([self._socket], (), (), nap_ns / 1e9)[0])

    def _look(self, deadline: float | None) -> None:
        if self._is_lost():
            raise Gone(f"the link to {self.address} is lost") from None
        if deadline is not None and time.monotonic() >= deadline:
            raise Silent(f"{self.address} did not answer in time") from None

    def wait(self, wake_fd: int) -> bool:
        """Not for a connection that carries calls alone."""
        raise RemoteProtocolError(f"nothing arrives unasked from {self.address} (descriptor {wake_fd})")

    def close(self, last: Sequence[Buffer] = ()) -> None:
        """Close it, after sending `last` as far as that does not wait."""
        if last:
            with contextlib.suppress(OSError):
                self._socket.sendmsg(laid_out(last), (), socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
        self._socket.close()
        self.accepted(0)
