"""How fast a link is, told from what it carries.

    observe(bytes, ns) ──small──> round trip          ──large──> bytes / (ns - round trip)          the best of the latest

The best and not the mean: a busy core or a caller beside makes a link look slower than it is, nothing makes it look faster.
"""

from __future__ import annotations

from collections import deque
from typing import Final

#: What a message may have to tell the round trip, and must have to tell the speed.
SMALL_BYTES: Final = 4_096
LARGE_BYTES: Final = 65_536
#: Latest messages that are looked at.
REMEMBERED: Final = 16
#: Of a message's time no more than this is round trip, whatever that seemed to be: else a lucky one would look infinitely fast.
_MAX_TRIP_PART: Final = 0.75


class LinkSpeed:
    """The speed of one link. Threads may share it."""

    __slots__ = ("_speeds", "_trips_ns")

    def __init__(self, assumed: float) -> None:
        #: What is assumed counts like a message, so that a few slow first ones do not outweigh it.
        self._speeds: deque[float] = deque([assumed], maxlen=REMEMBERED)
        self._trips_ns: deque[int] = deque(maxlen=REMEMBERED)

    def __repr__(self) -> str:
        return f"<LinkSpeed, {self.bytes_per_s / 1e6:.0f} MB/s>"

    @property
    def bytes_per_s(self) -> float:
        """What it carries, as far as is known."""
        return max(tuple(self._speeds))

    def observe(self, nbytes: int, ns: int) -> None:
        """Take note of a question and its answer of `nbytes` together, which spent `ns` on the link."""
        if nbytes <= SMALL_BYTES:
            self._trips_ns.append(ns)
        elif nbytes >= LARGE_BYTES and ns > 0:
            trip_ns = min(tuple(self._trips_ns), default=0)
            self._speeds.append(nbytes * 1e9 / max(ns - trip_ns, ns * (1 - _MAX_TRIP_PART)))
