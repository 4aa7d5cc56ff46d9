"""The broker's side of reports: orders them from a process of their own, one at a time; every minute
it tends schedules and folds use.

A thread of the broker waits for the process, so that neither its memory nor its work is the broker's. What that process may not
do, as it has no right to the journal, is done here: storing what use is folded to, and taking the records out.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from itertools import takewhile
from typing import Final

import msgspec

from gpupool_broker.reports.orders import Answer, FoldUse, Freeze, Make, Order, Place, Tend
from gpupool_broker.store.databases import open_database
from gpupool_broker.store.errors import RightLost
from gpupool_broker.store.fold_writer import FoldWriter
from gpupool_broker.store.schedules import ScheduleStore
from gpupool_wire.errors import Conflict, GpupoolError, from_info

log = logging.getLogger(__name__)

#: A year by day of a large pool takes seconds; longer than this and something is wrong.
MAKE_S: Final = 120.0
#: How long an order waits for those ahead of it.
WAIT_S: Final = 30.0
TEND_EVERY_S: Final = 60.0
#: An hour of ten thousand busy slices is folded in about a minute.
FOLD_S: Final = 600.0


class ReportFailed(GpupoolError):
    """The process that makes reports failed."""

    code = "report"
    http_status = 503


class Desk:
    """Orders reports. Thread-safe."""

    def __init__(
        self,
        place: Place,
        wall_ms: Callable[[], int],
        tend_every_s: float = TEND_EVERY_S,
        folds: FoldWriter | None = None,
        keep_use_s: float = 0,
    ) -> None:
        """Use is folded once it is `keep_use_s` old; never where that is 0."""
        self._place = place
        self._schedules = ScheduleStore(open_database(place.database))
        self._wall_ms = wall_ms
        self._every_s = tend_every_s
        self._folds = folds if keep_use_s else None
        self._keep_ms = int(keep_use_s * 1000)
        self._one_at_a_time = threading.Lock()
        self._stop = threading.Event()
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._thread = threading.Thread(target=self._run, name="reports", daemon=True)

    def start(self) -> None:
        """Begin to tend the schedules."""
        self._thread.start()

    def stop(self) -> None:
        """End, with the process that may be at work: what it had not kept is made again."""
        self._stop.set()
        for process in tuple(self._processes):
            process.kill()
        self._thread.join(5)

    @property
    def schedules(self) -> ScheduleStore:
        """The schedules, and the reports that were made."""
        return self._schedules

    def make(self, period: str, *, zone: str, by: str, tenant: str | None, format_: str) -> Answer:
        """Return a report as a file; raise the error it ended with."""
        order = Make(place=self._place, now_ms=self._wall_ms(), period=period, zone=zone, by=by, tenant=tenant, format=format_)
        return self._carry_out(order)

    def freeze(self, month: str, zone: str) -> Answer:
        """Return hash and number of entries of a month that is to be closed."""
        return self._carry_out(Freeze(place=self._place, now_ms=self._wall_ms(), month=month, zone=zone))

    def tend(self) -> Answer:
        """Count on, make and deliver what is due."""
        return self._carry_out(Tend(place=self._place, now_ms=self._wall_ms()))

    def fold(self) -> int:
        """Fold the use of every hour that is old enough; return of how many. What was left half done is finished."""
        if self._folds is None:
            return 0
        self._folds.sweep(self._goes_on)
        hours = 0
        while self._goes_on() and (kept := self._fold_some(self._folds)):
            hours += kept
        return hours

    def _fold_some(self, writer: FoldWriter) -> int:
        # Beside the making of reports: it only reads, and may take longer than anybody waits for one.
        now_ms = self._wall_ms()
        if not writer.is_due(now_ms - self._keep_ms):
            return 0
        order = FoldUse(place=self._place, now_ms=now_ms, before_ms=now_ms - self._keep_ms)
        folds = self._run_process(order, FOLD_S).folds
        # Not beside it: whoever reads records of these hours has read them all.
        with self._one_at_a_time:
            kept = sum(1 for _ in takewhile(writer.keep, folds))
        writer.sweep(self._goes_on)
        return kept

    def _goes_on(self) -> bool:
        return not self._stop.is_set()

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            for does in (self._tend, self.fold):
                try:
                    does()
                except RightLost:
                    return
                except GpupoolError as error:
                    if not self._stop.is_set():
                        log.error("reports are not tended: %s", error, extra={"action": "reports_failed"})  # noqa: TRY400

    def _tend(self) -> None:
        for trouble in self.tend().troubles:
            log.warning("report %s", trouble, extra={"action": "report_not_delivered"})

    def _carry_out(self, order: Order) -> Answer:
        if not self._one_at_a_time.acquire(timeout=WAIT_S):
            raise Conflict("other reports are being made: try again in a moment")
        try:
            return self._run_process(order, MAKE_S)
        finally:
            self._one_at_a_time.release()

    def _run_process(self, order: Order, within_s: float) -> Answer:
        command = [sys.executable, "-m", "gpupool_broker.reports"]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process:  # noqa: S603 - our own module
            self._processes.add(process)
            if self._stop.is_set():
                process.kill()
            try:
                out, err = process.communicate(msgspec.msgpack.encode(order), timeout=within_s)
            except subprocess.TimeoutExpired:
                process.kill()
                raise ReportFailed(f"the report was not made in {within_s:g} s: ask for a shorter period") from None
            finally:
                self._processes.discard(process)
        if process.returncode:
            if not self._stop.is_set():
                told = err.decode(errors="replace")
                log.error("the process that makes reports failed: %s", told, extra={"action": "report_failed"})
            raise ReportFailed(f"the process that makes reports ended with {process.returncode}: the broker's log says why")
        answer = msgspec.msgpack.decode(out, type=Answer)
        if answer.error is not None:
            raise from_info(answer.error)
        return answer
