"""Interleaved runs of several contenders and the ratios between them, round by round.

Machines are noisy and drift: one round runs every contender once, in turn, and a ratio is taken within its round.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Paired:
    """What `rounds` interleaved rounds gave: a figure per contender and round."""

    figures: Mapping[str, list[float]]
    reference: str

    def median(self, name: str) -> float:
        """The contender's own median."""
        return statistics.median(self.figures[name])

    def ratios(self, name: str) -> list[float]:
        """The contender over the reference, round by round."""
        return [ours / theirs for ours, theirs in zip(self.figures[name], self.figures[self.reference], strict=True)]

    def table(self, unit: str) -> str:
        """A row per contender: median, range, and the median ratio with its range."""
        rows = [f"{'':28} {unit:>12} {'min':>9} {'max':>9} {'ratio':>7} {'min':>6} {'max':>6}"]
        for name, values in self.figures.items():
            ratios = self.ratios(name)
            rows.append(
                f"{name:28} {self.median(name):12.3f} {min(values):9.3f} {max(values):9.3f} "
                f"{statistics.median(ratios):7.3f} {min(ratios):6.3f} {max(ratios):6.3f}"
            )
        return "\n".join(rows)


def run_paired(contenders: Mapping[str, Callable[[], float]], rounds: int) -> Paired:
    """Run every contender once a round, in turn; the first is the reference."""
    figures: dict[str, list[float]] = {name: [] for name in contenders}
    for index in range(rounds):
        # Alternate the order, so that nobody always runs after the same neighbour.
        order = list(contenders) if index % 2 == 0 else list(reversed(contenders))
        for name in order:
            figures[name].append(contenders[name]())
    return Paired(figures=figures, reference=next(iter(contenders)))
