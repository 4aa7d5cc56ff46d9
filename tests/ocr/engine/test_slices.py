"""Where a snapshot says that steps run: groups of slices, held, shared, changed and given back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from gpupool_ocr import samples
from gpupool_ocr.engine.lanes import Lanes
from gpupool_ocr.engine.release import Workshop
from gpupool_ocr.engine.running import read_page
from gpupool_ocr.engine.spreading import Spread
from gpupool_ocr.local import LocalFactory
from gpupool_ocr.pages import load_pages
from gpupool_ocr.plans.diff import diff
from gpupool_ocr.plans.graph import PlanError
from gpupool_ocr.plans.reading import default_snapshot, read_snapshot, write_snapshot
from gpupool_ocr.plans.spec import Snapshot
from gpupool_ocr.sessions import HeldSlice, SliceWish
from gpupool_wire.errors import SliceRefused, UsageError


@dataclass
class FakePool(LocalFactory):
    """A pool of so many slices whose models run on this host; counts what is held."""

    room: int = 4
    held: list[SliceWish] = field(default_factory=list)
    asked: int = 0

    def hold(self, wish: SliceWish) -> HeldSlice:
        self.asked += 1
        if len(self.held) == self.room:
            raise SliceRefused(f"the pool has {self.room} devices, all held")
        self.held.append(wish)
        return HeldSlice(factory=self, where=f"n1/gpu{len(self.held)}", release=lambda: self.held.remove(wish))


@pytest.fixture
def pool() -> FakePool:
    return FakePool()


@pytest.fixture
def workshop(pool: FakePool) -> Iterator[Workshop]:
    lanes = Lanes("gpu", 2)
    workshop = Workshop(gpu=pool, host=LocalFactory(), device=lanes, cores=lanes)
    yield workshop
    workshop.close()
    lanes.close()


def snapshot(replicas: int = 2, **more: Any) -> Snapshot:
    """Return the default plan with its recogniser on a group of slices."""
    size = {"compute": 50, "memory": "1GiB", "labels": {"zone": "a"}, "gpus": ["H200"]} | more
    yaml = write_snapshot(default_snapshot()).replace("model: recognition\n", "model: recognition\n        slices: readers\n")
    return read_snapshot(yaml + f"slices:\n  readers: {{replicas: {replicas}, {_flow(size)}}}\n")


def _flow(size: dict[str, Any]) -> str:
    return ", ".join(f"{key}: {value}" for key, value in size.items()).replace("'", "")


def test_a_group_is_held_as_it_is_asked_for_and_given_back_with_its_release(workshop: Workshop, pool: FakePool) -> None:
    release = workshop.build(1, snapshot())
    assert [wish.label for wish in pool.held] == ["ocr-readers-1", "ocr-readers-2"]
    wish = pool.held[0]
    assert (wish.compute, wish.memory, wish.labels, list(wish.gpus)) == (50, "1GiB", {"zone": "a"}, ["H200"])
    assert workshop.slices == {f"slice readers {n}: 50 % and 1GiB, zone=a, H200": f"n1/gpu{n}" for n in (1, 2)}
    plan = release.plan("any", "text")
    assert plan.lanes["recognize"] is plan.lanes["reread"] is not plan.lanes["detect"]
    assert plan.lanes["recognize"].threads == 4
    workshop.retire(release.key)
    assert pool.held == []


def test_pages_are_read_on_every_slice_of_the_group(workshop: Workshop) -> None:
    image = next(load_pages(samples.paths()[1])).image
    expected = read_page(workshop.build(1, default_snapshot()).plan("any", "text"), image, number=0)
    plan = workshop.build(2, snapshot()).plan("any", "text")
    reading = read_page(plan, image, number=1)
    assert [line.text for line in reading.work.lines] == [line.text for line in expected.work.lines]
    spread = plan.steps["recognize"].step._session  # type: ignore[attr-defined]
    assert isinstance(spread, Spread)
    assert all(calls > 0 for calls in spread.calls)


def test_of_a_group_that_grows_or_shrinks_only_the_difference_is_taken_or_given_back(workshop: Workshop, pool: FakePool) -> None:
    two = workshop.build(1, snapshot(2))
    three = workshop.build(2, snapshot(3))
    assert (pool.asked, len(pool.held)) == (3, 3)
    workshop.retire(two.key)
    assert len(pool.held) == 3
    one = workshop.build(3, snapshot(1))
    workshop.retire(three.key)
    assert (pool.asked, [wish.label for wish in pool.held]) == (3, ["ocr-readers-1"])
    workshop.build(4, snapshot(1, compute=60))
    workshop.retire(one.key)
    assert [wish.compute for wish in pool.held] == [60]


def test_a_group_that_does_not_fit_leaves_nothing_behind(workshop: Workshop, pool: FakePool) -> None:
    with pytest.raises(SliceRefused, match="4 devices"):
        workshop.build(1, snapshot(5))
    assert (pool.held, workshop.parts) == ([], {})


def test_without_a_pool_the_way_out_is_named() -> None:
    with pytest.raises(UsageError, match="without --local"):
        LocalFactory().hold(SliceWish(label="ocr-readers-1", compute=10, memory="1GiB"))


def test_a_call_goes_to_the_replica_with_the_fewest_under_way() -> None:
    entered, leaves = threading.Event(), threading.Event()

    class Session:
        def __init__(self, name: str) -> None:
            self.name = name

        def run(self, *_: object) -> list[Any]:
            if self.name == "slow":
                entered.set()
                assert leaves.wait(20)
            return [self.name]

    spread = Spread([Session("slow"), Session("quick")])  # type: ignore[list-item]
    slow = threading.Thread(target=lambda: spread.run(None, {"x": np.zeros(1)}))
    slow.start()
    assert entered.wait(20)
    assert [spread.run(None, {}) for _ in range(3)] == [["quick"]] * 3
    leaves.set()
    slow.join(20)
    assert spread.calls == [1, 3]


def test_the_difference_of_two_snapshots_names_replicas_sizes_and_workers() -> None:
    before = snapshot()
    after = read_snapshot(write_snapshot(snapshot(3, compute=60)) + "workers: 6\n")
    assert [str(change) for change in diff(before, after)] == [
        "~ slices.readers.replicas: 2 -> 3",
        "~ slices.readers.compute: 50 -> 60",
        "~ workers: null -> 6",
    ]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("slices: readers\n", "slices: reader\n"), "wants slices 'reader'; there are readers"),
        (("        slices: readers\n", ""), "slices 'readers' are used by no step"),
        (("slices: readers\n", "slices: readers\n        device: host\n"), r"device host\) runs no model on a slice"),
        (("use: order\n", "use: order\n        slices: readers\n"), r"\(order, device .*\) runs no model on a slice"),
        (("1GiB", "plenty"), "slices 'readers': .*plenty"),
        (("replicas: 2", "replicas: 0"), "replicas"),
    ],
)
def test_slices_that_cannot_be_are_refused(change: tuple[str, str], why: str) -> None:
    with pytest.raises(PlanError, match=why):
        read_snapshot(write_snapshot(snapshot()).replace(*change))
