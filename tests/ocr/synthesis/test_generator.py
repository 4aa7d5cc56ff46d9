"""Pages drawn: reproducible, labelled where the ink is, degraded as ordered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gpupool_ocr.synthesis.degradation import DEGRADATIONS, MOVES, degrade, parse_degradations
from gpupool_ocr.synthesis.fonts import NoFont, find_fonts, fonts_for
from gpupool_ocr.synthesis.generator import KINDS, Order, draw
from gpupool_ocr.synthesis.page import Drawn
from gpupool_wire.errors import UsageError


@pytest.fixture(autouse=True)
def _fonts() -> None:
    try:
        fonts_for("发票Ag8")
    except NoFont as error:
        pytest.skip(str(error))


def drawn(kind: str, **options: object) -> Drawn:
    return next(draw(Order(kinds=(kind,), count=1, **options)))[1]  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_draws_the_same_page_and_another_seed_another(kind: str) -> None:
    one, again, other = drawn(kind, seed=3), drawn(kind, seed=3), drawn(kind, seed=4)
    assert (one.image == again.image).all()
    assert [label.text for label in one.labels] == [label.text for label in again.labels]
    assert [label.text for label in one.labels] != [label.text for label in other.labels]


def test_a_page_does_not_depend_on_the_pages_before_it() -> None:
    pages = dict(draw(Order(kinds=("plate",), count=4, seed=1)))
    fewer = dict(draw(Order(kinds=("plate",), count=2, seed=1)))
    assert all((pages[name].image == page.image).all() for name, page in fewer.items())


@pytest.mark.parametrize("kind", ["scene", "plate", "train_ticket"])
def test_ink_is_inside_the_polygons_and_polygons_inside_the_page(kind: str) -> None:
    import cv2

    page = drawn(kind, seed=2)
    height, width = page.image.shape[:2]
    for label in page.labels:
        assert label.polygon.min() >= -1
        assert (label.polygon <= [width + 1, height + 1]).all()
        mask = np.zeros((height, width), np.uint8)
        cv2.fillPoly(mask, [label.polygon.round().astype(np.int32)], (1,))
        inside = page.image[mask == 1].astype(int)
        # Ink and ground differ where there is text.
        assert inside.max() - inside.min() > 60, label.text


def test_lines_of_a_scene_do_not_touch() -> None:
    import cv2

    labels = [label.polygon.astype(np.float32) for label in drawn("scene", seed=5).labels]
    assert len(labels) >= 3
    pairs = [(one, other) for index, one in enumerate(labels) for other in labels[:index]]
    assert all(cv2.intersectConvexConvex(one, other)[0] == 0 for one, other in pairs)


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_every_degradation_does_more_the_stronger_it_is(name: str) -> None:
    page = drawn("serial", seed=1)

    def change(strength: float) -> float:
        after = degrade(page, {name: strength}, np.random.default_rng(0)).image
        assert (after.shape, after.dtype) == (page.image.shape, np.uint8)
        return float(np.abs(after.astype(int) - page.image).mean())

    assert 0 < change(0.2) < change(0.9)
    assert change(0) == 0


@pytest.mark.parametrize("name", MOVES)
def test_polygons_move_with_the_page(name: str) -> None:
    import cv2

    page = drawn("train_ticket", seed=1)
    moved = degrade(page, {name: 1.0}, np.random.default_rng(1))
    for before, after in zip(page.labels, moved.labels, strict=True):
        assert np.abs(before.polygon - after.polygon).max() > 1
        target = np.array([[0, 0], [100, 0], [100, 30], [0, 30]], np.float32)
        crops = []
        for label, image in ((before, page.image), (after, moved.image)):
            matrix = cv2.getPerspectiveTransform(label.polygon.astype(np.float32), target)
            crops.append(cv2.warpPerspective(image, matrix, (100, 30), flags=cv2.INTER_AREA).astype(float).ravel())
        assert np.corrcoef(*crops)[0, 1] > 0.7


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"kinds": ("leter",), "count": 1}, "no kind of page leter.*train_ticket"),
        ({"kinds": (), "count": 1}, "none given"),
        ({"kinds": ("scene",), "count": 0}, "0 pages"),
        ({"kinds": ("scene",), "count": 1, "degradations": {"rain": 1.0}}, "no degradation 'rain'"),
    ],
)
def test_orders_that_cannot_be_are_refused(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        Order(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["rain=0.2", "blur=much", "blur=2", "blur=-1", "blur=nan"])
def test_degradations_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_degradations(text)


def test_degradations_are_read() -> None:
    assert parse_degradations("blur=0.5,jpeg") == {"blur": 0.5, "jpeg": 0.3}


def test_what_no_font_draws_is_said_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(NoFont, match="no fonts"):
        find_fonts([tmp_path])
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    with pytest.raises(NoFont, match="no fonts"):
        find_fonts([tmp_path])
    with pytest.raises(NoFont, match=r"no font in .* has all of"):
        fonts_for("\U000f0000")
