"""slice.function: recorded once, replayed with one operation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpupool.arrays.functions import StepFunction
from gpupool_wire.errors import ExecutionFailed, UsageError

from .conftest import LocalSlice

X = np.arange(6.0).reshape(2, 3)


def step(xp: Any, function: Any) -> StepFunction[Any, Any]:
    return StepFunction(xp._caller, function)


def test_a_function_runs_once_and_is_replayed_with_one_operation(xp: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpupool.arrays.sender.SEND_S", 60.0)
    runs = []

    def many(x: Any) -> Any:
        runs.append(x)
        for _ in range(50):
            x = (x * 2 + 1) / 2
        return x

    recorded = step(xp, many)
    x = xp.asarray(X)
    for _ in range(10):
        x = recorded(x)
    assert [call.name for call in xp.stream.life.pending.take().operations] == ["asarray"] + ["step"] * 10
    assert len(runs) == 1


def test_what_it_returns_is_what_the_function_returns(xp: Any) -> None:
    def several(x: Any, k: float, *, keep: bool) -> Any:
        return {"sum": xp.sum(x * k), "parts": [x + 1, (x,)], "k": k, "none": None if keep else x}

    recorded = step(xp, several)
    for scale in (1.0, 2.0, 1.0):
        got = recorded(xp.asarray(X * scale), scale, keep=True)
        assert float(got["sum"]) == (X * scale * scale).sum()
        assert np.array_equal(np.asarray(got["parts"][0]), X * scale + 1)
        assert np.array_equal(np.asarray(got["parts"][1][0]), X * scale)
        assert (got["k"], got["none"]) == (scale, None)
    assert repr(recorded) == "<StepFunction several, recorded for 2 kinds of arguments>"


def test_it_is_recorded_anew_for_other_shapes_and_dtypes(xp: Any) -> None:
    recorded = step(xp, lambda x: x.shape[0] * x)
    assert np.array_equal(np.asarray(recorded(xp.asarray(X))), 2 * X)
    assert np.array_equal(np.asarray(recorded(xp.asarray(X.T))), 3 * X.T)
    assert recorded(xp.asarray(X.astype(np.float32))).dtype == np.float32
    assert len(recorded._recorded) == 3


def test_arrays_from_elsewhere_are_captured(xp: Any) -> None:
    weights = xp.asarray(np.ones((3, 2)))
    recorded = step(xp, lambda x: x @ weights + np.ones(2))
    for _ in range(2):
        assert np.array_equal(np.asarray(recorded(xp.asarray(X))), X @ np.ones((3, 2)) + 1)


def test_a_function_that_returns_a_captured_array_returns_a_copy(xp: Any) -> None:
    weights = xp.asarray(X)
    assert np.array_equal(np.asarray(step(xp, lambda x: weights)(xp.asarray(1.0))), X)


def test_an_exception_inside_is_raised_and_nothing_is_recorded(xp: Any, home: LocalSlice) -> None:
    attempts = []

    def sometimes(x: Any) -> Any:
        attempts.append(1)
        if len(attempts) == 1:
            raise KeyError("not yet")
        return x + 1

    recorded = step(xp, sometimes)
    with pytest.raises(KeyError, match="not yet"):
        recorded(xp.asarray(X))
    assert np.array_equal(np.asarray(recorded(xp.asarray(X))), X + 1)
    assert float(xp.asarray(1.0) + 1) == 2  # what is called outside is not recorded


def test_a_failure_on_the_device_names_the_line_inside_the_function(xp: Any) -> None:
    def invert(x: Any) -> Any:
        return xp.linalg.inv(x * 0)

    with pytest.raises(
        ExecutionFailed, match=r"Singular matrix \(in linalg\.inv, called at .*:\d+, in invert, called at .*:\d+\)"
    ):
        np.asarray(step(xp, invert)(xp.asarray(np.eye(2))))


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda x: 1 if x[0, 0] > 0 else 2, "the value of an array"),
        (lambda x: x[x > 1].shape, "a shape that depends on values"),
        (lambda x: x.__setitem__(0, 1), "cannot write to its arguments"),
    ],
)
def test_a_value_is_not_there_while_a_function_is_recorded(xp: Any, function: Any, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        step(xp, function)(xp.asarray(X))


def test_writing_to_a_copy_is_recorded(xp: Any) -> None:
    def write(x: Any) -> Any:
        y = xp.asarray(x, copy=True)
        y[0] = 9
        y += 1
        return y

    expected = X.copy()
    expected[0] = 9
    x = xp.asarray(X)
    assert np.array_equal(np.asarray(step(xp, write)(x)), expected + 1)
    assert np.array_equal(np.asarray(x), X)


def test_arguments_that_cannot_be_told_apart_are_refused(xp: Any) -> None:
    recorded = step(xp, lambda x: x)
    with pytest.raises(UsageError, match="hashable"):
        recorded({"a": 1})
    with pytest.raises(UsageError, match="array of the slice"):
        recorded(X)
    with pytest.raises(UsageError, match="cannot call another"):
        step(xp, lambda x: recorded(x))(xp.asarray(X))


def test_too_many_kinds_of_arguments_are_refused(xp: Any) -> None:
    recorded = step(xp, lambda x, n: x + n)
    x = xp.asarray(1.0)
    for number in range(64):
        recorded(x, number)
    with pytest.raises(UsageError, match="pass what changes every time as an array"):
        recorded(x, 64)
    assert float(recorded(x, 63)) == 64


def test_a_step_is_taught_again_to_the_next_worker(xp: Any, home: LocalSlice) -> None:
    recorded = step(xp, lambda x: x + 1)
    x = xp.asarray(X)
    assert np.array_equal(np.asarray(recorded(x)), X + 1)
    home.current.is_dead = True
    assert np.array_equal(np.asarray(recorded(x)), X + 1)
    assert np.array_equal(np.asarray(recorded(xp.asarray(X))), X + 1)


def test_a_function_that_is_gone_is_forgotten_on_the_worker(xp: Any, home: LocalSlice) -> None:
    recorded = step(xp, lambda x: x + 1)
    np.asarray(recorded(xp.asarray(X)))
    assert len(home.current.store.steps) == 1
    del recorded
    float(xp.asarray(1.0))
    assert len(home.current.store.steps) == 0
