"""How often what happened, since this broker serves: for counters that the books do not keep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from gpupool_broker.core import facts as f
from gpupool_broker.core.books import Books


class Tally:
    """Counts facts once they are stored. Used by the turns' thread."""

    def __init__(self) -> None:
        #: Tenant → grants, and slices that lost their device.
        self.granted: Counter[str] = Counter()
        self.stranded: Counter[str] = Counter()
        #: (How, tenant) → slices that ended.
        self.ended: Counter[tuple[str, str]] = Counter()
        self.nodes_lost = 0

    def take(self, facts: Iterable[f.Fact], books: Books) -> None:
        """Count facts, which the books have applied."""
        for fact in facts:
            match fact:
                case f.SliceGranted():
                    self.granted[fact.tenant] += 1
                case f.SliceEnded():
                    self.ended[fact.how, _tenant_of(fact.slice_id, books)] += 1
                case f.SliceStranded():
                    self.stranded[_tenant_of(fact.slice_id, books)] += 1
                case f.NodeLost():
                    self.nodes_lost += 1


def _tenant_of(slice_id: str, books: Books) -> str:
    # Of a turn that ends more slices than the books remember, some are forgotten already.
    slice_ = books.slices.get(slice_id)
    return slice_.tenant if slice_ else ""
