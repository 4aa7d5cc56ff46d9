"""Connectionist temporal classification: the loss of a batch of lines, and its gradient.

Source: Graves, Fernández, Gomez, Schmidhuber, "Connectionist Temporal Classification: Labelling Unsegmented Sequence Data with
Recurrent Neural Networks", ICML 2006: forward and backward variables (equations 5 to 11), gradient (equation 16). They are kept
as logarithms here instead of being rescaled step by step.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
BLANK = 0
_NEVER = -1e30


def steps_needed(label: Sequence[int]) -> int:
    """Return how many steps a label takes at least: one each, and a blank between two of a kind."""
    return len(label) + sum(one == other for one, other in pairwise(label))


def log_softmax(logits: Floats) -> Floats:
    """Return the logarithms of the softmax over the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def ctc(logits: Floats, labels: Sequence[Sequence[int]]) -> tuple[Floats, Floats]:
    """Return the losses (B,) of lines with logits (B, T, K), class 0 the blank, and the gradient by the logits (B, T, K).

    A label that needs more than T steps has the loss infinity and no gradient.
    """
    log_p = log_softmax(logits)
    states, allowed, final = _states(labels)
    emitted = np.take_along_axis(log_p, states[:, None, :].repeat(logits.shape[1], axis=1), axis=2)
    forward = _forward(emitted, allowed)
    # The backward variables are the forward ones of the line read from its end: steps and states in the opposite order.
    order = _from_the_end(states.shape[1], final)
    turned = order[:, None, :].repeat(logits.shape[1], axis=1)
    from_end = _forward(np.take_along_axis(emitted[:, ::-1], turned, 2), _skips(np.take_along_axis(states, order, 1)))
    backward = np.take_along_axis(from_end[:, ::-1], turned, 2)
    inside = np.arange(states.shape[1])[None] <= final[:, None]
    through = np.where(inside[:, None], forward + backward - emitted, _NEVER)
    total = _log_sum(through[:, -1])
    feasible = total > _NEVER / 2
    share = np.exp(np.where(feasible[:, None, None], through - total[:, None, None], _NEVER))
    occupied = np.zeros_like(log_p)
    rows, times = np.arange(len(labels))[:, None, None], np.arange(logits.shape[1])[None, :, None]
    np.add.at(occupied, (rows, times, states[:, None, :]), share)
    gradient = np.where(feasible[:, None, None], np.exp(log_p) - occupied, 0.0)
    return np.where(feasible, -total, np.inf), gradient


def _states(labels: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
    """Return labels with blanks around each class (B, S), where a blank may be left out, and the last state of each."""
    final = np.array([2 * len(label) for label in labels], np.int64)
    states = np.full((len(labels), int(final.max(initial=0)) + 1), BLANK, np.int64)
    for row, label in zip(states, labels, strict=True):
        row[1 : 2 * len(label) : 2] = label
    return states, _skips(states), final


def _skips(states: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether a state can be reached from two before it: a class that is not the one before."""
    allowed = np.zeros(states.shape, np.bool_)
    allowed[:, 2:] = (states[:, 2:] != BLANK) & (states[:, 2:] != states[:, :-2])
    return allowed


def _from_the_end(count: int, final: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (B, count): the states 0 to `final` of each line in the opposite order, then the others."""
    order = np.arange(count)[None].repeat(len(final), 0)
    return np.where(order <= final[:, None], final[:, None] - order, order)


def _forward(emitted: Floats, allowed: NDArray[np.bool_]) -> Floats:
    """Return the logarithms of the forward variables (B, T, S) of what the states emit (B, T, S)."""
    lines, steps, count = emitted.shape
    alpha = np.full((lines, steps, count), _NEVER)
    alpha[:, 0, :2] = emitted[:, 0, :2]
    for step in range(1, steps):
        before = alpha[:, step - 1]
        reach = before.copy()
        reach[:, 1:] = np.logaddexp(reach[:, 1:], before[:, :-1])
        reach[:, 2:] = np.where(allowed[:, 2:], np.logaddexp(reach[:, 2:], before[:, :-2]), reach[:, 2:])
        alpha[:, step] = np.maximum(reach + emitted[:, step], _NEVER)
    return alpha


def _log_sum(values: Floats) -> Floats:
    top = values.max(axis=1)
    return np.asarray(top + np.log(np.exp(values - top[:, None]).sum(axis=1)))
