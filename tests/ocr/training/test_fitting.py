"""Training a head: on features made up so that the answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gpupool_ocr.synthesis.dataset import BadDataset, Example
from gpupool_ocr.training.ctc import ctc
from gpupool_ocr.training.fitting import NothingToTrain, Settings, _Trainer, exactness, fit, labels_of, prepared, read_line
from gpupool_ocr.training.graph import Head
from gpupool_ocr.training.lines import TrainingLine, split
from gpupool_wire.errors import UsageError

CHARACTERS = ("", "O", "0", "A", "B", " ")


def head(rng: np.random.Generator) -> Head:
    """A head that reads what `line` makes, but takes every 0 for an O."""
    weight = np.zeros((8, 6), np.float32)
    weight[:6] = 6 * np.eye(6)
    weight[1, 1], weight[2, 1], weight[2, 2] = 6, 6, 4
    return Head(
        weight=weight + rng.normal(0, 0.01, weight.shape).astype(np.float32), bias=np.zeros(6, np.float32), characters=CHARACTERS
    )


def line(text: str, rng: np.random.Generator, page: str = "p") -> TrainingLine:
    """Features that name each character in one dimension of eight, blanks between them."""
    classes = [cls for char in text for cls in (0, CHARACTERS.index(char))] + [0]
    features = np.zeros((len(classes), 8), np.float32)
    features[np.arange(len(classes)), classes] = 1
    return TrainingLine(page=page, text=text, features=features + rng.normal(0, 0.05, features.shape).astype(np.float32))


@pytest.fixture
def lines() -> list[TrainingLine]:
    rng = np.random.default_rng(3)
    return [line("".join(rng.choice(list("O0AB"), 5)), rng) for _ in range(90)]


def test_a_head_learns_what_it_took_for_something_else(lines: list[TrainingLine]) -> None:
    before = head(np.random.default_rng(0))
    assert read_line(before, line("A0B", np.random.default_rng(1)).features).text == "AOB"
    epochs = []
    after = fit(before, lines[:60], lines[60:75], Settings(epochs=40, rate=0.05), epochs.append)
    assert exactness(before, lines[75:]) < 0.5
    assert exactness(after, lines[75:]) > 0.95
    assert epochs[-1].loss < epochs[0].loss


def test_the_same_seed_gives_the_same_head_and_the_given_one_is_not_touched(lines: list[TrainingLine]) -> None:
    before = head(np.random.default_rng(0))
    copy = before.weight.copy()
    one, two = (fit(before, lines[:40], lines[40:60], Settings(epochs=3, rate=0.05, seed=4)) for _ in range(2))
    assert (one.weight == two.weight).all()
    assert (before.weight == copy).all()


def test_where_nothing_is_gained_the_head_stays(lines: list[TrainingLine]) -> None:
    good = [item for item in lines if "0" not in item.text] or lines[:1]
    before = head(np.random.default_rng(0))
    assert fit(before, good[:3], good, Settings(epochs=2)) is before


def test_the_loss_over_trained_classes_is_that_over_all() -> None:
    """The classes that are not trained are one constant a step."""
    rng = np.random.default_rng(5)
    whole = Head(
        weight=rng.normal(0, 1, (8, 6)).astype(np.float32), bias=rng.normal(0, 1, 6).astype(np.float32), characters=CHARACTERS
    )
    item = line("A", rng)
    trainer = _Trainer(whole, [item], Settings())
    assert set(trainer._classes.tolist()) < set(range(6))
    mine = trainer._step([0])
    logits = (item.features @ whole.weight + whole.bias).astype(np.float64)
    theirs, _ = ctc(logits[None], [[CHARACTERS.index("A")]])
    np.testing.assert_allclose(mine, theirs, rtol=1e-5)


def test_labels_that_no_line_has_room_for_are_left_out_and_none_left_is_said() -> None:
    rng = np.random.default_rng(0)
    short = TrainingLine(page="p", text="AABB", features=np.zeros((3, 8), np.float32))
    with pytest.raises(NothingToTrain, match="none of 1 labels fits"):
        fit(head(rng), [short], [], Settings())
    with pytest.raises(NothingToTrain, match="none of 0"):
        fit(head(rng), [], [], Settings())
    fit(head(rng), [short, line("AB", rng)], [], Settings(epochs=1))


def test_characters_that_only_labels_have_become_classes() -> None:
    rng = np.random.default_rng(0)
    wider = prepared(head(rng), [TrainingLine(page="p", text="A é\tB", features=np.zeros((9, 8), np.float32))])
    assert wider.characters == ("", "O", "0", "A", "B", "é", " ")
    assert labels_of(wider, [TrainingLine(page="p", text="A é\u3000B", features=np.zeros((9, 8), np.float32))]) == [
        [3, 6, 5, 6, 4]
    ]
    strange = "".join(map(chr, range(0x4E00, 0x4E00 + 1001)))
    with pytest.raises(UsageError, match="1001 characters"):
        prepared(head(rng), [TrainingLine(page="p", text=strange, features=np.zeros((9, 8), np.float32))])


@pytest.mark.parametrize("options", [{"epochs": 0}, {"rate": 0}, {"rate": 2}, {"batch": 0}, {"pull": -1}])
def test_settings_that_cannot_be_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="epochs"):
        Settings(**options)  # type: ignore[arg-type]


def examples(count: int) -> list[Example]:
    return [Example(image=Path(f"{number}.png"), lines=()) for number in range(count)]


def test_pages_are_split_six_two_two_and_only_once() -> None:
    shares = split(examples(50), 0)
    assert {share: len(pages) for share, pages in shares.items()} == {"train": 30, "validation": 10, "test": 10}
    names = [page.image.name for pages in shares.values() for page in pages]
    assert sorted(names) == sorted(page.image.name for page in examples(50))
    assert split(examples(50)[::-1], 0) == shares
    assert split(examples(50), 1) != shares


def test_too_few_pages_are_said() -> None:
    with pytest.raises(BadDataset, match="9 labelled pages: at least 10"):
        split(examples(9), 0)
