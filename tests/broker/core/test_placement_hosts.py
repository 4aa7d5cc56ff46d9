"""Placement on hosts with CPU of their own: what each policy prefers, gangs; the index answers what a full scan answers."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpupool_broker.core.placement import POLICIES
from gpupool_broker.core.placement.host_placer import HostPlacer, drawn, entry_of, scale_of
from gpupool_broker.core.placement.host_policies import HOST_POLICIES
from gpupool_broker.core.placement.host_workload import HostWorkload
from gpupool_broker.core.placement.hosts import Host, HostAsk, HostPlan


def host(name: str, *gpus: int, cpu: int = 32_000, memory: int = 100_000, model: str = "T4") -> Host:
    return Host(name=name, model=model, cpu_milli=cpu, memory_mib=memory, gpus=list(gpus))


def ask(units: int = 50, gpus: int = 1, *, cpu: int = 1_000, memory: int = 1_000, models: str = "") -> HostAsk:
    return HostAsk(cpu_milli=cpu, memory_mib=memory, gpus=gpus, units=units, models=frozenset(models.split()))


def placed(policy: str, wanted: HostAsk, *hosts: Host, seen: tuple[HostAsk, ...] = ()) -> HostPlan | None:
    placer = HostPlacer(hosts, policy=policy)
    for one in seen:
        placer.seen(one)
    return placer.place(wanted)


def test_both_modes_have_the_same_policies() -> None:
    assert list(HOST_POLICIES) == list(POLICIES)


@pytest.mark.parametrize(
    ("policy", "chosen"),
    [("best-fit", "slim"), ("spread", "idle"), ("pack", "used"), ("fgd", "used"), ("fgd+", "used")],
)
def test_each_policy_prefers_another_host(policy: str, chosen: str) -> None:
    hosts = host("idle", 100, 100), host("slim", 100, cpu=8_000), host("used", 60, 100, cpu=30_000)
    plan = placed(policy, ask(), *hosts, seen=(ask(100, cpu=8_000),) * 8)
    assert plan
    assert plan.host == chosen


def test_fgd_plus_does_not_strand_gpus_behind_a_host_without_cpu() -> None:
    """Both hosts can serve the workload a while yet; the first will run out of CPU before it runs out of GPU."""
    hosts = host("few-cores", 100, 100, cpu=9_000), host("many-cores", 100, 100, 100, cpu=64_000)
    seen = (ask(50, cpu=2_000),) * 8
    assert [placed(policy, ask(50, cpu=4_000), *hosts, seen=seen) for policy in ("fgd", "fgd+")] == [
        HostPlan(host="few-cores", gpus=(0,)),
        HostPlan(host="many-cores", gpus=(0,)),
    ]


@pytest.mark.parametrize("policy", ["best-fit", "pack", "fgd", "fgd+"])
def test_a_tie_goes_to_the_first_host_by_name_and_its_first_gpu(policy: str) -> None:
    assert placed(policy, ask(), host("b", 100, 100), host("a", 100, 100)) == HostPlan(host="a", gpus=(0,))


@pytest.mark.parametrize(
    ("wanted", "gpus"),
    [(ask(100, 2), (1, 3)), (ask(30, 3), (0, 1, 2)), (ask(0, 0), ())],
    ids=["whole GPUs", "the same share of three", "no GPU at all"],
)
def test_a_gang_takes_gpus_of_one_host(wanted: HostAsk, gpus: tuple[int, ...]) -> None:
    assert placed("best-fit", wanted, host("a", 40, 100, 50, 100)) == HostPlan(host="a", gpus=gpus)


@pytest.mark.parametrize(
    "wanted", [ask(100, 2), ask(70), ask(10, 3), ask(10, cpu=40_000), ask(10, memory=200_000), ask(10, models="A100 H100")]
)
def test_what_one_host_lacks_is_not_put_together_from_two(wanted: HostAsk) -> None:
    assert placed("fgd+", wanted, host("a", 60, 50), host("b", 60, 50)) is None


SIZES = st.sampled_from([(0, 0), (20, 1), (50, 1), (81, 1), (100, 1), (100, 2), (30, 2)])
ASKS = st.builds(
    lambda size, cpu, memory, models: ask(*size, cpu=cpu, memory=memory, models=models),
    SIZES,
    st.sampled_from([0, 2_000, 7_000]),
    st.sampled_from([0, 30_000]),
    st.sampled_from(["", "", "T4", "T4 A100"]),
)
HOSTS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from([8_000, 16_000]), st.sampled_from(["T4", "A100", "H100"])),
    min_size=1,
    max_size=5,
)


@settings(deadline=None, max_examples=300)
@given(
    sizes=HOSTS, steps=st.lists(st.one_of(ASKS, ASKS, st.integers(0, 40)), max_size=40), policy=st.sampled_from(list(POLICIES))
)
def test_the_index_answers_what_a_full_scan_answers(sizes: list, steps: list, policy: str) -> None:
    """Requests come and go: the same plan each time, and none where it does not fit."""
    hosts = [host(f"h{i}", *[100] * gpus, cpu=cpu, model=model) for i, (gpus, cpu, model) in enumerate(sizes)]
    placer = HostPlacer(hosts, policy=policy, workload=HostWorkload(window=8, refresh=3), rng=Random(7))
    scan_rng, held = Random(7), []
    for step in steps:
        if isinstance(step, int):
            if held:
                one, wanted, gpus = held.pop(step % len(held))
                one.give_back(wanted, gpus)
                placer.changed(one)
            continue
        placer.seen(step)
        plan = placer.place(step)
        assert plan == scan(step, hosts, placer, scan_rng)
        if plan:
            one = placer.hosts[plan.host]
            assert len(set(plan.gpus)) == step.gpus
            one.take(step, plan.gpus)
            held.append((one, step, plan.gpus))
            placer.changed(one)
            assert min([one.cpu_milli, one.memory_mib, *one.gpus]) >= 0
            assert not step.models or one.model in step.models


def scan(wanted: HostAsk, hosts: list[Host], placer: HostPlacer, rng: Random) -> HostPlan | None:
    """What the placer must answer, from a look at every host."""
    fitting = [one for one in hosts if wanted.fits(one.state)]
    if placer.policy.is_random or not fitting:
        return drawn(wanted, fitting, rng)
    ranked = [(entry_of(placer.policy, placer.workload, placer.scale, wanted, one.state), one.name, one) for one in fitting]
    entry, name, best = min(ranked, key=lambda rank: rank[:2])
    return HostPlan(host=name, gpus=best.chosen(wanted, entry[-1]))


def test_the_scale_of_no_hosts_divides_nothing_by_zero() -> None:
    assert (scale_of([], 100).most_units, scale_of([], 100).most_cpu) == (1, 1)
