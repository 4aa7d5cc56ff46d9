"""Steps in an order that can be done: every step behind those it waits for.

Source: Kahn, "Topological sorting of large networks", CACM 1962; ties are broken by the order in which the steps are written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gpupool_ocr.plans.kinds import GIVEN, KINDS
from gpupool_ocr.plans.spec import StepSpec
from gpupool_wire.errors import UsageError


class PlanError(UsageError):
    """The plan cannot be carried out."""

    code = "plan"


@dataclass(frozen=True, slots=True)
class Graph:
    """Which step waits for which. `after` lists the steps in an order that can be done."""

    after: Mapping[str, frozenset[str]]

    def depth(self, name: str) -> int:
        """Return how many steps lie on the longest way to a step: 0 for a first one."""
        return max((1 + self.depth(earlier) for earlier in self.after[name]), default=0)

    def ready(self, started: frozenset[str], done: frozenset[str]) -> list[str]:
        """Return the steps that may start now, in order."""
        return [name for name, waits_for in self.after.items() if name not in started and waits_for <= done]


def make_graph(plan: str, steps: Mapping[str, StepSpec]) -> Graph:
    """Return the graph of a plan. Raises PlanError for unknown steps, cycles, and steps that lack what they need."""
    if not steps:
        raise PlanError(f"plan {plan!r} has no steps: write at least one")
    graph = Graph(_sorted(plan, _waits(plan, steps)))
    for name in graph.after:
        _check_needs(plan, name, steps, graph)
    return graph


def _waits(plan: str, steps: Mapping[str, StepSpec]) -> dict[str, frozenset[str]]:
    waits: dict[str, frozenset[str]] = {}
    above: list[str] = []
    for name, step in steps.items():
        if step.use not in KINDS:
            raise PlanError(f"plan {plan!r}, step {name!r}: there is no kind of step {step.use!r}; there are {', '.join(KINDS)}")
        for earlier in step.after or []:
            if earlier not in steps:
                raise PlanError(f"plan {plan!r}, step {name!r} waits for {earlier!r}, which is no step of it: {', '.join(steps)}")
        waits[name] = frozenset(above if step.after is None else step.after)
        above = [name]
    return waits


def _sorted(plan: str, waits: Mapping[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    done: dict[str, frozenset[str]] = {}
    while len(done) < len(waits):
        ready = [name for name, earlier in waits.items() if name not in done and earlier <= done.keys()]
        if not ready:
            stuck = {name: earlier - done.keys() for name, earlier in waits.items() if name not in done}
            way = " -> ".join(_cycle(stuck))
            raise PlanError(f"plan {plan!r} has a cycle: {way}; take one of these steps out of the other's `after`")
        done[ready[0]] = waits[ready[0]]
    return done


def _cycle(stuck: Mapping[str, frozenset[str]]) -> list[str]:
    """Return one way round, from a step to itself, in the order in which they would run."""
    way = [next(iter(stuck))]
    while True:
        # Of a step in a knot at least one that it waits for is in the knot, too.
        earlier = sorted(stuck[way[-1]])[0]
        if earlier in way:
            return [*way[way.index(earlier) :], earlier][::-1]
        way.append(earlier)


def _check_needs(plan: str, name: str, steps: Mapping[str, StepSpec], graph: Graph) -> None:
    given = set(GIVEN)
    for earlier in _ancestors(name, graph):
        given |= KINDS[steps[earlier].use].gives
    missing = sorted(KINDS[steps[name].use].needs - given)
    if missing:
        makers = [kind for kind, what in KINDS.items() if missing[0] in what.gives]
        raise PlanError(
            f"plan {plan!r}, step {name!r} needs {missing[0]}, which no step before it gives: put {' or '.join(makers)} there"
        )


def _ancestors(name: str, graph: Graph) -> set[str]:
    found: set[str] = set()
    waiting = list(graph.after[name])
    while waiting:
        earlier = waiting.pop()
        if earlier not in found:
            found.add(earlier)
            waiting += graph.after[earlier]
    return found
