"""Three tenants share two devices: borrowing, taking back, an elastic batch, a gang behind a reservation. With real programs."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpupool

pytestmark = pytest.mark.system

MEMORY = "64MiB"


@pytest.fixture
def pool(make_pool: Any, tmp_path: Path) -> Iterator[Any]:
    """Two CPU devices; slices may be taken after a second, and have a second's notice."""
    pool = make_pool(tmp_path, "--min-runtime", "1", "--notice", "1")
    try:
        pool.start_agent("one")
        pool.start_agent("two")
        yield pool
    finally:
        pool.close()


def test_three_tenants_share_two_devices(pool: Any, doubling: bytes, until: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def tenant(name: str) -> gpupool.Pool:
        token = pool.rest.post("/tokens", {"role": "tenant", "tenant": name})["token"]
        return gpupool.connect(pool.url, token)

    def explain(what: str, *options: str) -> str:
        """Print what `gpupool explain` says at this step, and return it."""
        command = [sys.executable, "-m", "gpupool", "explain", "--memory", MEMORY, *options]
        told = subprocess.run(command, capture_output=True, text=True, env=pool.environ, timeout=60, check=True).stdout
        with capsys.disabled():
            print(f"\n── {what}\n{told}", end="")
        return told

    def shown(slice_: gpupool.Slice) -> Any:
        return next(row for row in pool.slices() if row["slice_id"] == slice_.slice_id)

    pool.rest.put("/quotas/bank", {"guaranteed_compute": 100, "compute": 150})
    with tenant("bank") as bank, tenant("shop") as shop, tenant("lab") as lab:
        # The shop borrows what the bank does not use; the lab's batch fills the rest.
        borrowed = [shop.slice(90, MEMORY) for _ in range(2)]
        batch = lab.slice("5..100", MEMORY)
        until(lambda: shown(batch)["compute_pct"] == 10)
        assert next(row for row in pool.rest.get("/tenants") if row["tenant"] == "shop")["borrowed_pct"] == 180
        models = [held.open_model(doubling) for held in borrowed]
        ones = np.ones(4, np.float32)
        assert [model.run({"x": ones})[0].tolist() for model in models] == [[2.0] * 4] * 2

        # The bank asks for its own: the batch shrinks, and a slice of the shop pauses, keeping its memory.
        until(lambda: "pauses, keeping its memory" in explain("the bank would ask", "--tenant", "bank", "--compute", "90"), 30)
        mine = bank.slice(90, MEMORY, wait=30)
        paused = next(held for held in borrowed if shown(held)["paused_by"])
        assert shown(paused)["state"] == "paused"
        until(lambda: paused.is_paused)
        answers: list[Any] = []
        waiting = threading.Thread(target=lambda: answers.append(models[borrowed.index(paused)].run({"x": ones})[0].tolist()))
        waiting.start()
        assert "may hold 150 % of compute" in explain("the bank asks for too much", "--tenant", "bank", "--compute", "100")

        # A reservation for tonight begins; a gang of the lab has to wait behind it.
        mine.release()
        until(lambda: shown(paused)["state"] == "live")
        waiting.join(30)
        assert answers == [[2.0] * 4]
        for held in borrowed:
            held.release()
        until(lambda: shown(batch)["compute_pct"] == 100)
        now = datetime.now(UTC)
        window = {"start": None, "end": (now + timedelta(seconds=6)).isoformat()}
        reserved = pool.rest.post("/reservations", {"tenant": "shop", "gpus": 1, "compute": 90, "memory": MEMORY, **window})
        until(lambda: pool.rest.get("/reservations")[0]["kept"] == 1)
        told = explain("a gang of the lab would ask", "--tenant", "lab", "--gpus", "2", "--compute", "90")
        assert "asked 2 devices with 90 % and 64 MiB each; 1 on 1 node(s) have room now, of 2 that could" in told
        assert "it would be admitted by asking for 1 devices instead of 2" in told
        gang = lab.gang(2, 90, MEMORY, wait=60)
        assert datetime.now(UTC) - now >= timedelta(seconds=6)
        assert pool.rest.get("/reservations") == []
        assert {held.node for held in gang} == {"one", "two"}
        assert shown(batch)["compute_pct"] == 10
        session = gang.inference_session(doubling, replicas="all")
        for _ in range(4):
            assert session.run(None, {"x": ones})[0].tolist() == [2.0] * 4
        assert session.calls == [2, 2]
        gang.release()
        batch.release()
        story = pool.rest.get(f"/slices/{paused.slice_id}")["story"]
        told_facts = [line["fact"] for line in story]
        assert [fact for fact in told_facts if fact in ("SliceGranted", "SlicePaused", "SliceResumed", "SliceEnded")] == [
            "SliceGranted",
            "SlicePaused",
            "SliceResumed",
            "SliceEnded",
        ]
        assert reserved["lacking"] == ""
