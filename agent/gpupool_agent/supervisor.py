"""Worker processes: started, told to stop, killed when they do not, reaped, and their scratch folders removed.

    start ──Popen──> running ──stop: Stop, 2 s──> dying ──exit, or SIGKILL──> reaped: scratch removed, Gone returned
                        └──────── channel closed: SIGKILL ────^

Only processes started here are ever signalled, by the handle of their own start. A worker is in a session of its own, so that a
Ctrl-C in the agent's terminal reaches it as a Stop; it ends with its agent, whose end of the channel closes.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from msgspec import structs

from gpupool_agent.channel import AgentEnd, ChannelClosed, Start, Stop, channel_pair
from gpupool_wire.errors import ErrorInfo, WorkerLost

log = logging.getLogger(__name__)

#: What a worker is started as; its channel's descriptor is added.
WORKER_COMMAND = (sys.executable, "-m", "gpupool_agent.worker")
#: A worker that was told to stop has this long to tell its clients and go.
GRACE_NS = 2_000_000_000
#: What of the agent's environment a worker sees. An allow-list: tokens and whatever else lies there stay with the agent.
PASSED_ON = frozenset({"PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "PYTHONPATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV"})
PASSED_ON_PREFIXES = ("CUDA_", "NVIDIA_", "OMP_", "OPENBLAS_", "MKL_")
#: glibc's malloc: large tensors are kept rather than given back and faulted in again at every call; few arenas, since a worker
#: has few threads that allocate.
MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "MALLOC_ARENA_MAX": "2",
}


@dataclass(slots=True, kw_only=True, eq=False)
class WorkerProcess:
    """One worker process. Compared by identity: a slice's next worker is another one."""

    slice_id: str
    device: str
    end: AgentEnd
    process: subprocess.Popen[bytes]
    scratch: Path
    started_ns: int
    #: Newest epoch of its slice, under which its use is booked, also after the slice has ended.
    epoch: int = 0
    #: When it is killed if it is still there; None while nobody wants it gone.
    killed_at_ns: int | None = None
    #: Whether whoever reads its channel has seen the end of it; only then may this end be closed.
    is_closed: bool = False

    @property
    def pid(self) -> int:
        """The process's id."""
        return self.process.pid


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """A worker has ended and nothing is left of it."""

    worker: WorkerProcess
    #: As a shell names it: negative for a signal.
    status: int


class Supervisor:
    """The agent's worker processes. Used by one thread."""

    def __init__(self, scratch_root: Path, command: tuple[str, ...] = WORKER_COMMAND) -> None:
        self._root = scratch_root
        self._command = command
        self._running: set[WorkerProcess] = set()
        self._dying: set[WorkerProcess] = set()
        # What an agent that was killed has left; its workers have ended with it.
        shutil.rmtree(scratch_root, ignore_errors=True)
        scratch_root.mkdir(parents=True, mode=0o700)

    def __len__(self) -> int:
        return len(self._running) + len(self._dying)

    @property
    def has_dying(self) -> bool:
        """Whether `reap` is worth calling soon."""
        return bool(self._dying)

    def start(self, start: Start, environment: Mapping[str, str], now_ns: int) -> WorkerProcess:
        """Start a worker for `start`, whose scratch folder is filled in here. Raises WorkerLost where the machine cannot."""
        scratch = Path(tempfile.mkdtemp(prefix="slice-", dir=self._root))
        end, theirs = channel_pair()
        try:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and module, no shell
                [*self._command, "--fd", str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                env=worker_environment(os.environ, environment, scratch),
                stdin=subprocess.DEVNULL,
                stdout=2,  # whatever a library prints belongs to the log
                start_new_session=True,
            )
        except OSError as error:
            end.close()
            shutil.rmtree(scratch, ignore_errors=True)
            raise WorkerLost(f"a worker for slice {start.slice_id} cannot be started: {error}") from error
        finally:
            theirs.close()
        worker = WorkerProcess(
            slice_id=start.slice_id, device=start.device, end=end, process=process, scratch=scratch, started_ns=now_ns
        )
        self._running.add(worker)
        with contextlib.suppress(ChannelClosed):  # dead already: noticed as the end of its channel
            end.send(structs.replace(start, scratch_dir=str(scratch)))
        return worker

    def stop(self, worker: WorkerProcess, error: ErrorInfo | None, now_ns: int) -> None:
        """Tell a worker to stop; it is killed after GRACE_NS."""
        if worker in self._running:
            self._running.discard(worker)
            self._dying.add(worker)
            worker.killed_at_ns = now_ns + GRACE_NS
            with contextlib.suppress(ChannelClosed):
                if not worker.end.send(Stop(error=error)):
                    worker.killed_at_ns = now_ns  # it has stopped reading

    def kill(self, worker: WorkerProcess, now_ns: int) -> None:
        """End a worker at once: one that hangs."""
        if worker in self._running or worker in self._dying:
            self._running.discard(worker)
            self._dying.add(worker)
            worker.killed_at_ns = now_ns

    def closed(self, worker: WorkerProcess, now_ns: int) -> None:
        """Take note that a worker has closed its end: it has ended, or nothing more can be done with it."""
        worker.is_closed = True
        if worker not in self._dying:
            self.kill(worker, now_ns)

    def reap(self, now_ns: int) -> list[Gone]:
        """Kill who is overdue; return who has ended since, with nothing of theirs left behind."""
        gone: list[Gone] = []
        for worker in list(self._dying):
            if worker.process.poll() is None and worker.killed_at_ns is not None and now_ns >= worker.killed_at_ns:
                worker.process.kill()
            # Whoever reads its channel may have died, too: then nobody will say that it is closed.
            is_read = worker.is_closed or (worker.killed_at_ns is not None and now_ns >= worker.killed_at_ns + GRACE_NS)
            if is_read and (status := worker.process.poll()) is not None:
                self._dying.discard(worker)
                worker.end.close()
                shutil.rmtree(worker.scratch, ignore_errors=True)
                gone.append(Gone(worker=worker, status=status))
        return gone


def worker_environment(ours: Mapping[str, str], extra: Mapping[str, str], scratch: Path) -> dict[str, str]:
    """Return a worker's environment: the allowed part of ours, malloc's settings, its own scratch as home, and `extra`."""
    passed = {name: value for name, value in ours.items() if name in PASSED_ON or name.startswith(PASSED_ON_PREFIXES)}
    own = {"HOME": str(scratch), "TMPDIR": str(scratch), "PYTHONUNBUFFERED": "1", "PYTHONNOUSERSITE": "1"}
    return {**passed, **MALLOC, **own, **extra}
