"""A worker without an agent or a broker: the other end of its channel, which grants every quantum at once.

    with StandaloneWorker(folder, kind="cpu", memory_mib=512) as worker:
        ticket = worker.admit("link-1")      # join worker.address with it

For tests and benchmarks of the data path alone: real worker process, real socket, no policy.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from gpupool_agent.channel import (
    Admit,
    Alive,
    Change,
    ChannelClosed,
    Fault,
    Grant,
    Ready,
    Settle,
    Start,
    Stop,
    ToAgent,
    ToWorker,
    Want,
)
from gpupool_agent.supervisor import Supervisor
from gpupool_wire.errors import ErrorInfo, WorkerLost, from_info
from gpupool_wire.units import Policy

T = TypeVar("T", bound=ToAgent)
#: One quantum, as long as an agent's usual ones.
QUANTUM_NS = 30_000_000
#: A worker imports onnxruntime before it is ready: seconds on a busy machine.
READY_S = 30.0


class StandaloneWorker:
    """One worker process and a thread that answers it. `heard` is all it said, except Want, Settle and Alive."""

    def __init__(
        self,
        folder: Path,
        *,
        kind: str = "cpu",
        memory_mib: int = 1024,
        tenant: str = "default",
        threads: int = 0,
        quantum_ns: int = QUANTUM_NS,
        cache_dir: Path | None = None,
        cache_bytes: int = 8 * 1024**3,
        encrypt: bool = False,
    ) -> None:
        self._quantum_ns = quantum_ns
        self._supervisor = Supervisor(folder / "scratch")
        self._start = Start(
            slice_id="standalone",
            tenant=tenant,
            node="here",
            device=f"{kind}0",
            kind=kind,
            memory_mib=memory_mib,
            compute_pct=100,
            policy=Policy.FIXED,
            cache_dir=str(cache_dir or folder / "models"),
            cache_bytes=cache_bytes,
            scratch_dir=str(folder),
            threads=threads,
            encrypt=encrypt,
        )
        self.heard: list[ToAgent] = []
        self.settled: list[Settle] = []
        self.beats = 0
        #: Grants are withheld while this is False.
        self.grants = True
        self._changed = threading.Condition()
        self._wants = False
        self._seq = 0
        self._is_over = False

    def __enter__(self) -> StandaloneWorker:
        self._worker = self._supervisor.start(self._start, {}, time.monotonic_ns())
        self._thread = threading.Thread(target=self._answer, name="standalone-agent", daemon=True)
        self._thread.start()
        try:
            self.ready = self.wait_for(Ready, timeout_s=READY_S)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def address(self) -> str:
        """Where clients join."""
        return self.ready.address

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._worker.pid

    @property
    def is_running(self) -> bool:
        """Whether the worker's process is still there."""
        return self._worker.process.poll() is None

    def admit(self, link_id: str, *, holder: bool = False) -> bytes:
        """Let a link in; return the ticket its channels join with."""
        ticket = os.urandom(32)
        self.tell(Admit(ticket=ticket, link_id=link_id, holder=holder))
        return ticket

    def change(self, *, compute_pct: int = 100, memory_mib: int, deadline_ms: int = 0, seq: int = 0) -> None:
        """Resize the slice."""
        self.tell(Change(compute_pct=compute_pct, memory_mib=memory_mib, deadline_ms=deadline_ms, seq=seq))

    def tell(self, message: ToWorker) -> None:
        """Send any message of an agent."""
        self._worker.end.send(message)

    def allow(self, grants: bool) -> None:
        """Withhold grants, or give them again, also the one that is wanted meanwhile."""
        with self._changed:
            self.grants = grants
            self._grant()

    def wait_for(self, kind: type[T], *, matches: Callable[[T], bool] = lambda _: True, timeout_s: float = 10.0) -> T:
        """Return the first message of a kind that matches; raise WorkerLost where the worker ends or stays silent."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while True:
                for message in self.heard:
                    if isinstance(message, kind) and matches(message):
                        return message
                    if isinstance(message, Fault):
                        raise from_info(message.error)
                if self._is_over or not self._changed.wait(deadline - time.monotonic()):
                    raise WorkerLost(f"the worker said no {kind.__name__}; it said {self.heard}")

    def wait_for_want(self, timeout_s: float = 10.0) -> None:
        """Return once a call waits for a grant that is withheld; raise WorkerLost where none does."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._wants, timeout_s):
                raise WorkerLost("no call waits for a grant")

    @property
    def holds_grant(self) -> bool:
        """Whether a grant is out that the worker has not settled."""
        with self._changed:
            return len(self.settled) < self._seq

    def hang_up(self) -> None:
        """Close the agent's end of the channel, as an agent that dies does."""
        self._worker.end.close()

    def stop(self, error: ErrorInfo | None = None) -> int:
        """Stop the worker in order; return its exit status."""
        with contextlib.suppress(ChannelClosed):
            self.tell(Stop(error=error))
        return self._worker.process.wait(READY_S)

    def close(self) -> None:
        """Stop the worker, whatever state it is in, and remove its scratch folder."""
        try:
            self.stop()
        finally:
            if self.is_running:
                self._worker.process.kill()
            self._thread.join(READY_S)
            self._supervisor.closed(self._worker, time.monotonic_ns())
            self._worker.process.wait(READY_S)
            self._supervisor.reap(time.monotonic_ns())

    def _answer(self) -> None:
        """Grant what is wanted; keep the rest."""
        poll = select.poll()
        poll.register(self._worker.end.fileno(), select.POLLIN)
        while True:
            poll.poll(200)
            try:
                message = self._worker.end.receive()
            except ChannelClosed:
                with self._changed:
                    self._is_over = True
                    self._changed.notify_all()
                return
            if message is not None:
                with self._changed:
                    self._take(message)

    def _take(self, message: ToAgent) -> None:
        match message:
            case Want():
                self._wants = True
            case Settle():
                self.settled.append(message)
                self._wants = message.more
            case Alive():
                self.beats += 1
            case _:
                self.heard.append(message)
        self._grant()
        self._changed.notify_all()

    def _grant(self) -> None:
        if self._wants and self.grants:
            self._wants = False
            self._seq += 1
            with contextlib.suppress(ChannelClosed):
                self.tell(Grant(seq=self._seq, quantum_ns=self._quantum_ns))
