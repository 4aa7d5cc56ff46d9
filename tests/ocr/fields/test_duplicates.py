"""One document twice: by number, by picture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from gpupool_ocr import samples
from gpupool_ocr.fields.duplicates import HASH_BITS, MAX_DISTANCE, Register, Seen, distance, perceptual_hash
from gpupool_ocr.pages import load_pages


def picture(index: int) -> np.ndarray:
    return next(load_pages(samples.paths()[index])).image


@pytest.mark.parametrize("index", range(4))
def test_a_page_scanned_anew_is_near_and_others_are_far(index: int) -> None:
    page, own = picture(index), perceptual_hash(picture(index))
    _, data = cv2.imencode(".jpg", cv2.resize(page, None, fx=0.5, fy=0.5), [cv2.IMWRITE_JPEG_QUALITY, 40])
    for again in (cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), cv2.GaussianBlur(page, (0, 0), 2), np.clip(page * 0.8 + 20, 0, 255)):
        assert distance(own, perceptual_hash(again.astype(np.uint8))) <= MAX_DISTANCE
    for other in set(range(4)) - {index}:
        assert distance(own, perceptual_hash(picture(other))) > 2 * MAX_DISTANCE


def test_the_number_decides_where_there_is_one() -> None:
    register = Register()
    assert register.add(Seen(name="a", identity="invoice/1", picture=0)) == []
    assert [(seen.name, why) for seen, why in register.add(Seen(name="b", identity="invoice/1", picture=2**HASH_BITS - 1))] == [
        ("a", "identity")
    ]
    assert register.add(Seen(name="c", identity="invoice/2", picture=0)) == []


def test_the_picture_decides_where_there_is_none() -> None:
    register = Register()
    register.add(Seen(name="a", identity="", picture=0))
    assert [(seen.name, why) for seen, why in register.add(Seen(name="b", identity="", picture=1))] == [("a", "picture")]
    assert register.add(Seen(name="c", identity="", picture=2**60 - 1)) == []
    assert register.add(Seen(name="d", identity="", picture=None)) == []


def test_tiny_and_plain_pictures_have_a_hash() -> None:
    for image in (np.zeros((1, 1, 3), np.uint8), np.full((2000, 1), 255, np.uint8)):
        assert 0 <= perceptual_hash(image) < 2**HASH_BITS
