"""The service's end of a plug-in: processes that are started, asked, and replaced when they fail."""

from __future__ import annotations

import contextlib
import queue
import socket
import subprocess
import sys
from typing import NoReturn

import msgspec

from gpupool_ocr.plans.spec import PluginSpec
from gpupool_ocr.plugins.frames import Answer, FrameError, Question, receive, send
from gpupool_wire.errors import GpupoolError

#: Importing a large library takes seconds, not half a minute.
START_S = 30.0
#: A process that was asked to end gets so long.
ENDING_S = 2.0
#: What a plug-in may say of one page.
MAX_ANSWER_BYTES = 4 << 20


class PluginError(GpupoolError):
    """The plug-in failed."""

    code = "plugin"
    http_status = 502


class PluginTimeout(PluginError):
    """The plug-in took longer than it may."""

    code = "plugin_timeout"
    http_status = 504


class PluginCrashed(PluginError):
    """The plug-in's process ended in the middle of a call."""

    code = "plugin_crashed"


class PluginNonsense(PluginError):
    """The plug-in answered something that is no answer."""

    code = "plugin_nonsense"


class PluginProcess:
    """One process of one plug-in. One call at a time."""

    def __init__(self, name: str, spec: PluginSpec) -> None:
        self._name = f"plug-in {name!r} {spec.version}"
        self._spec = spec
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        #: How often a process had to be started.
        self.starts = 0

    @property
    def pid(self) -> int | None:
        """The process that would be asked next, if there is one."""
        return self._process.pid if self._process else None

    def start(self) -> socket.socket:
        """Start the process unless it runs; return our end. Raises PluginError where its function cannot be imported."""
        if self._channel is not None and self._process is not None and self._process.poll() is None:
            return self._channel
        self.stop()
        ours, theirs = socket.socketpair()
        with theirs:
            options = msgspec.json.encode(self._spec.options).decode()
            command = [sys.executable, "-m", "gpupool_ocr.plugins.child", str(theirs.fileno()), self._spec.call, options]
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter; what it imports is the snapshot's word
                [*command, str(self._spec.memory_mib)],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        self._channel = ours
        self.starts += 1
        answer = self._answer(ours, START_S)
        if not answer.is_ready:
            self.stop()
            raise PluginError(f"{self._name} cannot be loaded from {self._spec.call!r}: {answer.error}")
        return ours

    def call(self, question: Question) -> Answer:
        """Return what the plug-in says of a page. Raises PluginError; a process that failed is replaced before the next call."""
        channel = self.start()
        try:
            send(channel, question)
        except OSError:
            self._crashed()
        answer = self._answer(channel, self._spec.timeout_s)
        if answer.error is not None:
            raise PluginError(f"{self._name} raised {answer.error}")
        return answer

    def stop(self) -> None:
        """End the process. Idempotent."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answer(self, channel: socket.socket, timeout_s: float) -> Answer:
        try:
            payload = receive(channel, timeout_s, limit=MAX_ANSWER_BYTES)
            return msgspec.msgpack.decode(payload, type=Answer)
        except TimeoutError:
            self.stop()
            raise PluginTimeout(
                f"{self._name} did not answer within {timeout_s:g} s and was stopped", timeout_s=timeout_s
            ) from None
        except (EOFError, ConnectionError):
            self._crashed()
        except (FrameError, msgspec.DecodeError, OSError) as error:
            self.stop()
            raise PluginNonsense(f"{self._name} answered what is no answer: {error}") from error

    def _crashed(self) -> NoReturn:
        status = None
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self._process.wait(ENDING_S)
        self.stop()
        how = "was killed" if status is None else f"ended by signal {-status}" if status < 0 else f"ended with status {status}"
        raise PluginCrashed(f"the process of {self._name} {how} in the middle of a call")


class PluginGroup:
    """So many processes of one plug-in. Thread-safe."""

    def __init__(self, name: str, spec: PluginSpec, replicas: int) -> None:
        self.name = name
        self.spec = spec
        self._all = [PluginProcess(name, spec) for _ in range(replicas)]
        self._free: queue.SimpleQueue[PluginProcess] = queue.SimpleQueue()
        for process in self._all:
            self._free.put(process)

    def __repr__(self) -> str:
        return f"<PluginGroup {self.name} {self.spec.version}: {self._free.qsize()} of {len(self._all)} free>"

    @property
    def restarts(self) -> int:
        """How many processes had to be replaced."""
        return sum(max(0, process.starts - 1) for process in self._all)

    @property
    def pids(self) -> list[int]:
        """The processes that run."""
        return [process.pid for process in self._all if process.pid is not None]

    def warm(self) -> None:
        """Start every process. Raises PluginError."""
        for process in self._all:
            process.start()

    def call(self, question: Question) -> Answer:
        """Ask a free process, waiting for one. Raises PluginError."""
        process = self._free.get()
        try:
            return process.call(question)
        finally:
            self._free.put(process)

    def stop(self) -> None:
        """End every process, those that are being asked, too."""
        for process in self._all:
            process.stop()
