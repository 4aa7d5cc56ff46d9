"""Files to pages: every common kind is read, everything else is one clear sentence."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from gpupool_ocr import pages
from gpupool_ocr.pages import PageError, count_pages, find_files, load_pages

Picture = Callable[..., Path]


def only_page(path: Path) -> np.ndarray:
    (page,) = load_pages(path)
    assert page.image.flags.c_contiguous
    return page.image


@pytest.mark.parametrize(
    ("name", "mode"), [("a.png", "RGB"), ("a.png", "RGBA"), ("a.png", "P"), ("a.jpg", "CMYK"), ("a.gif", "P"), ("a.tif", "RGB")]
)
def test_modes_become_bgr(picture: Picture, name: str, mode: str) -> None:
    image = only_page(picture(name, mode))
    assert image.shape == (30, 40, 3)
    assert image.dtype == np.uint8
    assert np.abs(image[0, 0].astype(int) - [90, 200, 10]).max() < 30


def test_grey_has_three_equal_channels(picture: Picture) -> None:
    image = only_page(picture("a.png", "L"))
    assert (image[..., 0] == image[..., 2]).all()


def test_sixteen_bits_are_scaled_not_cut(picture: Picture) -> None:
    assert int(only_page(picture("a.png", "I;16"))[0, 0, 0]) in (127, 128)


def test_transparency_lies_on_white(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "a.png")
    assert only_page(tmp_path / "a.png").min() == 255


def test_a_photo_turned_by_exif_is_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg", exif=exif)
    assert only_page(tmp_path / "a.jpg").shape == (40, 30, 3)


def test_of_an_animation_the_first_frame_is_read(tmp_path: Path) -> None:
    first, second = Image.new("RGB", (9, 9), "white"), Image.new("RGB", (9, 9), "black")
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    assert only_page(tmp_path / "a.gif").min() == 255


def test_every_image_of_a_tiff_file_is_a_page(tmp_path: Path) -> None:
    sheets = [Image.new("L", (9, 9), grey) for grey in (10, 20, 30)]
    sheets[0].save(tmp_path / "scan.tif", save_all=True, append_images=sheets[1:])
    found = list(load_pages(tmp_path / "scan.tif"))
    assert [(page.number, page.count, int(page.image[0, 0, 0])) for page in found] == [(1, 3, 10), (2, 3, 20), (3, 3, 30)]
    assert count_pages(tmp_path / "scan.tif") == 3


def test_pages_load_as_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sheets = [Image.new("L", size) for size in ((9, 9), (40, 30))]
    sheets[0].save(tmp_path / "scan.tif", save_all=True, append_images=sheets[1:])
    monkeypatch.setattr(pages, "MAX_PIXELS", 1000)
    reading = load_pages(tmp_path / "scan.tif")
    assert next(reading).number == 1
    with pytest.raises(PageError, match="40x30 pixels; the limit is 1000"):
        next(reading)


def test_programs_in_image_files_are_not_run(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with pytest.raises(PageError, match="is not an image or PDF"):
        list(load_pages(tmp_path / "a.png"))


def test_what_pillow_only_warns_of_is_refused_without_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("1", (100, 100)).save(tmp_path / "a.png")
    monkeypatch.setattr(pages, "MAX_PIXELS", 9_000)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 8_000)  # warnings are errors here
    with pytest.raises(PageError, match="100x100 pixels"):
        list(load_pages(tmp_path / "a.png"))
    assert count_pages(tmp_path / "a.png") == 1


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "GIF", "WEBP", "BMP", "PPM", "JPEG2000", "PDF"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255)), min_size=1, max_size=8), keep=st.floats(0.05, 1))
def test_damage_is_a_page_error_or_a_picture(tmp_path: Path, kind: str, changes: list[tuple[int, int]], keep: float) -> None:
    file = io.BytesIO()
    Image.fromarray(np.arange(48 * 64 * 3, dtype=np.uint32).astype(np.uint8).reshape(48, 64, 3)).save(file, kind)
    data = bytearray(file.getvalue())
    for offset, value in changes:
        data[offset % len(data)] = value
    path = tmp_path / "damaged"
    path.write_bytes(data[: max(1, int(len(data) * keep))])
    assert count_pages(path) >= 1
    with contextlib.suppress(PageError):
        assert all(page.image.shape[2] == 3 for page in load_pages(path))


def test_a_text_file_named_jpg_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("hello")
    with pytest.raises(PageError, match=r"a\.jpg is not an image or PDF"):
        list(load_pages(tmp_path / "a.jpg"))


def test_an_empty_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(PageError, match=r"a\.png is empty \(0 bytes\)"):
        list(load_pages(tmp_path / "a.png"))


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
def test_a_truncated_png_is_damaged(tmp_path: Path, keep: float) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(PageError, match=r"a\.png is damaged"):
        list(load_pages(tmp_path / "a.png"))


def test_a_decompression_bomb_is_refused(picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MAX_PIXELS", 1000)
    with pytest.raises(PageError, match="40x30 pixels; the limit is 1000"):
        list(load_pages(picture("a.png")))


def test_a_pdf_is_rendered_page_by_page(tmp_path: Path) -> None:
    sheets = [Image.new("RGB", (200, 100), "white") for _ in range(3)]
    sheets[0].save(tmp_path / "a.pdf", save_all=True, append_images=sheets[1:])
    path = tmp_path / "a.pdf"
    assert count_pages(path) == 3
    assert [page.number for page in load_pages(path)] == [1, 2, 3]


def test_a_damaged_pdf_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7\nnothing follows")
    with pytest.raises(PageError, match="damaged PDF"):
        list(load_pages(tmp_path / "a.pdf"))


def test_an_encrypted_pdf_says_what_to_do(locked_pdf: Path) -> None:
    with pytest.raises(PageError, match=r"locked\.pdf is encrypted: give a copy without a password"):
        list(load_pages(locked_pdf))
    assert count_pages(locked_pdf) == 1


def test_folders_are_searched_in_order_and_missing_paths_named(picture: Picture, tmp_path: Path) -> None:
    second, first = picture("b.png"), picture("a.png")
    (tmp_path / "notes.txt").write_text("no page")
    assert find_files([tmp_path]) == [first, second]
    with pytest.raises(PageError, match="nowhere does not exist"):
        find_files([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(PageError, match="holds no images"):
        find_files([tmp_path / "empty"])
