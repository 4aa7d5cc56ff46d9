"""An instance's thread that makes the desired state real: opens what is missing, proves it, routes, retires what is out.

desired ──differs from what is routed?──> build, prove ──> Router.set
                                             └── fails: the present routing stays, the reason is in the heartbeat
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable

from gpupool_ocr.engine.release import Release, Workshop
from gpupool_ocr.engine.router import Router, Routing
from gpupool_ocr.plans.reading import default_snapshot, read_snapshot, write_snapshot
from gpupool_ocr.plans.spec import Snapshot
from gpupool_ocr.rollouts.desired import Desired, applied, promoted, rolled_back
from gpupool_ocr.rollouts.proving import Proof, prove
from gpupool_ocr.rollouts.store import Entry, SnapshotStore, is_lost
from gpupool_wire.errors import Conflict, GpupoolError

_log = logging.getLogger(__name__)

#: How soon another instance's change is seen.
POLL_S = 0.5
#: A snapshot that cannot be opened is tried again after so long: what it lacks may have come.
RETRY_S = 15.0


class Rollouts:
    """Changes the desired state, and follows it. Thread-safe."""

    def __init__(
        self,
        store: SnapshotStore,
        workshop: Workshop,
        router: Router,
        *,
        resizes: Callable[[int | None], None] = lambda workers: None,
    ) -> None:
        self._store = store
        self._resizes = resizes
        self._workshop = workshop
        self._router = router
        self._built: dict[int, Release] = {}
        self._failed: dict[int, tuple[str, float]] = {}
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ocr-follow", daemon=True)
        self._followed = -1
        # The newest state that was seen, and the history it goes with: a Redis that starts empty is told again.
        self._known, self._history = Desired(), list[Entry]()

    @property
    def problems(self) -> dict[int, str]:
        """Snapshots that this instance could not open, and why."""
        return {number: why for number, (why, _) in self._failed.items()}

    @property
    def revision(self) -> int:
        """Revision of the desired state that is real here; -1 before the first."""
        return self._followed

    @property
    def store(self) -> SnapshotStore:
        """Where the snapshots are."""
        return self._store

    def start(self) -> None:
        """Follow the desired state; where there is none yet, begin with the default. Raises what opening it raises."""
        if not self._store.desired().active:
            with contextlib.suppress(Conflict):  # another instance began at the same moment
                self.apply(default_snapshot(), by="start", note="the default")
        self.follow()
        self._thread.start()

    def stop(self) -> None:
        """Follow no more."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def apply(
        self, snapshot: Snapshot, *, by: str, note: str = "", percent: int | None = None, shadow: bool = False
    ) -> tuple[int, Proof]:
        """Prove a snapshot and make it active, or a candidate; return its number. Raises where it is not good enough."""
        with self._lock:
            before = self._store.desired()
            applied(before, 0, percent=percent, shadow=shadow)  # refused before the work, not after it
            # Only a release that reads its golden samples gets a number: the history holds nothing that never worked.
            trial = self._workshop.build(0, snapshot)
            try:
                proof = prove(trial)
                number = self._store.add(
                    Entry(
                        at=time.time(),
                        by=by,
                        note=note or snapshot.note,
                        yaml=write_snapshot(snapshot),
                        recall=proof.recall,
                        samples=proof.samples,
                    )
                )
                self._built[number] = self._workshop.build(number, snapshot)
            finally:
                self._workshop.retire(trial.key)
            try:
                self._change(applied(before, number, percent=percent, shadow=shadow))
            except GpupoolError:
                self._forget(number)
                raise
            return number, proof

    def promote(self) -> Desired:
        """Make the candidate active. Raises Conflict."""
        return self._change(promoted(self._store.desired()))

    def roll_back(self, number: int | None = None) -> Desired:
        """Drop the candidate, or go back to the snapshot before, or to `number`. Raises Conflict, NotFound."""
        if number is not None:
            self._store.get(number)
        return self._change(rolled_back(self._store.desired(), number))

    def follow(self) -> None:
        """Make the desired state real, as far as it is not. Raises QueueAway; what cannot be opened is kept as a problem."""
        with self._lock:
            state = self._look()
            if state.revision == self._followed or not state.active:
                return
            active = self._release(state.active)
            candidate = None if state.candidate is None else self._release(state.candidate)
            if active is None:
                return  # the present routing stays; the next look tries again
            self._router.set(Routing(active=active, candidate=candidate, percent=state.percent, shadow=state.shadow))
            self._resizes(active.snapshot.workers)
            if state.candidate is None or candidate is not None:
                self._followed = state.revision
            for number in self._built.keys() - {state.active, state.candidate}:
                del self._built[number]  # the router retires it behind its last document

    def _look(self) -> Desired:
        """Return the desired state, and put it back first where the store has lost it."""
        state = self._store.desired()
        if is_lost(state, self._known):
            if self._store.restore(self._known, self._history):
                _log.warning("the desired state, revision %s, was lost and is put back", self._known.revision)
            state = self._store.desired()
        if state.revision > self._known.revision:
            self._known, self._history = state, self._store.history()
        return state

    def _change(self, state: Desired) -> Desired:
        self._store.set_desired(state)
        self.follow()
        return state

    def _forget(self, number: int) -> None:
        """Close a release that was never routed."""
        release = self._built.pop(number, None)
        if release is not None:
            self._workshop.retire(release.key)

    def _release(self, number: int) -> Release | None:
        """Return an open release, opening it where it is not; None where that fails, or failed a moment ago."""
        if number in self._built:
            return self._built[number]
        if number in self._failed and time.monotonic() < self._failed[number][1]:
            return None
        try:
            release = self._built[number] = self._workshop.build(number, read_snapshot(self._store.get(number).yaml))
            prove(release)
        except GpupoolError as error:
            self._forget(number)
            self._failed[number] = (error.message, time.monotonic() + RETRY_S)
            _log.warning("snapshot %s cannot be opened here: %s", number, error.message)
            return None
        self._failed.pop(number, None)
        return release

    def _run(self) -> None:
        while not self._stopping.wait(POLL_S):
            try:
                self.follow()
            except GpupoolError as error:
                _log.info("the desired state cannot be read now: %s", error.message)
