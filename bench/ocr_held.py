"""Memory and device time of a recognition service and of the slice it reads on, from outside.

process ── /proc: highest resident set since reset()
slice   ── REST: memory its ledger counts, device time its worker measured
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from gpupool.rest import RestClient
from gpupool.settings import client_token, rest_address
from gpupool_wire.errors import GpupoolError

WORKER = "gpupool_agent.worker"
#: Asking for the slice more often would be load of its own; the agent tells the broker once a second.
ASK_EVERY_S = 1.0
#: "5" resets the highest resident set (VmHWM), see proc(5), clear_refs.
RESET_PEAK = "5"


@dataclass(frozen=True, kw_only=True, slots=True)
class Peak:
    """The most that was held since reset(), in MiB; 0 where there is no such part."""

    service_mib: float
    worker_mib: float
    #: All processes together: pool and plug-ins, too. Pages that several share count in each.
    all_mib: float
    slice_mib: float


@dataclass
class Holdings:
    """Watches one service: the process `pid` with its children, and the slice of the embedded pool at `home`, if it has one."""

    pid: int
    home: Path | None = None
    _slice_mib: float = 0.0
    _asked_at: float = 0.0
    _rest: RestClient | None = field(default=None, repr=False)

    def reset(self) -> None:
        """Forget peaks so far."""
        self._slice_mib = self._asked_at = 0.0
        for process in self._processes():
            Path(f"/proc/{process.pid}/clear_refs").write_text(RESET_PEAK)

    def look(self) -> None:
        """Look at the slice, at most every ASK_EVERY_S; processes keep their peaks themselves."""
        if self.home and time.monotonic() - self._asked_at >= ASK_EVERY_S:
            self._asked_at = time.monotonic()
            self._slice_mib = max(self._slice_mib, self._slice("memory_used_bytes") / 2**20)

    def peak(self) -> Peak:
        """Return the most since reset()."""
        by_pid = {process.pid: (_peak_mib(process.pid), WORKER in process.cmdline()) for process in self._processes()}
        return Peak(
            service_mib=by_pid[self.pid][0],
            worker_mib=sum(mib for mib, is_worker in by_pid.values() if is_worker),
            all_mib=sum(mib for mib, _ in by_pid.values()),
            slice_mib=self._slice_mib,
        )

    def device_s(self) -> float:
        """Return the device time that the slice has used; 0 without one."""
        return self._slice("device_ms") / 1000 if self.home else 0.0

    def _slice(self, name: str) -> float:
        try:
            return sum(float(row[name]) for row in self._client().get("/slices") if row["state"] == "live")
        except GpupoolError:
            return 0.0

    def _client(self) -> RestClient:
        if self._rest is None:
            environ = {"GPUPOOL_HOME": str(self.home)}
            self._rest = RestClient(rest_address(environ=environ), client_token(environ=environ))
        return self._rest

    def _processes(self) -> list[psutil.Process]:
        root = psutil.Process(self.pid)
        return [root, *root.children(recursive=True)]


def _peak_mib(pid: int) -> float:
    """Return VmHWM of a process; 0 where it has ended."""
    try:
        rows = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(row.split()[1]) / 1024 for row in rows if row.startswith("VmHWM:")), 0.0)
