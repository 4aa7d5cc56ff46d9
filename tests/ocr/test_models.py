"""Device-side edges: the derived models give what the originals give."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import onnxruntime as ort
import pytest

from gpupool_ocr import models


def original(name: str) -> ort.InferenceSession:
    return ort.InferenceSession((files("rapidocr") / "models" / name).read_bytes(), providers=["CPUExecutionProvider"])


def derived(model: bytes) -> ort.InferenceSession:
    return ort.InferenceSession(model, providers=["CPUExecutionProvider"])


def normalised(images: np.ndarray, width: int | None = None) -> np.ndarray:
    planes = images.astype(np.float32).transpose(0, 3, 1, 2) * np.float32(1 / 127.5) - np.float32(1)
    if width is None:
        return planes
    return np.pad(planes, [(0, 0), (0, 0), (0, 0), (0, width - planes.shape[3])])


def padded_feed(images: np.ndarray, widths: list[int], width: int) -> dict[str, np.ndarray]:
    return {
        "gpupool_image": images,
        "gpupool_widths": np.array(widths, np.int64),
        "gpupool_width": np.array([width], np.int64),
    }


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (2, 48, 200, 3), np.uint8)


def test_the_recogniser_gives_the_likeliest_class_and_its_score(images: np.ndarray) -> None:
    (full,) = original(models.RECOGNITION).run(None, {"x": normalised(images, 320)})
    best, score = derived(models.packaged_models().recognition).run(None, padded_feed(images, [200, 200], 320))
    assert (best == full.argmax(2)).all()
    np.testing.assert_allclose(score, full.max(2), atol=1e-6)


def test_the_detectors_map_is_rounded_and_nothing_else() -> None:
    page = np.random.default_rng(3).integers(0, 256, (1, 64, 96, 3), np.uint8)
    (full,) = original(models.DETECTION).run(None, {"x": normalised(page)})
    (small,) = derived(models.packaged_models().detection).run(None, {"gpupool_image": page})
    assert small.dtype == np.uint8
    assert np.abs(small / 255 - full).max() <= 0.5 / 255 + 1e-5


def test_the_direction_classifier_sees_the_same_picture(images: np.ndarray) -> None:
    narrow = images[:, :, :150]
    (full,) = original(models.DIRECTION).run(None, {"x": normalised(narrow, 192)})
    (ours,) = derived(models.packaged_models().direction).run(None, padded_feed(narrow, [150, 150], 192))
    np.testing.assert_allclose(ours, full, atol=1e-5)


def test_images_of_unequal_widths_share_a_call_and_see_what_they_would_see_alone(images: np.ndarray) -> None:
    session = derived(models.packaged_models().recognition)
    best, score = session.run(None, padded_feed(images, [200, 57], 320))
    for row, width in enumerate([200, 57]):
        alone_best, alone_score = session.run(None, padded_feed(images[row : row + 1, :, :width], [width], 320))
        assert (best[row] == alone_best[0]).all()
        np.testing.assert_allclose(score[row], alone_score[0], atol=1e-5)


def test_of_a_grey_image_one_colour_is_enough(images: np.ndarray) -> None:
    grey = images[..., :1]
    session = derived(models.packaged_models().recognition)
    one = session.run(None, padded_feed(grey, [200, 150], 224))
    three = session.run(None, padded_feed(np.repeat(grey, 3, axis=3), [200, 150], 224))
    assert all((ours == theirs).all() for ours, theirs in zip(one, three, strict=True))
