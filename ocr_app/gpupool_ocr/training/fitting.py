"""Training a head on features: Adam on the classes that occur, everything else held where it is.

Only the classes that the labels use, and those the head mistakes them for, are trained. The others keep their weights, so over
frozen features their share of the softmax is a constant for every step, computed once: the loss is exactly that of all classes,
for the price of a hundred.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpupool_ocr.metrics import normalise
from gpupool_ocr.recognition import Reading, decode
from gpupool_ocr.training.ctc import ctc, steps_needed
from gpupool_ocr.training.graph import Head
from gpupool_ocr.training.lines import TrainingLine
from gpupool_wire.errors import UsageError

#: Adam's own (Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015).
_BETAS, _EPSILON = (0.9, 0.999), 1e-8
MAX_NEW_CHARACTERS = 1_000


class NothingToTrain(UsageError):
    """No line is left to train on."""

    code = "nothing_to_train"


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """How a head is trained."""

    epochs: int = 40
    rate: float = 1e-3
    batch: int = 32
    #: Pull of the weights towards what they were: without it, rare characters are forgotten.
    pull: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        if not (1 <= self.epochs <= 10_000 and 0 < self.rate <= 1 and 1 <= self.batch <= 4096 and 0 <= self.pull <= 10):
            raise UsageError(
                f"epochs {self.epochs} must be 1 to 10000, rate {self.rate} above 0 to 1, batch {self.batch} 1 to 4096, "
                f"pull {self.pull} 0 to 10"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
    """What an epoch came to: the mean loss of its lines, and the exactness on the lines it is chosen by."""

    number: int
    loss: float
    exactness: float


def read_line(head: Head, features: NDArray[np.float32]) -> Reading:
    """Return what a head reads in the features (T, F) of a line."""
    logits = features @ head.weight + head.bias
    top = logits.max(axis=1)
    scores = 1 / np.exp(logits - top[:, None]).sum(axis=1)
    return decode(logits.argmax(axis=1), scores, list(head.characters))


def exactness(head: Head, lines: Sequence[TrainingLine]) -> float:
    """Return the share of lines that a head reads to the letter, but for case, width and spaces."""
    right = sum(normalise(read_line(head, line.features).text) == normalise(line.text) for line in lines)
    return right / len(lines) if lines else 0.0


def prepared(head: Head, lines: Sequence[TrainingLine]) -> Head:
    """Return the head with the characters that only the labels have. Raises UsageError where they are too many."""
    known = set(head.characters)
    new = sorted({char for line in lines for char in line.text} - known - {"\t", "\n", "\u3000"})
    if len(new) > MAX_NEW_CHARACTERS:
        raise UsageError(f"the labels have {len(new)} characters that the model has not: the limit is {MAX_NEW_CHARACTERS}")
    return head.with_characters(new) if new else head


def fit(
    head: Head,
    train: Sequence[TrainingLine],
    validation: Sequence[TrainingLine],
    settings: Settings,
    tell: Callable[[Epoch], None] = lambda _: None,
) -> Head:
    """Return the head of the epoch that reads the validation lines best; the one given where none reads more of them.

    Raises NothingToTrain where no label fits its line.
    """
    trainer = _Trainer(head, train, settings)
    best, best_score = head, exactness(head, validation)
    for number in range(1, settings.epochs + 1):
        loss = trainer.epoch()
        score = exactness(trainer.head(), validation)
        tell(Epoch(number=number, loss=loss, exactness=score))
        if score > best_score:
            best, best_score = trainer.head(), score
    return best


def labels_of(head: Head, lines: Sequence[TrainingLine]) -> list[list[int]]:
    """Return the classes of each line's text; white space is the head's space, what the head has not is left out."""
    classes = {char: index for index, char in enumerate(head.characters) if index}
    space = len(head.characters) - 1
    return [
        [classes.get(" " if char.isspace() else char, space) for char in line.text if char.isspace() or char in classes]
        for line in lines
    ]


class _Trainer:
    """The trained part of a head and Adam's moments."""

    def __init__(self, head: Head, lines: Sequence[TrainingLine], settings: Settings) -> None:
        labels = labels_of(head, lines)
        fitting = [index for index, label in enumerate(labels) if steps_needed(label) <= len(lines[index].features)]
        if not fitting:
            raise NothingToTrain(f"none of {len(lines)} labels fits its line: each is longer than the network has steps for it")
        self._base, self._settings = head, settings
        self._features = [lines[index].features for index in fitting]
        #: The trained classes: the blank first, as the loss wants it.
        self._classes = self._trained_classes([labels[index] for index in fitting])
        places = {int(cls): place for place, cls in enumerate(self._classes)}
        self._labels = [[places[cls] for cls in labels[index]] for index in fitting]
        self._rest = [self._rest_of(features) for features in self._features]
        self._start = np.concatenate([head.weight[:, self._classes], head.bias[None, self._classes]]).astype(np.float64)
        self._now = self._start.copy()
        self._moments = (np.zeros_like(self._now), np.zeros_like(self._now))
        self._steps = 0
        self._rng = np.random.default_rng(settings.seed)

    def _trained_classes(self, labels: Sequence[Sequence[int]]) -> NDArray[np.int64]:
        used = {0, *(cls for label in labels for cls in label)}
        mistaken: Counter[int] = Counter()
        for features in self._features:
            mistaken.update((features @ self._base.weight + self._base.bias).argmax(axis=1).tolist())
        return np.array(sorted(used | set(mistaken)), np.int64)

    def _rest_of(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return, for each step, the logarithm of the sum of exponentials of the classes that are not trained (T,)."""
        logits = (features @ self._base.weight + self._base.bias).astype(np.float64)
        logits[:, self._classes] = -np.inf
        top = logits.max(axis=1)
        return np.asarray(top + np.log(np.exp(logits - top[:, None]).sum(axis=1)))

    def epoch(self) -> float:
        """Walk once over all lines; return the mean loss."""
        losses = [self._step(batch) for batch in self._batches()]
        return float(np.concatenate(losses).mean())

    def _batches(self) -> Iterator[list[int]]:
        """Yield lines of equal length together, in another order each time."""
        by_length: dict[int, list[int]] = defaultdict(list)
        for index in self._rng.permutation(len(self._features)).tolist():
            by_length[len(self._features[index])].append(index)
        size = self._settings.batch
        batches = [indexes[start : start + size] for indexes in by_length.values() for start in range(0, len(indexes), size)]
        for place in self._rng.permutation(len(batches)).tolist():
            yield batches[place]

    def _step(self, batch: list[int]) -> NDArray[np.float64]:
        """Take one step down the gradient of a batch; return its losses."""
        features = np.stack([self._features[index] for index in batch]).astype(np.float64)
        features = np.concatenate([features, np.ones((*features.shape[:2], 1))], axis=2)
        rest = np.stack([self._rest[index] for index in batch])[..., None]
        logits = np.concatenate([features @ self._now, rest], axis=2)
        losses, gradient = ctc(logits, [self._labels[index] for index in batch])
        # Of the last column, the classes that are not trained, nothing can be moved.
        slope = np.einsum("btf,btk->fk", features, gradient[:, :, :-1]) / len(batch)
        self._descend(slope + self._settings.pull * (self._now - self._start))
        return losses

    def _descend(self, slope: NDArray[np.float64]) -> None:
        self._steps += 1
        first, second = self._moments
        first += (1 - _BETAS[0]) * (slope - first)
        second += (1 - _BETAS[1]) * (slope**2 - second)
        mean, square = first / (1 - _BETAS[0] ** self._steps), second / (1 - _BETAS[1] ** self._steps)
        self._now = self._now - self._settings.rate * mean / (np.sqrt(square) + _EPSILON)

    def head(self) -> Head:
        """Return the head as it is now."""
        weight, bias = self._base.weight.copy(), self._base.bias.copy()
        weight[:, self._classes], bias[self._classes] = self._now[:-1], self._now[-1]
        return Head(weight=weight, bias=bias, characters=self._base.characters)
