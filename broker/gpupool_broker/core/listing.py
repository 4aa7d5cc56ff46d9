"""A part of a long list: what is looked for, in which order, and which rows of it. Only the rows that are shown are made.

pool ──what matches──> rows ──in order──> from `offset` on, `limit` of them, and how many there are in all
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from gpupool_broker.core.overview import is_starving
from gpupool_broker.core.pool import Pool
from gpupool_broker.core.state import Device, Lately, Node, Slice, SliceState
from gpupool_wire.errors import UsageError

Row = TypeVar("Row")
#: What words are looked for in, of a slice.
SEARCHED: Final = ("slice_id", "account", "label", "holder", "node", "device")
_NOTHING: Final = Lately()


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Which rows are wanted; `sort` names a column, with "-" before it from the largest on."""

    #: Words, all of which are in what is searched.
    words: str = ""
    sort: str = ""
    offset: int = 0
    #: None for all.
    limit: int | None = None

    def of(self, rows: Iterable[Row], sorts: dict[str, Callable[[Row], Any]]) -> tuple[list[Row], int]:
        """Return the wanted rows in their order, and how many there are. Raises UsageError for a column that is not there."""
        found = list(rows)
        if self.sort:
            name = self.sort.removeprefix("-")
            if name not in sorts:
                raise UsageError(f"there is no order by {name[:64]!r}; there are: {', '.join(sorts)}")
            found.sort(key=sorts[name], reverse=self.sort.startswith("-"))
        end = None if self.limit is None else self.offset + self.limit
        return found[self.offset : end], len(found)

    def meets(self, *texts: str) -> bool:
        """Whether every word is in one of the texts, whatever their case."""
        return all(any(word in text.casefold() for text in texts) for word in self.words.casefold().split())


def _lately(pool: Pool, slice_: Slice) -> Lately:
    return pool.lately.get(slice_.slice_id, _NOTHING)


#: Which slices are in a list of that name, and the columns they can be ordered by.
SLICE_STATES: Final[dict[str, Callable[[Pool, Slice], bool]]] = {
    "live": lambda _, slice_: not slice_.state.is_over,
    "all": lambda _, slice_: True,
    "paused": lambda _, slice_: bool(slice_.paused_by),
    "stranded": lambda _, slice_: slice_.state is SliceState.STRANDED,
    "starving": lambda pool, slice_: slice_.state is SliceState.LIVE and is_starving(slice_, _lately(pool, slice_)),
    "ended": lambda _, slice_: slice_.state.is_over,
}
SLICE_SORTS: Final[dict[str, Callable[[Pool, Slice], Any]]] = {
    "slice": lambda _, slice_: slice_.slice_id,
    "tenant": lambda _, slice_: (slice_.account, slice_.slice_id),
    "place": lambda _, slice_: (slice_.node, slice_.device),
    "compute": lambda _, slice_: slice_.compute_pct,
    "memory": lambda _, slice_: slice_.memory_mib,
    "achieved": lambda pool, slice_: _lately(pool, slice_).achieved_millipct,
    "throttled": lambda pool, slice_: _lately(pool, slice_).throttled_ms,
    "created": lambda _, slice_: slice_.created_ms,
}


def slices_of(pool: Pool, part: Part, state: str, tenant: str | None, place: tuple[str, str]) -> tuple[list[Slice], int]:
    """Return slices of one of SLICE_STATES: "live" is all that are not over. `place` is (node, device), each "" for any."""
    node, device = place
    is_wanted = SLICE_STATES[state]
    rows = (
        slice_
        for slice_ in pool.slices.values()
        if is_wanted(pool, slice_)
        and tenant in (None, slice_.tenant)
        and node in ("", slice_.node)
        and device in ("", slice_.device)
        and (not part.words or part.meets(*(getattr(slice_, name) for name in SEARCHED)))
    )
    return part.of(rows, {name: partial(key, pool) for name, key in SLICE_SORTS.items()})


def devices_of(pool: Pool, part: Part, state: str, node: str) -> tuple[list[tuple[Node, Device]], int]:
    """Return devices with their nodes; `state` is "" for all, "up" for those in service, or "away" for all others."""
    rows = (
        (one, device)
        for _, one in sorted(pool.nodes.items())
        if node in ("", one.node) and (not state or (one.is_up and not one.is_cordoned) == (state == "up"))
        for device in one.devices.values()
        if not part.words or part.meets(one.node, device.info.device, device.info.model, device.info.kind)
    )
    sorts: dict[str, Callable[[tuple[Node, Device]], Any]] = {
        "node": lambda row: (row[0].node, row[1].info.device),
        "compute": lambda row: -row[1].compute_free_pct,
        "memory": lambda row: row[1].info.memory_mib - row[1].memory_free_mib,
        "busy": lambda row: pool.busy_millipct(row[1]),
        "slices": lambda row: len(row[1].slices),
    }
    return part.of(rows, sorts)
