"""From the store to the books at the start, and snapshots on the way.

newest snapshot that can be read ──thaw──> books <──apply── the facts behind it
every so many facts, and at the end: freeze (between two turns) ──> written beside the turns
"""

from __future__ import annotations

import collections
import gc
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from gpupool_broker.core.books import Books
from gpupool_broker.core.snapshot import SHAPE, SnapshotUnreadable, freeze, thaw
from gpupool_broker.store.errors import StoreFailed
from gpupool_broker.store.records import START, Link
from gpupool_broker.store.snapshots import Snapshot, ignored
from gpupool_broker.store.sql import SqlStore

log = logging.getLogger(__name__)

#: A snapshot at least every so many facts: they are replayed in about a second.
SNAPSHOT_EVERY = 50_000
#: Records before the snapshot that are checked at a start: about half a second. `--verify-journal` checks all there are.
CHECKED_RECORDS = 200_000


class Recovery:
    """Restores books, and keeps what it will restore them from short. Used by the turns' thread, between two turns."""

    def __init__(self, store: SqlStore, every: int = SNAPSHOT_EVERY) -> None:
        self._store = store
        self._every = every
        #: The record behind which the newest snapshot was taken, as far as this broker can read it.
        self._taken_at = 0
        self._writing: threading.Thread | None = None

    def restore(self, books: Books, *, is_start: bool = True) -> None:
        """Fill empty books with what is stored. At a start, records before the snapshot are checked too.

        Raises JournalDamaged with the position of what is not as it was written.
        """
        journal = self._store.journal
        journal.recover()
        with _collector_off():
            link = self._thawed(books)
            if is_start:
                checked_from = journal.link_from(max(0, link.seq - CHECKED_RECORDS)) or START
                collections.deque(journal.checked(checked_from, link.seq), maxlen=0)
            for fact in journal.facts(link):
                books.apply(fact)
        self._taken_at = link.seq
        counted = {"facts": journal.head.seq, "from_snapshot": link.seq}
        log.info("%(facts)d facts are restored, %(from_snapshot)d of them from a snapshot", counted, extra={"action": "restored"})

    def consider(self, books: Books) -> None:
        """Take a snapshot where enough has happened: as much as it holds itself, so that its cost per fact stays the same."""
        due_at = self._taken_at + max(self._every, len(books.slices))
        if self._store.journal.head.seq >= due_at and (self._writing is None or not self._writing.is_alive()):
            snapshot = self._take(books)
            self._writing = threading.Thread(target=self._write, args=(snapshot,), name="broker-snapshot", daemon=True)
            self._writing.start()

    def finish(self, books: Books) -> None:
        """Take the last one, so that the next start replays nothing."""
        self.wait()
        if self._store.journal.head.seq > self._taken_at:
            self._write(self._take(books))

    def wait(self) -> None:
        """Return when nothing is being written."""
        if self._writing is not None:
            self._writing.join()

    def _thawed(self, books: Books) -> Link:
        """Fill the books from the newest snapshot that can be used; return where it was taken."""
        for snapshot in self._store.snapshots.newest_first():
            seq = snapshot.link.seq
            if snapshot.shape != SHAPE:
                ignored(seq, "another version of gpupool took it")
            elif self._store.journal.link_at(seq) != snapshot.link:
                ignored(seq, "the journal is not the one it was taken of")
            else:
                try:
                    thaw(snapshot.data, books)
                except SnapshotUnreadable as error:
                    ignored(seq, error.message)
                else:
                    return snapshot.link
        return START

    def _take(self, books: Books) -> Snapshot:
        link = self._store.journal.head
        self._taken_at = link.seq
        return Snapshot(link=link, shape=SHAPE, data=freeze(books))

    def _write(self, snapshot: Snapshot) -> None:
        try:
            self._store.snapshots.write(snapshot)
        except StoreFailed as error:
            log.warning("a snapshot could not be written: %s", error, extra={"action": "snapshot_failed"})


@contextmanager
def _collector_off() -> Iterator[None]:
    """Keep the cycle collector from walking a hundred thousand new objects again and again, also later: they live long."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if was_on:
            gc.enable()
