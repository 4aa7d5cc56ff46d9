"""What placement learns: the tables are the definition of fragmentation, written out."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gpupool_broker.core.placement.host_workload import HostWorkload
from gpupool_broker.core.placement.hosts import HostAsk, State
from gpupool_broker.core.placement.workload import Workload

REQUESTS = st.lists(st.tuples(st.integers(1, 100), st.integers(1, 50)), min_size=1, max_size=20)


def learned(requests: list[tuple[int, int]], window: int = 50) -> Workload:
    workload = Workload(window=window, refresh=1)
    for compute, memory in requests:
        workload.saw(compute, memory)
    return workload


@settings(deadline=None)
@given(requests=REQUESTS, compute=st.integers(0, 100), memory=st.integers(-5, 60))
def test_a_device_is_fragmented_for_the_requests_it_cannot_take(requests: list, compute: int, memory: int) -> None:
    refused = sum(compute < wanted or memory < wanted_memory for wanted, wanted_memory in requests)
    assert learned(requests).lesson(to_come=False).potential(compute, memory) == compute * refused


@settings(deadline=None)
@given(requests=REQUESTS, compute=st.integers(0, 100), memory=st.integers(-5, 60))
def test_what_is_to_come_is_the_compute_the_memory_will_not_serve(requests: list, compute: int, memory: int) -> None:
    workload, size = learned(requests), len(requests)
    computes, memories = (sum(column) for column in zip(*requests, strict=True))
    short = max(0, compute * memories - memory * computes)
    fragment = workload.lesson(to_come=False).potential(compute, memory)
    assert workload.lesson(to_come=True).potential(compute, memory) == memories * fragment + size * short


def test_only_the_last_requests_count() -> None:
    workload = learned([(100, 10)] * 9 + [(10, 1)] * 4, window=4)
    assert workload.lesson(to_come=False).potential(10, 1) == 0


def test_lessons_come_soon_at_first_then_as_set() -> None:
    workload = Workload(refresh=4)
    kept = []
    for _ in range(12):
        workload.saw(10, 10)
        kept.append(workload.lesson(to_come=False))
    assert [number + 1 for number in range(12) if not number or kept[number] is not kept[number - 1]] == [1, 2, 4, 8, 12]


def test_nothing_learned_is_nothing_fragmented() -> None:
    assert Workload().lesson(to_come=True).potential(70, 5) == 0


# ── hosts ──────

ASKS = st.lists(
    st.builds(
        lambda size, cpu, memory, models: HostAsk(gpus=size[0], units=size[1], cpu_milli=cpu, memory_mib=memory, models=models),
        st.sampled_from([(0, 0), (1, 20), (1, 81), (1, 100), (2, 100), (2, 30)]),
        st.integers(0, 9),
        st.integers(0, 9),
        st.sampled_from([frozenset(), frozenset("A"), frozenset("AB")]),
    ),
    min_size=1,
    max_size=12,
)
STATES = st.tuples(
    st.lists(st.integers(0, 100), max_size=4).map(lambda gpus: tuple(sorted(gpus))),
    st.integers(0, 9),
    st.integers(0, 9),
    st.sampled_from("ABC"),
)


@settings(deadline=None)
@given(asks=ASKS, state=STATES)
def test_a_host_is_fragmented_as_defined(asks: list[HostAsk], state: State) -> None:
    workload = HostWorkload(refresh=1)
    for ask in asks:
        workload.saw(ask)
    wanted = [ask for ask in asks if ask.gpus]
    gpus, cpu = state[0], state[1]
    fragment = sum(sum(level for level in gpus if level < ask.units or not ask.fits(state)) for ask in wanted)
    assert workload.fragment(state) == fragment
    cpus, units = sum(ask.cpu_milli for ask in asks), sum(ask.gpus * ask.units for ask in asks)
    short = max(0, sum(gpus) * cpus - cpu * units)
    assert workload.fragment_to_come(state) == fragment * (cpus or 1) + len(wanted) * short
