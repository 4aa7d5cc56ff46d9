"""Files to pages: every common kind is read, everything else is one clear sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
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
    assert (image.shape, image.dtype) == ((30, 40, 3), np.uint8)
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


def test_folders_are_searched_in_order_and_missing_paths_named(picture: Picture, tmp_path: Path) -> None:
    second, first = picture("b.png"), picture("a.png")
    (tmp_path / "notes.txt").write_text("no page")
    assert find_files([tmp_path]) == [first, second]
    with pytest.raises(PageError, match="nowhere does not exist"):
        find_files([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(PageError, match="holds no images"):
        find_files([tmp_path / "empty"])
