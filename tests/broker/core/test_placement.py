"""Placement on a pool: what each policy prefers, what a request may demand; the index answers what a full scan answers."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpupool_broker.core.placement import DEFAULT_POLICY, POLICIES, Ask, NoRoom, Placer, Plan, Workload, place
from gpupool_broker.core.placement.asks import version
from gpupool_broker.core.placement.placer import MAX_VIEWS
from gpupool_broker.core.state import Device, Node
from gpupool_wire.messages import DeviceInfo


def device(name: str = "gpu0", *, free: tuple[int, int] | None = None, **info: object) -> Device:
    given = {"kind": "cuda", "model": "T4", "memory_mib": 16_000, **info}
    one = Device.empty("n1", DeviceInfo(device=name, **given))  # type: ignore[arg-type]
    if free:
        one.compute_free_pct, one.memory_free_mib = free
    return one


def node(name: str, *devices: Device, **labels: str) -> Node:
    for one in devices:
        one.node = name
    return Node(node=name, door="", labels=labels, joined_ms=0, devices={one.info.device: one for one in devices})


def placer(*nodes: Node, policy: str = "best-fit") -> Placer:
    one = Placer(policy)
    for each in nodes:
        one.add(each)
    return one


def ask(compute: int = 10, memory: int = 1_000, **more: object) -> Ask:
    return Ask(compute_pct=compute, memory_mib=memory, **more)  # type: ignore[arg-type]


def taken(answer: Plan | NoRoom) -> tuple[str, str]:
    assert isinstance(answer, Plan), answer
    return answer.node, answer.device


def refused(answer: Plan | NoRoom) -> str:
    assert isinstance(answer, NoRoom), answer
    return answer.message


# ── policies ──────


def test_the_table_has_the_policies_and_a_default() -> None:
    assert list(POLICIES) == ["random", "best-fit", "spread", "pack", "fgd", "fgd+"]
    assert DEFAULT_POLICY == "fgd+"


def test_an_unknown_policy_is_refused_by_name() -> None:
    with pytest.raises(KeyError, match="worst"):
        Placer("worst")


@pytest.mark.parametrize(
    ("policy", "chosen"), [("best-fit", "tight"), ("spread", "idle"), ("pack", "slim"), ("fgd", "tight"), ("fgd+", "tight")]
)
def test_each_policy_prefers_another_device(policy: str, chosen: str) -> None:
    devices = device("tight", free=(20, 9_000)), device("slim", free=(60, 2_000)), device("idle")
    assert taken(placer(node("n1", *devices), policy=policy).place(ask())) == ("n1", chosen)


def test_fgd_keeps_whole_devices_for_those_who_ask_for_whole_ones() -> None:
    one = placer(node("n1", device("half", free=(60, 9_000)), device("idle")), policy="fgd")
    for compute in (100, 60, 100, 60):
        one.seen(ask(compute))
    assert taken(one.place(ask(60))) == ("n1", "half")


def test_fgd_leaves_a_rest_that_somebody_can_use() -> None:
    """50 % on the fuller device would leave 20 % that nobody asks for; on the other it leaves 50 %."""
    one = placer(node("n1", device("a", free=(70, 9_000)), device("b")), policy="fgd")
    for _ in range(8):
        one.seen(ask(50))
    assert taken(one.place(ask(50))) == ("n1", "b")


def test_fgd_plus_keeps_memory_for_the_compute_that_is_free() -> None:
    """Both leave the same fragments; on b the memory left would be too little for the compute left."""
    devices = device("a", free=(100, 16_000)), device("b", free=(90, 9_000))
    for policy, chosen in (("fgd", "b"), ("fgd+", "a")):
        one = placer(node("n1", *devices), policy=policy)
        for _ in range(8):
            one.seen(ask(10, 1_000))
        assert taken(one.place(ask(10, 4_000))) == ("n1", chosen), policy


@pytest.mark.parametrize("policy", [name for name in POLICIES if name not in ("random", "spread")])
def test_a_tie_goes_to_the_fuller_device_then_to_the_first_by_name(policy: str) -> None:
    assert taken(placer(node("n2", device()), node("n1", device("gpu1"), device("gpu0")), policy=policy).place(ask())) == (
        "n1",
        "gpu0",
    )


def test_random_draws_from_all_that_fit_and_repeats_itself_with_its_seed() -> None:
    def drawn(seed: int) -> list[tuple[str, str]]:
        one = Placer("random", rng=Random(seed))
        one.add(node("n1", *(device(f"gpu{i}") for i in range(4))))
        return [taken(one.place(ask())) for _ in range(64)]

    assert drawn(1) == drawn(1)
    assert len(set(drawn(1))) == 4


# ── constraints ──────


def mixed() -> Placer:
    old = device("gpu0", labels={"driver": "535.54.03", "compute_capability": "8.6", "tflops": "100"})
    new = device("gpu0", model="H100", labels={"driver": "535.104.05", "compute_capability": "8.10", "tflops": "400"})
    return placer(node("n1", old, rack="a"), node("n2", new, device("gpu1", model="L4"), rack="b"))


@pytest.mark.parametrize(
    ("wants", "chosen"),
    [
        ({"models": frozenset({"H100", "B200"})}, ("n2", "gpu0")),
        ({"labels": frozenset({("rack", "b")})}, ("n2", "gpu0")),
        ({"at_least": frozenset({("driver", "535.60")})}, ("n2", "gpu0")),
        ({"at_least": frozenset({("compute_capability", "8.9")})}, ("n2", "gpu0")),
        ({"node": "n2"}, ("n2", "gpu0")),
        ({"avoid_nodes": frozenset({"n1"})}, ("n2", "gpu0")),
        ({"avoid_devices": frozenset({("n1", "gpu0"), ("n2", "gpu0")})}, ("n2", "gpu1")),
    ],
)
def test_a_constraint_is_kept(wants: dict, chosen: tuple[str, str]) -> None:
    assert taken(mixed().place(ask(**wants))) == chosen


@pytest.mark.parametrize(
    ("wants", "said"),
    [
        ({"models": frozenset({"B200"})}, "the pool has no device that is up (B200)"),
        ({"labels": frozenset({("rack", "c")})}, "(rack=c)"),
        ({"at_least": frozenset({("driver", "600")})}, "(driver 600 or later)"),
        ({"node": "n9", "kind": "cuda"}, "no cuda device that is up (on n9)"),
        ({"avoid_nodes": frozenset({"n1", "n2"})}, "(not on n1, not on n2)"),
    ],
)
def test_a_constraint_that_nothing_meets_is_named(wants: dict, said: str) -> None:
    assert said in refused(mixed().place(ask(**wants)))


def test_versions_are_compared_as_numbers() -> None:
    assert version("535.104.05") > version("535.54.03")


def test_tflops_become_the_share_of_each_device() -> None:
    plan = mixed().place(Ask(compute_pct=0, memory_mib=100, tflops=90))
    assert plan == Plan(node="n1", device="gpu0", compute_pct=90)
    assert mixed().place(Ask(compute_pct=0, memory_mib=100, tflops=101)) == Plan(node="n2", device="gpu0", compute_pct=26)


def test_more_tflops_than_any_device_has_are_refused() -> None:
    answer = mixed().place(Ask(compute_pct=0, memory_mib=100, tflops=401))
    assert "asked 401 TFLOPS and 100 MiB; no device says (label tflops) that it is that fast" in refused(answer)


# ── what changes ──────


def test_a_node_that_left_gets_nothing_and_one_that_returned_does() -> None:
    one = placer(first := node("n1", device()))
    one.remove("n1")
    assert "no device that is up" in refused(one.place(ask()))
    one.add(first)
    assert taken(one.place(ask())) == ("n1", "gpu0")


def test_a_change_of_a_node_that_is_not_there_is_no_error() -> None:
    one = placer(node("n1", device()))
    one.changed(node("n2", device()).devices["gpu0"])
    assert repr(one) == "<Placer, 1 devices on 1 nodes, 0 views>"


def test_no_more_views_are_kept_than_the_limit() -> None:
    one = placer(node("n1", device()))
    for number in range(MAX_VIEWS + 9):
        one.place(ask(models=frozenset({f"model-{number}"})))
    assert repr(one).endswith(f"{MAX_VIEWS} views>")


def test_a_refusal_names_the_dimension_that_was_short() -> None:
    one = placer(node("n1", device(free=(30, 8_000))))
    for wanted, dimension in ((ask(40), "compute"), (ask(10, 9_000), "memory"), (ask(10, 17_000), "memory")):
        answer = one.place(wanted)
        assert isinstance(answer, NoRoom)
        assert answer.details["dimension"] == dimension


LABELS = st.fixed_dictionaries(
    {}, optional={"driver": st.sampled_from(["1.9", "1.10"]), "tflops": st.sampled_from(["50", "200", "?"])}
)
INFOS = st.builds(
    dict,
    kind=st.sampled_from(["cuda", "cpu", "null"]),
    model=st.sampled_from(["A", "B"]),
    memory_mib=st.sampled_from([8, 16, 24]),
    worker_overhead_mib=st.sampled_from([0, 1]),
    labels=LABELS,
)
NODES = st.lists(st.tuples(st.lists(INFOS, min_size=1, max_size=4), st.sampled_from(["a", "b"])), min_size=1, max_size=4)
ASKS = st.builds(
    Ask,
    compute_pct=st.sampled_from([5, 10, 30, 50, 100]),
    memory_mib=st.integers(1, 26),
    kind=st.sampled_from([None, None, "cuda", "null"]),
    tflops=st.sampled_from([0, 0, 20, 60]),
    models=st.sampled_from([frozenset(), frozenset("A")]),
    labels=st.sampled_from([frozenset(), frozenset({("rack", "a")})]),
    at_least=st.sampled_from([frozenset(), frozenset({("driver", "1.10")})]),
    node=st.sampled_from([None, None, None, "n0"]),
    avoid_nodes=st.sampled_from([frozenset(), frozenset({"n1"})]),
    avoid_devices=st.sampled_from([frozenset(), frozenset({("n0", "gpu0")})]),
)
STEPS = st.lists(st.one_of(ASKS, ASKS, ASKS, st.integers(0, 40)), max_size=40)


@settings(deadline=None, max_examples=300)
@given(nodes=NODES, steps=STEPS, policy=st.sampled_from(list(POLICIES)))
def test_the_index_answers_what_a_full_scan_answers(nodes: list, steps: list, policy: str) -> None:
    """Requests come and go, nodes leave and return: same plan or same refusal each time, and no plan where it does not fit."""
    up = {
        f"n{i}": node(f"n{i}", *(device(f"gpu{j}", **info) for j, info in enumerate(infos)), rack=rack)
        for i, (infos, rack) in enumerate(nodes)
    }
    workload, index, held = Workload(window=8, refresh=3), Placer(policy, rng=Random(7)), []
    index.workload, scan_rng = workload, Random(7)
    for each in up.values():
        index.add(each)
    for step in steps:
        if isinstance(step, int):
            if held:
                one, booked = held.pop(step % len(held))
                _book(index, one, booked, -1)
            elif up:
                index.remove(gone := sorted(up)[step % len(up)])
                index.add(up[gone])
            continue
        index.seen(step)
        devices = [one for each in up.values() for one in each.devices.values()]
        labels = {each.node: each.labels for each in up.values()}
        answer = index.place(step)
        assert answer == place(step, devices, policy=policy, workload=workload, node_labels=labels, rng=scan_rng)
        if isinstance(answer, Plan):
            one = up[answer.node].devices[answer.device]
            held.append((one, (answer.compute_pct, one.booked_mib(step.memory_mib))))
            _book(index, *held[-1], 1)
            assert min(one.compute_free_pct, one.memory_free_mib) >= 0


def _book(index: Placer, one: Device, booked: tuple[int, int], sign: int) -> None:
    one.compute_free_pct -= sign * booked[0]
    one.memory_free_mib -= sign * booked[1]
    index.changed(one)
