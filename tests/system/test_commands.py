"""The command line against a whole pool."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpupool
from gpupool.slices import Slice

pytestmark = pytest.mark.system


@pytest.fixture
def command(system_pool: Any) -> Any:
    def run(*words: str, token: str | None = None) -> subprocess.CompletedProcess[str]:
        environ = system_pool.environ | ({"GPUPOOL_TOKEN": token} if token else {})
        return subprocess.run([sys.executable, "-m", "gpupool", *words], capture_output=True, text=True, env=environ, timeout=60)

    return run


@pytest.fixture
def held(system_pool: Any) -> Iterator[Any]:
    with system_pool.connect() as pool, pool.slice(15, "64MiB", label="[bold]mine[/bold]") as held:
        yield held


def test_nodes_and_their_devices(command: Any, held: Slice) -> None:
    (node,) = json.loads(command("nodes", "--json").stdout)
    assert (node["node"], node["state"]) == ("one", "up")
    (device,) = node["devices"]
    assert (device["kind"], device["memory_mib"]) == ("cpu", 4096)
    assert device["compute_allocated_pct"] >= 15
    assert "cpu" in command("nodes").stdout


def test_slices_are_shown_as_they_are(command: Any, held: Slice) -> None:
    shown = next(one for one in json.loads(command("slices", "--json").stdout) if one["slice_id"] == held.slice_id)
    assert (shown["compute_pct"], shown["memory_mib"], shown["state"]) == (15, 64, "live")
    table = command("slices").stdout
    assert held.slice_id in table
    assert "[bold]mine[/bold]" in table  # texts of others are no markup


def test_a_slice_says_which_models_it_has_open(command: Any, held: Slice, doubling: bytes, until: Any) -> None:
    model = held.open_model(doubling)
    found: list[Any] = []

    def is_told() -> bool:
        shown = next(one for one in json.loads(command("slices", "--json").stdout) if one["slice_id"] == held.slice_id)
        found[:] = shown["models"]
        return bool(shown["model_count"] == 1)

    until(is_told)
    assert [(one["sessions"], one["is_loaded"]) for one in found] == [(1, True)]
    model.close()
    until(lambda: not is_told())


def test_top_shows_what_a_busy_slice_has_against_its_grant(command: Any, held: Slice, doubling: bytes, until: Any) -> None:
    model = held.open_model(doubling)

    def shown() -> Any:
        for _ in range(200):
            model.run({"x": np.ones(4, np.float32)})
        top = json.loads(command("top", "--json").stdout)
        row = next(one for one in top["slices"] if one["slice_id"] == held.slice_id)
        (device,) = top["devices"]
        at_the_broker = row["achieved_10s_pct"] > 0 and device["busy_pct"] >= row["achieved_10s_pct"]
        return at_the_broker and row["achieved_pct"] > 0 and held.usage().achieved_millipct > 0

    until(shown)
    table = command("top").stdout
    assert held.slice_id in table
    assert "granted %" in table


def test_resize_and_release(command: Any, system_pool: Any) -> None:
    with system_pool.connect() as pool, pool.slice(15, "64MiB", hold="held") as held:
        done = command("resize", held.slice_id, "--compute", "20%", "--memory", "128MiB")
        assert done.stdout == f"{held.slice_id} has 20 % and 128 MiB now\n"
        refused = command("resize", held.slice_id, "--memory", "1TiB")
        assert refused.returncode == 1
        assert "1048576 MiB" in refused.stderr
        assert command("release", held.slice_id).stdout == f"{held.slice_id} is released\n"
        again = command("release", held.slice_id)
        assert again.returncode == 1
        assert again.stderr.startswith("gpupool: ")
    everything = json.loads(command("slices", "--all", "--json").stdout)
    assert next(one for one in everything if one["slice_id"] == held.slice_id)["state"] == "released"


def test_why_something_waits_is_explained(command: Any, system_pool: Any, held: Slice, until: Any) -> None:
    told = command("explain", "--compute", "90", "--memory", "1GiB")
    assert told.returncode == 0
    assert f"the end of {held.slice_id}" in told.stdout
    assert "5 % of compute are missing" in told.stdout
    assert json.loads(command("explain", "--compute", "10", "--memory", "1GiB", "--json").stdout)["node"] == "one"
    assert command("queue").stdout == "nothing waits\n"
    with system_pool.connect() as pool:
        waiter = threading.Thread(target=lambda: pool.slice(95, "64MiB", label="patient", wait=20).release())
        waiter.start()
        until(lambda: json.loads(command("queue", "--json").stdout) != [])
        (row,) = json.loads(command("queue", "--json").stdout)
        assert (row["position"], row["compute_pct"], row["label"]) == (1, 95, "patient")
        assert "85 %" in row["reason"]
        held.release()
        waiter.join(30)
        assert not waiter.is_alive()


def test_quotas_are_set_kept_and_shown(command: Any, system_pool: Any) -> None:
    shown = json.loads(command("quotas", "set", "ledger", "--compute", "30", "--memory", "1GiB", "--json").stdout)
    assert (shown["quota"]["compute_pct"], shown["quota"]["memory_mib"], shown["quota"]["slices"]) == (30, 1024, None)
    token = system_pool.rest.post("/tokens", {"role": "tenant", "tenant": "ledger"})["token"]
    with gpupool.connect(system_pool.url, token) as pool, pool.slice(20, "64MiB"):
        with pytest.raises(gpupool.SliceRefused, match="tenant ledger may hold 30 % of compute and holds 20 %"):
            pool.slice(11, "64MiB")
        assert "20 of 30 %" in command("tenants").stdout
        assert [row["tenant"] for row in json.loads(command("tenants", "--json", token=token).stdout)] == ["ledger"]
        assert command("quotas", "set", "ledger", "--compute", "10", token=token).returncode == 1
    lifted = json.loads(command("quotas", "set", "ledger", "--compute", "none", "--json").stdout)
    assert (lifted["quota"]["compute_pct"], lifted["quota"]["memory_mib"]) == (None, 1024)
    wrong = command("quotas", "set", "ledger", "--slices", "many")
    assert (wrong.returncode, wrong.stderr) == (1, "gpupool: --slices 'many' is not understood: a whole number, or none\n")


def test_tokens_are_made_used_and_revoked(command: Any, system_pool: Any) -> None:
    made = json.loads(command("tokens", "create", "--role", "tenant", "--tenant", "acme", "--name", "ci", "--json").stdout)
    with gpupool.connect(system_pool.url, made["token"]) as pool:
        assert pool.tenant == "acme"
        with pool.slice(10, "64MiB") as held:
            assert held.slice_id in command("slices", token=made["token"]).stdout
    assert made["token"] not in command("tokens", "list", "--json").stdout
    assert made["id"] in command("tokens", "list").stdout
    assert command("tokens", "list", token=made["token"]).returncode == 1
    assert command("tokens", "revoke", made["id"]).returncode == 0
    with pytest.raises(gpupool.NotAuthorized):
        gpupool.connect(system_pool.url, made["token"])
    assert command("tokens", "create", "--role", "join").stdout.startswith("gpp_join_")


def test_the_demo_reads_its_pages_and_says_what_the_pool_did(tmp_path: Path, system_pool: Any) -> None:
    """On a pool that it starts and stops itself."""
    environ = {name: value for name, value in system_pool.environ.items() if not name.startswith("GPUPOOL_")}
    environ["GPUPOOL_HOME"] = str(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "gpupool", "demo", "--json"], capture_output=True, text=True, env=environ, timeout=110
    )
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert any("LANTERN HILL" in line["text"] for page in shown["pages"] for line in page["lines"])
    (served,) = shown["slices"]
    (traffic,) = shown["traffic"]
    assert served["state"] == "released"
    assert served["device_ms"] > 0
    assert 0 < served["calls"] <= traffic["questions"]
    assert traffic["sent_bytes"] > 0
    assert not (tmp_path / "pool.json").exists()
