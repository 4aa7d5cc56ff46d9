"""Which waiting call a free lane takes. Pure.

While more pages wait than are being read, the call furthest along its plan goes first: pages leave as early as they can, and what
they hold in memory with them. Near the end, when no page waits, the earliest stage goes first: the work on the host between two
stages (finding boxes in a map, cutting crops) then overlaps with the calls of other pages, and the device is not left idle behind
a last detection. Between calls of one stage the older page goes first.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Ticket:
    """A call that waits."""

    #: The step, with its version: what limits and batches are counted by.
    step: str
    #: How far along its plan the step is.
    depth: int
    #: Age of the page, then of the call: smaller is older.
    page: int
    number: int
    #: See Call.key.
    key: Hashable = None


@dataclass(frozen=True, kw_only=True, slots=True)
class StepLimits:
    """How a step may be run."""

    #: Calls at the same time; None for as many as there are lanes.
    replicas: int | None = None
    #: Calls that may travel as one.
    batch: int = 1


def choose(
    waiting: Sequence[Ticket], running: Mapping[str, int], limits: Mapping[str, StepLimits], *, pages_wait: bool
) -> list[Ticket]:
    """Return the calls to run now, which travel as one: none where every waiting step runs as often as it may."""
    allowed = [ticket for ticket in waiting if _has_room(limits[ticket.step], running.get(ticket.step, 0))]
    if not allowed:
        return []
    sign = -1 if pages_wait else 1
    first = min(allowed, key=lambda ticket: (sign * ticket.depth, ticket.page, ticket.number))
    most = limits[first.step].batch
    if most == 1 or first.key is None:
        return [first]
    others = [t for t in allowed if t.step == first.step and t.key == first.key and t is not first]
    return [first, *sorted(others, key=lambda ticket: (ticket.page, ticket.number))[: most - 1]]


def _has_room(limits: StepLimits, running: int) -> bool:
    return limits.replicas is None or running < limits.replicas
