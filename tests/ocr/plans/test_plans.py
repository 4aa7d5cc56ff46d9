"""Plans as data: what fits, what is refused, and with which way out."""

from __future__ import annotations

import msgspec
import pytest

from gpupool_ocr.plans.diff import diff
from gpupool_ocr.plans.graph import PlanError, make_graph
from gpupool_ocr.plans.reading import default_snapshot, read_snapshot, write_snapshot
from gpupool_ocr.plans.resolve import find_algorithm, resolve, resolve_all
from gpupool_ocr.plans.spec import Snapshot, StepSpec
from gpupool_wire.errors import NotFound

YAML = """
models:
  d: {role: detection}
  r: {role: recognition}
  r2: {role: recognition, version: "2"}
  o: {role: direction}
plugins:
  fields: {call: "json:loads"}
plans:
  text:
    steps:
      detect: {use: detect, model: d}
      recognize: {use: recognize, model: r, replicas: 2}
      order: {use: order}
      extract: {use: plugin, plugin: fields, on_error: skip}
      stamp: {use: plugin, plugin: fields, after: [order]}
algorithms:
  - {tid: text, plan: text}
  - {bid: acme, tid: text, plan: text, override: {recognize: {model: r2, batch: 4}}}
"""


@pytest.fixture
def snapshot() -> Snapshot:
    return read_snapshot(YAML)


def refused(old: str, new: str) -> str:
    assert old in YAML
    with pytest.raises(PlanError) as caught:
        read_snapshot(YAML.replace(old, new))
    return caught.value.message


def test_steps_run_one_after_the_other_unless_they_say_otherwise(snapshot: Snapshot) -> None:
    graph = resolve(snapshot, find_algorithm(snapshot, "anybody", "text")).graph
    assert graph.ready(frozenset(), frozenset()) == ["detect"]
    done = frozenset({"detect", "recognize", "order"})
    assert graph.ready(done, done) == ["extract", "stamp"]
    assert [graph.depth(name) for name in graph.after] == [0, 1, 2, 3, 3]


def test_a_business_overrides_one_step_of_a_shared_plan(snapshot: Snapshot) -> None:
    plans = resolve_all(snapshot)
    shared, own = plans["*", "text"].steps, plans["acme", "text"].steps
    assert (own["recognize"].model, own["recognize"].batch, own["recognize"].replicas) == ("r2", 4, 2)
    assert {name: step for name, step in own.items() if name != "recognize"} == {
        name: step for name, step in shared.items() if name != "recognize"
    }


def test_a_kind_of_algorithm_that_is_not_there_names_those_that_are(snapshot: Snapshot) -> None:
    with pytest.raises(NotFound, match=r"'plates'.*may use tid text"):
        find_algorithm(snapshot, "acme", "plates")


def test_a_cycle_is_shown_from_end_to_end() -> None:
    message = refused("{use: detect, model: d}", "{use: detect, model: d, after: [order]}")
    assert "detect -> recognize -> order -> detect" in message


def test_a_step_of_no_kind_is_refused_with_the_kinds_there_are() -> None:
    assert "no kind of step 'sort'; there are detect, recognize" in refused("{use: order}", "{use: sort}")


def test_a_step_without_what_it_needs_says_who_gives_it() -> None:
    message = refused("recognize: {use: recognize, model: r, replicas: 2}\n", "later: {use: order}\n")
    assert "'later' needs readings" in message
    assert "put recognize or reread there" in message


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("model: r, replicas", "model: x, replicas", "wants model 'x'; there are d, r, r2, o"),
        ("model: r, replicas", "model: d, replicas", "runs a recognition model; 'd' is a detection model"),
        ("{use: order}", "{use: order, model: r}", "runs no model: leave out model 'r'"),
        ("use: plugin, plugin: fields, on_error", "use: plugin, on_error", "needs a plugin: name one of fields"),
        ("after: [order]", "after: [sort]", "waits for 'sort', which is no step of it"),
        ("replicas: 2", "replicas: 0", "replicas"),
        ("tid: text, plan: text}", "tid: text, plan: other}", "wants plan 'other'; there are text"),
        ("override: {recognize", "override: {sort", "overrides step 'sort'"),
        ("role: detection", "role: detektion", "role"),
        ("algorithms:", "algorithmen:", "unknown field `algorithmen`"),
        ("  - {bid: acme", "  - {tid: text, plan: text}\n  - {bid: acme", "is there twice"),
        ("      order: {use: order}\n", "      order: {use: order}\n      order: {use: order}\n", "'order' is written twice"),
        ("{role: detection}", "&a {role: detection}\n  e: *a", "aliases are not allowed"),
        ("models:", "models: [", "is not YAML"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(old: str, new: str, why: str) -> None:
    assert why in refused(old, new)


def test_a_plan_without_steps_is_refused() -> None:
    with pytest.raises(PlanError, match="has no steps"):
        make_graph("empty", {})


def test_two_steps_that_wait_for_each_other_are_a_cycle() -> None:
    steps = {name: StepSpec(use="order", after=[other]) for name, other in (("a", "b"), ("b", "a"))}
    with pytest.raises(PlanError, match="cycle: "):
        make_graph("knot", steps)


def test_a_snapshot_survives_being_written_and_read(snapshot: Snapshot) -> None:
    assert read_snapshot(write_snapshot(snapshot)) == snapshot
    assert read_snapshot(write_snapshot(default_snapshot())) == default_snapshot()


def test_the_difference_is_one_line_a_change(snapshot: Snapshot) -> None:
    other = read_snapshot(YAML.replace('version: "2"', 'version: "3"').replace(", on_error: skip", ""))
    assert [str(change) for change in diff(snapshot, other)] == [
        '~ models.r2.version: "2" -> "3"',
        '~ plans.text.steps.extract.on_error: "skip" -> "fail"',
    ]
    assert diff(snapshot, snapshot) == []


def test_a_step_that_moves_is_a_change_and_an_algorithm_that_moves_is_none(snapshot: Snapshot) -> None:
    moved = msgspec.structs.replace(snapshot, algorithms=snapshot.algorithms[::-1])
    assert diff(snapshot, moved) == []
    first = "      order: {use: order}\n"
    below = YAML.replace(first, "").replace("algorithms:", "      order: {use: order, after: [recognize]}\nalgorithms:")
    assert diff(snapshot, read_snapshot(below.replace("on_error: skip}", "on_error: skip, after: [order]}"))) == []
