"""The loss and its gradient, against every path and against finite differences."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpupool_ocr.training.ctc import ctc, log_softmax, steps_needed


def collapsed(path: Sequence[int]) -> list[int]:
    """What a path says: repeats once, blanks not at all."""
    return [cls for cls, _ in itertools.groupby(path) if cls]


def brute_force(logits: np.ndarray, label: Sequence[int]) -> float:
    """The loss by its definition: the sum over all paths that say the label."""
    probabilities = np.exp(log_softmax(logits))
    paths = itertools.product(range(logits.shape[1]), repeat=len(logits))
    total = sum(
        np.prod([probabilities[step, cls] for step, cls in enumerate(path)]) for path in paths if collapsed(path) == list(label)
    )
    return -np.log(total) if total else np.inf


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.lists(st.lists(st.integers(1, 2), max_size=4), min_size=1, max_size=4))
def test_the_loss_is_that_of_all_paths(seed: int, steps: int, labels: list[list[int]]) -> None:
    logits = np.random.default_rng(seed).normal(0, 3, (len(labels), steps, 3))
    losses, _ = ctc(logits, labels)
    np.testing.assert_allclose(losses, [brute_force(line, label) for line, label in zip(logits, labels, strict=True)], rtol=1e-9)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**32 - 1), st.lists(st.lists(st.integers(1, 3), max_size=3), min_size=1, max_size=3))
def test_the_gradient_is_that_of_the_loss(seed: int, labels: list[list[int]]) -> None:
    logits = np.random.default_rng(seed).normal(0, 2, (len(labels), 6, 4))
    _, gradient = ctc(logits, labels)
    for place in np.ndindex(*logits.shape):
        step = np.zeros_like(logits)
        step[place] = 1e-5
        slope = (ctc(logits + step, labels)[0].sum() - ctc(logits - step, labels)[0].sum()) / 2e-5
        assert slope == pytest.approx(gradient[place], abs=1e-6)


def test_a_label_that_does_not_fit_costs_everything_and_moves_nothing() -> None:
    losses, gradient = ctc(np.zeros((2, 2, 3)), [[1, 1], [1, 2]])
    assert losses[0] == np.inf
    assert np.isfinite(losses[1])
    assert not gradient[0].any()
    assert gradient[1].any()
    assert (steps_needed([1, 1]), steps_needed([1, 2]), steps_needed([])) == (3, 2, 0)


def test_long_lines_and_wild_logits_stay_finite() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 200, (2, 500, 20))
    losses, gradient = ctc(logits, [rng.integers(1, 20, 120).tolist(), []])
    assert np.isfinite(losses).all()
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(gradient.sum(axis=2), 0, atol=1e-9)
