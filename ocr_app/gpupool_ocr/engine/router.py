"""Which release a document is read with, and when an old one may go.

document ──take──> active, or the candidate for its share ──> BoundPlan, held until the document is done
                   replaced and held by nobody any more ──> retired
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from gpupool_ocr.engine.release import Release
from gpupool_ocr.engine.running import BoundPlan
from gpupool_wire.errors import GpupoolError, NotFound


class NotReady(GpupoolError):
    """The service is starting: no plan is ready yet."""

    code = "starting"
    http_status = 503


@dataclass(frozen=True, kw_only=True, slots=True)
class Routing:
    """Which releases get documents."""

    active: Release
    candidate: Release | None = None
    #: Of 100 documents so many are read with the candidate.
    percent: int = 0
    #: The candidate reads them all beside the active one, and its answers are only compared.
    shadow: bool = False


def goes_to_candidate(document: str, percent: int) -> bool:
    """Return whether a document belongs to the candidate's share: the same one always does."""
    return int.from_bytes(hashlib.sha256(document.encode()).digest()[:4]) % 100 < percent


class Router:
    """Hands out plans. Thread-safe."""

    def __init__(self, retire: Callable[[int], None]) -> None:
        self._retire = retire
        self._lock = threading.Lock()
        self._routing: Routing | None = None
        self._held: Counter[int] = Counter()
        self._retiring: set[int] = set()

    @property
    def routing(self) -> Routing | None:
        """The present routing; None before the first."""
        return self._routing

    @property
    def held(self) -> dict[int, int]:
        """How many documents are being read with each release, by its key."""
        with self._lock:
            return {key: count for key, count in self._held.items() if count}

    def set(self, routing: Routing) -> None:
        """Route from now on so; releases that are out of it are retired once nobody holds them."""
        with self._lock:
            before, self._routing = self._routing, routing
            present = _keys(routing)
            if before:
                self._retiring |= _keys(before) - present
        self._sweep()

    @contextmanager
    def take(self, bid: str, tid: str, document: str) -> Iterator[BoundPlan]:
        """Hold the plan a document is read with, one version of everything. Raises NotReady, NotFound."""
        with self._lock:
            plan = self._choose(bid, tid, document)
            self._held[plan.key] += 1
        try:
            yield plan
        finally:
            with self._lock:
                self._held[plan.key] -= 1
            self._sweep()

    @contextmanager
    def take_shadow(self, bid: str, tid: str) -> Iterator[BoundPlan | None]:
        """Hold the candidate's plan where it is a shadow and has one, None otherwise."""
        with self._lock:
            plan = self._shadow(bid, tid)
            if plan:
                self._held[plan.key] += 1
        try:
            yield plan
        finally:
            if plan:
                with self._lock:
                    self._held[plan.key] -= 1
                self._sweep()

    def check(self, bid: str, tid: str) -> None:
        """Raise NotReady or NotFound where a document could not be read now."""
        with self._lock:
            self._choose(bid, tid, "")

    def _choose(self, bid: str, tid: str, document: str) -> BoundPlan:
        routing = self._routing
        if routing is None:
            raise NotReady
        if routing.candidate and not routing.shadow and goes_to_candidate(document, routing.percent):
            try:
                return routing.candidate.plan(bid, tid)
            except NotFound:
                pass  # until it is promoted, nobody loses an algorithm by it
        return routing.active.plan(bid, tid)

    def _shadow(self, bid: str, tid: str) -> BoundPlan | None:
        routing = self._routing
        if routing is None or routing.candidate is None or not routing.shadow:
            return None
        try:
            return routing.candidate.plan(bid, tid)
        except NotFound:
            return None

    def _sweep(self) -> None:
        with self._lock:
            gone = {key for key in self._retiring if not self._held[key]}
            self._retiring -= gone
            for key in gone:
                del self._held[key]
        for key in gone:
            # Closing waits for whatever is being opened meanwhile: not in the hands of whoever has just read a page.
            threading.Thread(target=self._retire, args=(key,), name="ocr-retire", daemon=True).start()


def _keys(routing: Routing) -> set[int]:
    return {release.key for release in (routing.active, routing.candidate) if release}
