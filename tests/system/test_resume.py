"""Arrays that survive: workers and agents of a real pool are killed in the middle of what a program computes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil
import pytest

import gpupool
from gpupool.arrays.lazy import LazyOutput

pytestmark = pytest.mark.system

X = np.random.default_rng(7).standard_normal((64, 64)).astype(np.float32)


def chain(xp: Any, turns: int, look: Callable[[int, Any], object] = lambda turn, x: None) -> list[Any]:
    """Some hundred operations, in place and not, on uploads and on each other; `look` sees every state."""
    weights = xp.asarray(X / 16)
    x, kept = xp.asarray(X), []
    for turn in range(turns):
        x = xp.tanh(x @ weights) + xp.asarray(np.float32(turn / 100))
        x[turn % 64] = xp.mean(x, axis=0)
        x *= np.float32(1.01)
        if turn % 50 == 0:
            kept.append(xp.sort(x, axis=1))
        look(turn, x)
    return [*kept, x]


def same(remote: list[Any], local: list[Any]) -> bool:
    return all(np.array_equal(np.asarray(one), other) for one, other in zip(remote, local, strict=True))


@pytest.mark.parametrize("read_every", [0, 40])
def test_a_chain_goes_on_when_its_worker_is_killed_in_the_middle(own_pool: Any, killed: Any, until: Any, read_every: int) -> None:
    deaths: list[psutil.Process] = []

    def alive() -> list[psutil.Process]:
        return [worker for worker in own_pool.workers() if worker not in deaths and worker.status() != psutil.STATUS_ZOMBIE]

    def look(turn: int, x: Any) -> None:
        if turn in (77, 150):
            until(alive)
            deaths.extend(alive())
            killed(deaths[-1])
        if read_every and turn % read_every == 0:
            np.asarray(x)

    with own_pool.connect() as pool, pool.slice(50, "256MiB", wait=10) as held:
        np.asarray(held.xp.ones(1))
        assert same(chain(held.xp, 200, look), chain(np, 200))
    assert len(deaths) == 2


@pytest.mark.timeout(120)
def test_a_chain_goes_on_elsewhere_when_its_agent_is_killed_in_the_middle(own_pool: Any, killed: Any) -> None:
    with own_pool.connect() as pool, pool.slice(50, "256MiB", wait=10) as held:
        step = held.function(lambda x, w: held.xp.tanh(x @ w))
        weights, x = held.xp.asarray(X / 16), held.xp.asarray(X)
        local = X
        first = held.node
        own_pool.start_agent("two")
        dead = threading.Timer(0.05, lambda: killed(own_pool.agents[first]))
        dead.start()
        turns = 0
        while held.node == first and turns < 100_000:
            x, local = step(x, weights), np.tanh(local @ (X / 16))
            turns += 1
            if turns % 20 == 0:
                assert np.array_equal(np.asarray(x), local)
        dead.join()
        assert held.node == "two"
        x, local = step(x, weights), np.tanh(local @ (X / 16))
        assert np.array_equal(np.asarray(x), local)


def test_outputs_of_models_that_stayed_are_made_again(own_pool: Any, killed: Any, doubling: bytes) -> None:
    values = np.arange(300_000, dtype=np.float32)
    with own_pool.connect() as pool, pool.slice(50, "256MiB", wait=10) as held:
        session = held.inference_session(doubling, lazy=["y"])
        (lazy,) = session.run(None, {"x": values})
        binding = session.io_binding()
        binding.bind_cpu_input("x", held.xp.asarray(values) + 1)
        binding.bind_output("y", "slice")
        session.run_with_iobinding(binding)
        (bound,) = binding.get_outputs()
        closed = held.inference_session(doubling)
        (of_closed,) = closed.run_remote(None, {"x": values + 2})
        del closed
        killed(own_pool.workers()[0])
        assert isinstance(lazy, LazyOutput)
        assert lazy.argmax() == 299_999
        assert np.array_equal(np.asarray(bound), 2 * (values + 1))
        assert np.array_equal(np.asarray(of_closed), 2 * (values + 2))
        session.run_with_iobinding(binding)  # its input is an array that was made again
        assert np.array_equal(binding.copy_outputs_to_cpu()[0], 2 * (values + 1))
        killed(own_pool.workers()[0])
        session.run_with_iobinding(binding)  # lost between two calls: the input is made again before the call is
        assert np.array_equal(binding.copy_outputs_to_cpu()[0], 2 * (values + 1))


def test_beyond_the_bound_the_error_names_the_operation_and_its_line(
    own_pool: Any, killed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPUPOOL_RESUME", "1MiB")
    with own_pool.connect() as pool, pool.slice(10, "64MiB", wait=10) as held:
        large, small = held.xp.asarray(np.zeros(500_000)), held.xp.asarray(X)
        made_of_it = large + 1
        assert float(made_of_it[0]) == 1
        killed(own_pool.workers()[0])
        assert np.array_equal(np.asarray(small), X)
        with pytest.raises(gpupool.WorkerLost, match=r"did not fit into the 1048576 that are kept \(asarray, called at .*:\d+\)"):
            float(made_of_it[1])


def test_a_model_is_not_fed_with_an_array_that_could_not_be_made_again(
    own_pool: Any, killed: Any, until: Any, doubling: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPUPOOL_RESUME", "1MiB")
    with own_pool.connect() as pool, pool.slice(10, "64MiB", wait=10) as held:
        session = held.inference_session(doubling)
        large, small = held.xp.asarray(np.zeros(500_000, np.float32)), held.xp.asarray(X[0])
        killed(own_pool.workers()[0])
        for _ in range(2):
            with pytest.raises(gpupool.WorkerLost, match=r"this array on slice .* is gone: .* did not fit"):
                session.run(None, {"x": large})
        assert np.array_equal(session.run(None, {"x": small})[0], 2 * X[0])
        (worker,) = own_pool.workers()
        assert worker.is_running()


def test_outputs_nobody_looks_at_are_given_back(own_pool: Any, until: Any, doubling: bytes) -> None:
    with own_pool.connect() as pool, pool.slice(50, "256MiB", wait=10) as held:
        session = held.inference_session(doubling, lazy=["y"])
        for _ in range(20):
            session.run(None, {"x": np.zeros(2_000_000, np.float32)})  # 8 MB each, more than the slice in all
        until(lambda: held.usage().memory_used_bytes < 8_000_000)
        history = held.xp.stream.holding._history
        until(lambda: history.nbytes == 0 and len(history) == 0)
