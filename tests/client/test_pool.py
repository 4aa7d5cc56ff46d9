from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import gpupool
from gpupool.pool import Pool
from gpupool_wire import messages as m
from gpupool_wire.errors import NotAuthorized, NotFound, SliceRefused, UsageError
from gpupool_wire.units import Hold, Policy


def asked(fakes: Any) -> m.RequestSlice:
    return next(message for message in fakes.broker.heard if isinstance(message, m.RequestSlice))


def test_connect_greets_and_says_who_we_are(fakes: Any) -> None:
    with gpupool.connect(fakes.broker.address, "gpp_tenant_letmein") as pool:
        assert repr(pool) == f"<Pool at {fakes.broker.address}, tenant acme>"


def test_connect_takes_the_environment(fakes: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUPOOL_URL", fakes.broker.address)
    monkeypatch.setenv("GPUPOOL_TOKEN", "wrong")
    with pytest.raises(NotAuthorized):
        gpupool.connect()


def test_everything_asked_for_reaches_the_broker(pool: Pool, fakes: Any) -> None:
    pool.slice("30%", "1GiB", policy="burst", kind="cpu", wait=1.5, label="night run", hold="held").release()
    question = asked(fakes)
    assert (question.compute_pct, question.memory_mib, question.policy) == (30, 1024, Policy.BURST)
    assert (question.kind, question.wait_ms, question.label, question.hold) == ("cpu", 1500, "night run", Hold.HELD)


def test_a_held_slice_stays_when_the_program_leaves_it(pool: Pool, fakes: Any) -> None:
    with pool.slice(30, 64, hold="held") as held:
        assert not held.is_holder
    assert fakes.broker.ended == set()


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"compute": 0}, "1 to 100 per cent"),
        ({"compute": 101}, "1 to 100 per cent"),
        ({"compute": 2.5}, "whole number of per cent"),
        ({"memory": 0}, "memory must be 1 to"),
        ({"memory": "0.5MiB"}, "not a whole number of MiB"),
        ({"policy": "greedy"}, "policy is 'fixed' or 'burst', not 'greedy'"),
        ({"hold": "mine"}, "hold is 'attached' or 'held', not 'mine'"),
        ({"wait": -1}, "from 0 on, not -1"),
    ],
)
def test_what_cannot_be_is_refused_before_the_broker_is_asked(pool: Pool, fakes: Any, wanted: Any, words: Any) -> None:
    with pytest.raises(UsageError, match=words):
        pool.slice(**wanted)
    assert not any(isinstance(message, m.RequestSlice) for message in fakes.broker.heard)


def test_what_does_not_fit_is_refused_with_the_numbers(pool: Pool) -> None:
    with pytest.raises(SliceRefused, match="5000 MiB asked"):
        pool.slice(10, 5000)


def test_a_slice_whose_door_refuses_is_given_back(pool: Pool, fakes: Any) -> None:
    fakes.door.refusal = NotFound("nobody here")
    fakes.broker.locate_errors = [NotFound("no such slice")]
    with pytest.raises(gpupool.LeaseLost, match="has ended: no such slice"):
        pool.slice(10, 64)
    fakes.door.refusal = SliceRefused("the device has no room for a worker")
    with pytest.raises(SliceRefused, match="no room for a worker"):
        pool.slice(10, 64)
    assert "slice-2" in fakes.broker.ended


def test_joining_makes_a_guest(pool: Pool, fakes: Any) -> None:
    with pool.slice(30, 64) as held, pool.join(held.slice_id) as guest:
        assert guest.slice_id == held.slice_id
        assert not guest.is_holder
        guest.release()
        assert not fakes.broker.ended
    with pytest.raises(gpupool.LeaseLost):
        pool.join("slice-9")


def test_importing_the_package_costs_nothing() -> None:
    program = "import sys, gpupool; print(any(name in sys.modules for name in ('numpy', 'zmq', 'msgspec', 'typer')))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "False"


def test_every_public_name_is_there() -> None:
    assert all(getattr(gpupool, name) is not None for name in gpupool.__all__)
    assert set(gpupool.__all__) <= set(dir(gpupool))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = gpupool.nothing
