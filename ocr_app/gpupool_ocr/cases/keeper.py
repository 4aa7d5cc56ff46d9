"""Keeps the bad pages of a running service, off the path of its requests.

reader ──offer, never waits──> bounded queue ──one thread of low priority──> decode ──> CaseStore
            │      └── full: dropped, and counted
            └── recent documents, bounded: what a sender corrects within minutes becomes a case, too
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from gpupool_ocr.cases.case import Case, Reason
from gpupool_ocr.cases.seen import Seen
from gpupool_ocr.cases.store import CaseStore, Retention
from gpupool_ocr.pages import Image, load_pages
from gpupool_ocr.plans.spec import CasesSpec
from gpupool_wire.errors import Conflict, GpupoolError, NotFound

_log = logging.getLogger(__name__)

#: Documents that wait to be kept, compressed as they came: some seconds of bad pages in a row.
MAX_QUEUED = 256
MAX_QUEUED_BYTES = 64 << 20
#: Documents that may still be corrected, whether they were read well or not.
RECENT_S = 900.0
RECENT_BYTES = 64 << 20
MAX_RECENT = 1_000
#: How often what is too old or too much is forgotten.
PRUNE_S = 60.0
#: How long a stop waits for what is queued.
CLOSING_S = 5.0
#: Niceness of the thread: pages that are being read go first.
NICE = 15

#: Hears why a page would be kept, and what became of it: kept, dropped, failed, opted_out.
Counts = Callable[[str, str], None]


class Keeper:
    """Takes documents from any thread and never keeps one waiting, whatever the disk does."""

    def __init__(
        self,
        folder: Path,
        *,
        is_on: bool = False,
        retention: Retention | None = None,
        redact: Collection[str] = (),
        counts: Counts = lambda reason, result: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.folder, self.is_on = folder, is_on
        self._retention, self._redact, self._counts, self._clock = retention or Retention(), frozenset(redact), counts, clock
        self._queue: deque[Seen] = deque()
        self._queued_bytes = 0
        self._recent: OrderedDict[tuple[str, str, str], tuple[float, Seen]] = OrderedDict()
        self._recent_bytes = 0
        self._changed = threading.Condition()
        self._opening, self._adding = threading.Lock(), threading.Lock()
        self._store: CaseStore | None = self._open() if is_on else None
        self._is_closed = self._is_troubled = False
        self._thread = threading.Thread(target=self._run, name="ocr-cases", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<Keeper of {self.folder}: {len(self._queue)} documents wait, {len(self._recent)} can be corrected>"

    @property
    def store(self) -> CaseStore:
        """Where cases are. Raises UsageError where the folder cannot hold them."""
        with self._opening:
            if self._store is None:
                self._store = self._open()
            return self._store

    def rule(self, said: CasesSpec | None) -> CasesSpec | None:
        """Return by which rule pages are kept, None where they are not: what their plan says, else what the service does."""
        rule = said or (CasesSpec() if self.is_on else None)
        return rule if rule and rule.keep else None

    def offer(self, seen: Seen) -> None:
        """Keep what is bad of a document, and remember it for a while. Never waits, never raises."""
        reasons = seen.reasons()
        with self._changed:
            self._remember(seen)
            if not reasons:
                return
            is_full = len(self._queue) >= MAX_QUEUED or self._queued_bytes + len(seen.content) > MAX_QUEUED_BYTES
            if not (is_full or self._is_closed):
                self._queue.append(seen)
                self._queued_bytes += len(seen.content)
                self._changed.notify()
                return
        for reason in reasons.values():
            self._counts(reason, "dropped")

    def recent(self, tenant: str, trace: str) -> list[Seen]:
        """Return the documents a tenant sent under a trace a short while ago, where this instance read them."""
        with self._changed:
            self._forget_old()
            return [seen for (whose, under, _), (_, seen) in self._recent.items() if (whose, under) == (tenant, trace)]

    def forget(self, tenant: str, job: str) -> None:
        """Forget a document that was read a short while ago: nobody can make a case of it any more."""
        with self._changed:
            for key in [key for key in self._recent if (key[0], key[2]) == (tenant, job)]:
                self._recent_bytes -= len(self._recent.pop(key)[1].content)

    def keep_corrected(self, seen: Seen, number: int) -> Case:
        """Keep a page at once, since somebody corrects it. Raises NotFound, and what the store raises."""
        if not any(page["page"] == number for page in seen.pages):
            raise NotFound(f"job {seen.job} has no page {number} that was read; it has {len(seen.pages)}")
        if not self._keep(seen, {number: "corrected"}):
            raise NotFound(f"pages of business {seen.business!r} are not kept")
        return self.store.get(seen.case_id(number))

    def close(self) -> None:
        """Keep what is queued, for CLOSING_S at most."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join(CLOSING_S)
        if self._store is not None and not self._thread.is_alive():
            self._store.close()

    def _open(self) -> CaseStore:
        return CaseStore(self.folder, retention=self._retention, redact=self._redact)

    def _remember(self, seen: Seen) -> None:
        key = (seen.tenant, seen.trace, seen.job)
        if seen.pages and key not in self._recent:
            self._recent[key] = (self._clock(), seen)
            self._recent_bytes += len(seen.content)
        self._forget_old()

    def _forget_old(self) -> None:
        while self._recent:
            at, seen = next(iter(self._recent.values()))
            fits = self._recent_bytes <= RECENT_BYTES and len(self._recent) <= MAX_RECENT
            if fits and self._clock() - at < RECENT_S:
                return
            self._recent.popitem(last=False)
            self._recent_bytes -= len(seen.content)

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        prune_at = 0.0
        while (seen := self._take(prune_at)) or not self._is_closed:
            if seen is not None:
                self._perform(seen)
            if time.monotonic() >= prune_at:
                prune_at = time.monotonic() + PRUNE_S
                self._prune()

    def _take(self, until: float) -> Seen | None:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._is_closed, max(0.0, until - time.monotonic()))
            if not self._queue:
                return None
            seen = self._queue.popleft()
            self._queued_bytes -= len(seen.content)
            return seen

    def _perform(self, seen: Seen) -> None:
        reasons = seen.reasons()
        try:
            result = "kept" if self._keep(seen, reasons) else "opted_out"
        except Exception as error:  # noqa: BLE001 - a disk, a picture: nothing here may end the thread
            result = "failed"
            if not self._is_troubled:
                _log.warning("bad cases cannot be kept in %s: %s", self.folder, error)
        self._is_troubled = result == "failed"
        for reason in reasons.values():
            self._counts(reason, result)

    def _keep(self, seen: Seen, reasons: dict[int, Reason]) -> bool:
        """Keep pages; return whether they are, and not opted out of."""
        is_kept = True
        for number, image in _pictures(seen, reasons):
            seen.check_size(number, image)
            # The lock: a correction must not come between the picture and the row of the page that it corrects.
            with self._adding, contextlib.suppress(Conflict):  # kept already: another worker read it, too
                is_kept = self.store.add(
                    seen.case_id(number),
                    image,
                    seen.result(number),
                    reason=reasons[number],
                    business=seen.business,
                    now=self._clock(),
                    tenant=seen.tenant,
                    trace=seen.trace,
                    redact=seen.rule.redact,
                )
        return is_kept

    def _prune(self) -> None:
        if self._store is not None:
            with contextlib.suppress(Exception):  # the disk may be gone; the next time is soon
                self._store.prune(self._clock())


def _pictures(seen: Seen, wanted: Collection[int]) -> Iterator[tuple[int, Image | None]]:
    """Yield the wanted pages by number, None for one that cannot be shown."""
    left = set(wanted)
    with contextlib.suppress(GpupoolError):  # what could not be read as a page has no picture
        for page in () if seen.is_deadly else load_pages(Path(seen.name), seen.content):
            # Nobody knows which page of several a document failed on.
            if page.number in left and (seen.error is None or page.count == 1):
                left.discard(page.number)
                yield page.number, page.image
            if not left or seen.error is not None:
                break
    for number in sorted(left):
        yield number, None
