"""Use whose records left the journal: quarter hours instead of seconds, for who replays it."""

from __future__ import annotations

import msgspec

from gpupool_broker.core.facts import Fact


class UseFolded(Fact, frozen=True, kw_only=True):
    """Stands for many SliceUsed and DevicePowered that were taken out of the journal: quarter hours instead of seconds.

    The reader of the journal makes it of what is kept in their place; it is never a record itself. `at_ms` is the latest moment
    known before its place in the journal. Quarters are numbers since 1970 (UTC).
    """

    #: Slice, quarter, device ns of that quarter, and between which minutes of it (0 to 14, both inclusive).
    uses: list[tuple[str, int, int, int, int]] = msgspec.field(default_factory=list)
    #: Node, device, quarter, energy in mJ, and the time in which it was measured (ms).
    energies: list[tuple[str, str, int, int, int]] = msgspec.field(default_factory=list)
    #: Slice, device ns, throttled ns and calls of a whole fold, and when it was told last (ms).
    totals: list[tuple[str, int, int, int, int]] = msgspec.field(default_factory=list)

    def of(self, slice_id: str) -> UseFolded | None:
        """Return the part of one slice; None where it has none."""
        uses = [use for use in self.uses if use[0] == slice_id]
        totals = [total for total in self.totals if total[0] == slice_id]
        return UseFolded(at_ms=self.at_ms, uses=uses, totals=totals) if uses or totals else None
