"""A snapshot says on which slices of a real pool its steps run, and that is where they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gpupool_ocr import samples
from gpupool_ocr.engine.lanes import Lanes
from gpupool_ocr.engine.release import Workshop
from gpupool_ocr.engine.running import read_page
from gpupool_ocr.local import LocalFactory
from gpupool_ocr.metrics import character_matches
from gpupool_ocr.pages import load_pages
from gpupool_ocr.plans.reading import default_snapshot, read_snapshot, write_snapshot
from gpupool_ocr.plans.spec import Snapshot
from gpupool_ocr.pool import pool_factory
from gpupool_wire.errors import SliceRefused

pytestmark = pytest.mark.system


@pytest.fixture
def workshop(system_pool: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    monkeypatch.setenv("GPUPOOL_URL", system_pool.url)
    monkeypatch.setenv("GPUPOOL_TOKEN", system_pool.token)
    lanes = Lanes("gpu", 2)
    with pool_factory(compute=20, memory="512MiB", wait_s=5) as factory:
        workshop = Workshop(gpu=factory, host=LocalFactory(), device=lanes, cores=lanes)
        yield workshop
        workshop.close()
    lanes.close()


def snapshot(replicas: int, **more: object) -> Snapshot:
    """Return a snapshot whose models all run on a group of slices."""
    yaml = write_snapshot(default_snapshot())
    for role in ("detection", "recognition", "direction"):
        yaml = yaml.replace(f"model: {role}\n", f"model: {role}\n        slices: readers\n")
    size = "".join(f", {key}: {value}" for key, value in more.items())
    return read_snapshot(yaml + f"slices: {{readers: {{replicas: {replicas}, compute: 25, memory: 700MiB{size}}}}}\n")


def held(pool: Any) -> dict[str, int]:
    """Return the compute of the slices that snapshots asked for, by label."""
    return {one["label"]: one["compute_pct"] for one in pool.slices() if one["label"].startswith("ocr")}


def test_steps_run_on_the_slices_a_snapshot_names(system_pool: Any, workshop: Workshop, until: Callable[..., float]) -> None:
    two = workshop.build(1, snapshot(2))
    assert held(system_pool) == {"ocr-readers-1": 25, "ocr-readers-2": 25}  # and none beside them
    page = samples.paths()[0]
    reading = read_page(two.plan("any", "text"), next(load_pages(page)).image, number=0)
    found, there, _ = character_matches(samples.texts_of(page), [line.text for line in reading.work.lines])
    assert found >= 0.95 * there
    assert all(where.startswith("one/") for where in workshop.slices.values())
    one = workshop.build(2, snapshot(1))
    workshop.retire(two.key)
    until(lambda: held(system_pool) == {"ocr-readers-1": 25})
    with pytest.raises(SliceRefused):
        workshop.build(3, snapshot(1, labels="{zone: nowhere}"))
    assert held(system_pool) == {"ocr-readers-1": 25}
    workshop.retire(one.key)
    until(lambda: held(system_pool) == {})
