"""How a slice is reached from this process: it keeps the link, and finds the next one when worker or agent are lost.

link() ──open?──▶ the present link
   │ lost           door again ──silent or refused──▶ locator: where is it now? ──▶ that door … until the deadline
   └──────────────▶ ──opened──▶ the next link                    └── ended ──▶ LeaseLost, for good
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from gpupool.control import RETRY_S
from gpupool.forks import renew_after_fork
from gpupool.grant import Grant
from gpupool.link import Link
from gpupool.locator import Locator
from gpupool.traffic import Traffic
from gpupool_wire.errors import Conflict, GpupoolError, LeaseLost, NotAuthorized, NotFound, PoolUnreachable, WorkerLost
from gpupool_wire.limits import ANSWER_S

_log = logging.getLogger(__name__)

#: How long a call waits for its slice to be reachable again: a node is noticed as lost in 2.5 s and a worker starts in a few.
FAILOVER_S: Final = 30.0


class Reach:
    """This process's way to one slice. Thread-safe. `on_news` is called when the slice has moved, and when it has ended."""

    def __init__(
        self, grant: Grant, locator: Locator, *, is_holder: Callable[[], bool], on_news: Callable[[], None], failover_s: float
    ) -> None:
        self.grant = grant
        self.locator = locator
        self.ended: LeaseLost | None = None
        self._is_holder = is_holder
        self._on_news = on_news
        self._failover_s = failover_s
        self._finding = threading.RLock()
        self._link: Link | None = None
        self._missed_since: float | None = None
        self._past_traffic = Traffic()
        renew_after_fork(self)

    def __repr__(self) -> str:
        return f"<Reach of slice {self.grant.slice_id} at {self.grant.door}, {self.state}>"

    def renew_in_child(self) -> None:
        """Leave the parent's link to the parent; a forked child opens its own."""
        self._finding = threading.RLock()
        self._link = None
        self._past_traffic = Traffic()

    @property
    def present(self) -> Link | None:
        """The link there is at the moment."""
        return self._link

    @property
    def state(self) -> str:
        """ "linked", "idle" (not linked at the moment) or "ended"."""
        return "ended" if self.ended else "linked" if self._link is not None and self._link.is_open else "idle"

    @property
    def traffic(self) -> Traffic:
        """What this process has moved for the slice so far."""
        total, link = Traffic(), self._link
        total.add(self._past_traffic)
        if link is not None:
            total.add(link.traffic)
        return total

    def link(self, lost: Link | None = None) -> Link:
        """Return an open link other than `lost`, opening one where there is none.

        Raises LeaseLost once the slice has ended, WorkerLost where it cannot be reached within the failover time.
        """
        present = self._link
        if present is not None and present is not lost and present.is_open:
            return present
        with self._finding:
            present = self._link
            if present is not None and present is not lost and present.is_open:
                return present
            self._raise_if_ended()
            self.leave()
            now = time.monotonic()
            if self._missed_since is None:
                self._missed_since = now
            # Whoever comes later joins the same wait; long after it, a call still tries for a moment whether the pool is back.
            self._link = link = self._find(max(self._missed_since + self._failover_s, now + min(ANSWER_S, self._failover_s)))
            self._missed_since = None
            # Ended meanwhile: whoever did it may have looked for a link too early.
            if self.ended is not None:
                self.leave()
            self._raise_if_ended()
            return link

    def replace(self, doubted: Link) -> Link:
        """Return an open link other than `doubted`, which is closed only then: its slice would be freed without a holder.

        Raises as `link` does.
        """
        with self._finding:
            if self._link is not doubted or not doubted.is_open:
                return self.link(doubted)
            self._link = self._find(time.monotonic() + self._failover_s)
            doubted.close()
            self._past_traffic.add(doubted.traffic)
            return self._link

    def end(self, why: LeaseLost) -> None:
        """Take note that the slice has ended; from now on every call gets that error."""
        self.ended = why
        self.leave()
        self._on_news()

    def leave(self) -> None:
        """Close the present link. Idempotent."""
        link, self._link = self._link, None
        if link is not None:
            link.close()
            self._past_traffic.add(link.traffic)

    def _raise_if_ended(self) -> None:
        if self.ended is not None:
            raise LeaseLost(self.ended.message, **self.ended.details)

    def _find(self, deadline: float) -> Link:
        while True:
            try:
                return self._open_link(deadline)
            except (WorkerLost, LeaseLost, NotFound, NotAuthorized, Conflict) as error:
                # Silent, or refused by a door that may not know yet, or not any more: only the locator can say that it has ended.
                reason: GpupoolError = error
            self._raise_if_ended()
            known = self.grant
            try:
                self._locate()
            except (Conflict, PoolUnreachable) as error:
                reason = error
            if time.monotonic() >= deadline:
                kind = LeaseLost if isinstance(reason, LeaseLost) else WorkerLost
                raise kind(
                    f"slice {known.slice_id} could not be reached again within {self._failover_s:.0f} s: {reason.message}",
                    slice_id=known.slice_id,
                ) from reason
            if self.grant.door == known.door and self.grant.epoch == known.epoch:
                time.sleep(RETRY_S)  # nothing new: give it time to come back, or to be placed elsewhere

    def _open_link(self, deadline: float) -> Link:
        timeout_s = max(ANSWER_S, deadline - time.monotonic())
        return Link.open(self.grant, holder=self._is_holder(), timeout_s=timeout_s, on_end=self._on_end)

    def _locate(self) -> None:
        """Learn where the slice is now; raise LeaseLost, for good, where it has ended."""
        slice_id = self.grant.slice_id
        try:
            self.grant = self.locator.locate(slice_id)
        except (NotFound, LeaseLost) as error:
            self.end(LeaseLost(f"slice {slice_id} has ended: {error.message}", slice_id=slice_id))
            self._raise_if_ended()
        self._on_news()

    def _on_end(self, link: Link, error: GpupoolError) -> None:
        """The keeper says that `link` has ended. A holder moves at once: where it has no link, its slice would be freed."""
        _log.info("the link of slice %s to %s ended: %s", self.grant.slice_id, link.worker, error.message)
        if self.ended is None and self._is_holder() and self._link is link:
            with contextlib.suppress(GpupoolError):
                self.link(link)
