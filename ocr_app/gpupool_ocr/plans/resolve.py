"""From (business, kind of algorithm) to a plan whose every step is settled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from gpupool_ocr.plans.graph import Graph, PlanError, make_graph
from gpupool_ocr.plans.kinds import KINDS
from gpupool_ocr.plans.spec import ANYBODY, AlgorithmSpec, CasesSpec, Snapshot, StepOverride, StepSpec
from gpupool_wire.errors import NotFound, UsageError
from gpupool_wire.units import parse_memory


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is done with the pages of one business and kind."""

    name: str
    bid: str
    tid: str
    #: In an order that can be done.
    steps: Mapping[str, StepSpec]
    graph: Graph
    #: What is kept of its pages, where it says so.
    cases: CasesSpec | None = None


def find_algorithm(snapshot: Snapshot, bid: str, tid: str) -> AlgorithmSpec:
    """Return the entry of a business, else the one for everybody. Raises NotFound with the kinds there are."""
    fitting = {entry.bid: entry for entry in snapshot.algorithms if entry.tid == tid and entry.bid in (bid, ANYBODY)}
    if not fitting:
        kinds = sorted({entry.tid for entry in snapshot.algorithms if entry.bid in (bid, ANYBODY)})
        raise NotFound(
            f"there is no algorithm for bid {bid!r} and tid {tid!r}; this bid may use tid {', '.join(kinds) or '(none)'}"
        )
    return fitting.get(bid) or fitting[ANYBODY]


def resolve(snapshot: Snapshot, entry: AlgorithmSpec) -> Plan:
    """Return an entry's plan with its overrides. Raises PlanError where they do not fit together."""
    shared = snapshot.plans.get(entry.plan)
    where = f"algorithm {entry.bid}/{entry.tid}"
    if shared is None:
        raise PlanError(f"{where} wants plan {entry.plan!r}; there are {', '.join(snapshot.plans) or 'none'}")
    for name in entry.override:
        if name not in shared.steps:
            raise PlanError(f"{where} overrides step {name!r}; plan {entry.plan!r} has {', '.join(shared.steps)}")
    steps = {name: _merged(step, entry.override.get(name)) for name, step in shared.steps.items()}
    graph = make_graph(entry.plan, steps)
    for name, step in steps.items():
        _check_step(snapshot, entry.plan, name, step)
    ordered = {name: steps[name] for name in graph.after}
    return Plan(name=entry.plan, bid=entry.bid, tid=entry.tid, steps=ordered, graph=graph, cases=shared.cases)


def resolve_all(snapshot: Snapshot) -> dict[tuple[str, str], Plan]:
    """Return every plan of a snapshot by (bid, tid), which is how a whole snapshot is checked. Raises PlanError."""
    plans: dict[tuple[str, str], Plan] = {}
    for entry in snapshot.algorithms:
        if (entry.bid, entry.tid) in plans:
            raise PlanError(f"algorithm {entry.bid}/{entry.tid} is there twice: keep one")
        plans[entry.bid, entry.tid] = resolve(snapshot, entry)
    if not plans:
        raise PlanError("the snapshot has no algorithms: nobody could be served")
    used = {entry.plan for entry in snapshot.algorithms}
    for name, plan in snapshot.plans.items():  # one that nobody uses yet must be sound, too
        if name not in used:
            make_graph(name, plan.steps)
            for step_name, step in plan.steps.items():
                _check_step(snapshot, name, step_name, step)
    _check_slices(snapshot, plans.values())
    return plans


def _check_slices(snapshot: Snapshot, plans: Iterable[Plan]) -> None:
    """Refuse slices that no step of any plan would run on: what a snapshot names is held, and used."""
    for name, spec in snapshot.slices.items():
        try:
            parse_memory(spec.memory)
        except UsageError as error:
            raise PlanError(f"slices {name!r}: {error}") from error
    used = {step.slices for plan in plans for step in plan.steps.values()}
    for name in snapshot.slices:
        if name not in used:
            raise PlanError(f"slices {name!r} are used by no step: name them in one (`slices: {name}`), or leave them out")


def _merged(step: StepSpec, override: StepOverride | None) -> StepSpec:
    if override is None:
        return step
    changes: dict[str, Any] = {
        field: value for field in override.__struct_fields__ if (value := getattr(override, field)) is not msgspec.UNSET
    }
    return msgspec.structs.replace(step, **changes)


def _check_step(snapshot: Snapshot, plan: str, name: str, step: StepSpec) -> None:
    """Refuse a step whose model or plug-in is missing, unknown, or of another kind than the step runs."""
    kind, where = KINDS[step.use], f"plan {plan!r}, step {name!r}"
    for what, wanted, given, known in (
        ("model", kind.role is not None, step.model, snapshot.models),
        ("plugin", kind.runs_plugin, step.plugin, snapshot.plugins),
    ):
        if wanted and given is None:
            raise PlanError(f"{where} ({step.use}) needs a {what}: name one of {', '.join(known) or '(there are none)'}")
        if given is not None and not wanted:
            raise PlanError(f"{where} ({step.use}) runs no {what}: leave out {what} {given!r}")
        if given is not None and given not in known:
            raise PlanError(f"{where} wants {what} {given!r}; there are {', '.join(known) or 'none'}")
    if step.slices is not None and (kind.role is None or step.device == "host"):
        raise PlanError(f"{where} ({step.use}, device {step.device}) runs no model on a slice: leave out slices {step.slices!r}")
    if step.slices is not None and step.slices not in snapshot.slices:
        raise PlanError(f"{where} wants slices {step.slices!r}; there are {', '.join(snapshot.slices) or 'none'}")
    if step.model is not None and snapshot.models[step.model].role != kind.role:
        raise PlanError(
            f"{where} ({step.use}) runs a {kind.role} model; {step.model!r} is a {snapshot.models[step.model].role} model"
        )
