"""Text on backgrounds: words of any size, colour and angle, and single lines: plates, serial numbers, ink-jet codes, meters."""

from __future__ import annotations

import random

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from gpupool_ocr.synthesis.fonts import Font
from gpupool_ocr.synthesis.lettering import dots, segments
from gpupool_ocr.synthesis.page import Canvas, Colour, Drawn, Label
from gpupool_ocr.synthesis.wording import Wording

#: What a face must have for each kind.
SAMPLES = {"scene": "青岚公司Rg8", "plate": "京沪粤甘青A8", "serial": "AO0I1B8", "dots": "EXP/8", "meter": "8"}
#: (paper, ink) of number plates: blue, yellow, green, white.
_PLATES: tuple[tuple[Colour, Colour], ...] = (
    ((26, 58, 150), (245, 245, 245)),
    ((236, 176, 30), (20, 20, 20)),
    ((110, 200, 140), (20, 20, 20)),
    ((240, 240, 240), (20, 20, 20)),
)
#: How often a line is tried at another place of a page before it is left out.
_TRIES = 20


def draw_scene(kind: str, rng: random.Random, fonts: list[Font], noise: np.random.Generator) -> Drawn:
    """Return a page of one of SAMPLES' kinds."""
    if kind == "scene":
        return _page(rng, fonts, noise)
    wording = Wording(rng)
    if kind in {"dots", "meter"}:
        return _stencilled(kind, wording, fonts)
    paper, ink = rng.choice(_PLATES) if kind == "plate" else ((235, 232, 224), (40, 40, 46))
    return _line(wording.plate() if kind == "plate" else wording.serial(), rng, fonts, paper, ink)


def _line(text: str, rng: random.Random, fonts: list[Font], paper: Colour, ink: Colour) -> Drawn:
    """Return a strip with one line, a little askew."""
    font, size = rng.choice([font for font in fonts if font.draws(text)] or fonts), rng.randint(36, 60)
    left, top, right, bottom = font.at(size).getbbox(text)
    width, height = int(right - left) + 60, int(bottom - top) + 50
    canvas = Canvas(width, height, (font, font), paper)
    canvas.turned(width / 2, height / 2, text, font, size, ink, rng.uniform(-2, 2))
    return Drawn(image=canvas.array(), labels=tuple(canvas.labels))


def _stencilled(kind: str, wording: Wording, fonts: list[Font]) -> Drawn:
    """Return a strip with a code of dots, dark on light, or a meter's segments, light on dark or the other way round."""
    rng = wording.rng
    if kind == "dots":
        text = wording.batch_code()
        stencil = dots(text, rng.choice(fonts), rng.randint(4, 7))
    else:
        text = wording.reading()
        stencil = segments(text, rng.randint(40, 90), rng.uniform(0, 0.15))
    paper, ink = rng.randint(170, 250), rng.randint(10, 80)
    if kind == "meter" and rng.random() < 0.5:
        paper, ink = ink, paper
    border = rng.randint(8, 16)
    height, width = stencil.shape[0] + 2 * border, stencil.shape[1] + 2 * border
    cover = np.zeros((height, width, 1), np.float64)
    cover[border:-border, border:-border, 0] = stencil / 255
    image = np.asarray(np.repeat(paper + (ink - paper) * cover, 3, axis=2), np.uint8)
    low = border - 3.0
    polygon = np.array([[low, low], [width - low, low], [width - low, height - low], [low, height - low]], np.float64)
    return Drawn(image=image, labels=(Label(polygon, text),))


def _page(rng: random.Random, fonts: list[Font], noise: np.random.Generator) -> Drawn:
    """Return a page with 5 to 25 lines that do not touch."""
    wording = Wording(rng)
    width, height = rng.randint(700, 1400), rng.randint(700, 1400)
    canvas = Canvas(width, height, (fonts[0], fonts[0]))
    background = _background(width, height, noise)
    canvas.image.paste(Pillow.fromarray(background))
    dark = background.mean() < 128
    for _ in range(rng.randint(5, 25)):
        text = rng.choice((wording.words, wording.han, wording.serial, wording.plate))()
        font = rng.choice([font for font in fonts if font.draws(text)] or fonts)
        lightest, darkest = (255, 190) if dark else (70, 0)
        red, green, blue = (rng.randint(darkest, lightest) for _ in range(3))
        angle = rng.choice((0.0, 0.0, rng.uniform(-12, 12), rng.uniform(-40, 40)))
        for _ in range(_TRIES):
            x, y = rng.uniform(0, width), rng.uniform(0, height)
            if canvas.turned(x, y, text, font, rng.randint(20, 64), (red, green, blue), angle):
                break
    return Drawn(image=canvas.array(), labels=tuple(canvas.labels))


def _background(width: int, height: int, noise: np.random.Generator) -> NDArray[np.uint8]:
    """Return a smooth cloud of colour around a light or a dark one: uint8 (height, width, 3)."""
    base = noise.choice([40.0, 215.0]) + noise.uniform(-20, 20, 3)
    cloud = cv2.resize(noise.normal(0, 16, (6, 6, 3)), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(base + cloud, 0, 255), np.uint8)
