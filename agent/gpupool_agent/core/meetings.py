"""Which calls of a model may be executed as one, and whether that has been shown to change nothing.

Rules: calls are *alike* where they differ in the first dimension of their inputs alone, which the model says is free. Calls that
meet are executed as one only after calls of just these numbers of rows, with inputs that differ, were executed both alone and as
one, and every output was the same to the last bit, and it took clearly less time. Where one bit differs, calls like these are
apart for good. The proof is made at the 1st, 2nd, 4th, 8th ... meeting: what is rarely different is found, at next to no cost.
Where it does not pay, only every other of these is one, in case that changes.

    way(calls) ──> ALONE | BOTH | TOGETHER          shown(calls, same, times)          postpone(calls)

What a model computes is not known here, so a sample is all the proof there can be. Operators of which it is known that rows
depend on one another by their values (ROW_MIXERS of core.model_scan) rule a model out beforehand.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from gpupool_wire.messages import TensorInfo

#: Calls that are executed as one, at most and only so many: each number is proven by itself.
COUNTS: Final = (8, 4, 2)
#: One execution cannot be interrupted, so together calls take no longer than the usual quantum of half a device.
LONGEST_NS: Final = 40_000_000
#: Executing calls as one pays where it takes at most so much of the time they take alone: all of them wait for its end, and what
#: gathering costs is not in it.
PAYS_PCT: Final = 80
#: Chances that are left out after a failure (memory was short, one call's values are bad) and after calls that were all the same.
RESTS: Final = 32
#: Kinds of meetings a model remembers, and kinds of calls that are apart; a model of more than that is left alone.
MAX_KINDS: Final = 256
MAX_APART: Final = 64


class Likeness(NamedTuple):
    """What calls that may be executed as one have in common."""

    #: Name, dtype and shape beyond the first dimension of every input.
    inputs: tuple[tuple[str, str, tuple[int, ...]], ...]
    outputs: tuple[str, ...] | None
    run_config: tuple[tuple[str, str], ...]


class Way(StrEnum):
    """How calls that have met are executed."""

    ALONE = "alone"
    #: Each alone, and all as one, to compare.
    BOTH = "both"
    TOGETHER = "together"


@dataclass(slots=True)
class _Kind:
    """Calls that are alike, of certain numbers of rows."""

    meetings: int = 0
    #: What the proofs took, either way.
    alone_ns: int = 0
    together_ns: int = 0
    rests: int = 0

    @property
    def pays(self) -> bool:
        return self.together_ns * 100 <= self.alone_ns * PAYS_PCT

    @property
    def is_due(self) -> bool:
        """Whether the next meeting is the 1st, 2nd, 4th, 8th ..., or, where they do not pay, the 1st, 4th, 16th ..."""
        meeting = self.meetings + 1
        return meeting & (meeting - 1) == 0 and (self.pays or meeting.bit_length() % 2 == 1)


class Meetings:
    """What one model's meetings have shown. Not thread-safe by itself."""

    __slots__ = ("_apart", "_kinds")

    def __init__(self) -> None:
        self._kinds: OrderedDict[tuple[Likeness, tuple[int, ...]], _Kind] = OrderedDict()
        self._apart: set[Likeness] = set()

    def __repr__(self) -> str:
        return f"<Meetings of {len(self._kinds)} kinds, {len(self._apart)} apart>"

    def are_apart(self, likeness: Likeness) -> bool:
        """Whether such calls are never executed as one."""
        return likeness in self._apart or len(self._apart) >= MAX_APART

    def way(self, likeness: Likeness, rows: tuple[int, ...]) -> Way:
        """Return how calls of so many rows, in ascending order, are executed now that they have met."""
        if self.are_apart(likeness):
            return Way.ALONE
        kind = self._kind(likeness, rows)
        if kind.rests:
            kind.rests -= 1
            return Way.ALONE
        if kind.is_due:
            return Way.BOTH
        kind.meetings += 1
        return Way.TOGETHER if kind.pays else Way.ALONE

    def shown(self, likeness: Likeness, rows: tuple[int, ...], *, same: bool, alone_ns: int, together_ns: int) -> None:
        """Take note of what a proof has shown: whether all bits were the same, and what both ways took of the device."""
        if not same:
            self._apart.add(likeness)
            for known in [kind for kind in self._kinds if kind[0] == likeness]:
                del self._kinds[known]
            return
        kind = self._kind(likeness, rows)
        kind.meetings += 1
        kind.alone_ns += alone_ns
        kind.together_ns += together_ns

    def postpone(self, likeness: Likeness, rows: tuple[int, ...]) -> None:
        """Take note that such calls could not be executed as one, or that nothing could be shown: RESTS chances are left out."""
        self._kind(likeness, rows).rests = RESTS

    def _kind(self, likeness: Likeness, rows: tuple[int, ...]) -> _Kind:
        kind = self._kinds.setdefault((likeness, rows), _Kind())
        self._kinds.move_to_end((likeness, rows))
        if len(self._kinds) > MAX_KINDS:
            self._kinds.popitem(last=False)
        return kind


def largest_count(waiting: int, call_ns: int) -> int:
    """Return how many of so many calls, each of about that time, may be executed as one; 1 where none may."""
    return next((count for count in COUNTS if count <= waiting and count * call_ns <= LONGEST_NS), 1)


def rows_are_free(inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo]) -> bool:
    """Whether a model says that the first dimension of everything it takes and gives is one and the same, and free."""
    infos = [*inputs, *outputs]
    first = {info.shape[0] if info.shape else None for info in infos}
    are_tensors = all(info.type.startswith("tensor(") and info.type != "tensor(string)" for info in infos)
    return bool(inputs) and bool(outputs) and are_tensors and len(first) == 1 and isinstance(first.pop(), str)
