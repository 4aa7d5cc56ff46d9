"""What a snapshot says of an instance's own size is what the instance has."""

from __future__ import annotations

import httpx

from gpupool_ocr.plans.reading import write_snapshot
from gpupool_ocr.plans.spec import Snapshot
from gpupool_ocr.service.parts import Parts


def test_workers_follow_the_snapshot_and_go_back_with_it(client: httpx.Client, parts: Parts, snapshot: Snapshot) -> None:
    yaml = write_snapshot(snapshot) + "workers: 5\n"
    changes = client.post("/v1/admin/diff", content=yaml).json()["changes"]
    assert {"where": "workers", "before": "null", "after": "5"} in changes
    assert client.post("/v1/admin/snapshots", content=yaml).status_code == 200
    assert parts.workers.threads == 5
    client.post("/v1/admin/rollback")
    assert parts.workers.threads == 2


def test_slices_without_a_pool_are_refused_and_nothing_changes(client: httpx.Client, parts: Parts, snapshot: Snapshot) -> None:
    yaml = write_snapshot(snapshot).replace("model: recognition\n", "model: recognition\n        slices: far\n")
    before = parts.workshop.parts
    refused = client.post("/v1/admin/snapshots", content=yaml + "slices: {far: {replicas: 2}}\n")
    assert refused.status_code == 422
    assert "ocr-far-1 asks for a slice of the pool" in refused.json()["error"]["message"]
    assert parts.workshop.parts == before
