"""Pages by kind, seed and number: the same three, with the same fonts, give the same page."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gpupool_ocr.synthesis import scenes
from gpupool_ocr.synthesis.degradation import NAMES, degrade
from gpupool_ocr.synthesis.fonts import FOLDERS, Font, fonts_for
from gpupool_ocr.synthesis.page import Drawn
from gpupool_ocr.synthesis.templates import SAMPLE, TEMPLATES
from gpupool_ocr.synthesis.wording import Wording
from gpupool_wire.errors import UsageError

#: Text on backgrounds, which has no type: words at any angle, and single lines for training.
SCENES = ("scene", "plate", "serial", "dots", "meter")
KINDS = (*TEMPLATES, *SCENES)
#: More would fill a disk by mistake: a page takes about 200 KB.
MAX_PAGES = 100_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What to draw."""

    kinds: tuple[str, ...]
    #: Pages of all kinds together, the kinds taking turns.
    count: int
    seed: int = 0
    #: Strength by degradation, 0 to 1.
    degradations: Mapping[str, float] = field(default_factory=dict)
    fonts: tuple[Path, ...] = FOLDERS

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown or not self.kinds:
            raise UsageError(f"there is no kind of page {', '.join(unknown) or '(none given)'}; there are: {', '.join(KINDS)}")
        if not 1 <= self.count <= MAX_PAGES:
            raise UsageError(f"{self.count} pages: it must be 1 to {MAX_PAGES}")
        wrong = [name for name in self.degradations if name not in NAMES]
        if wrong:
            raise UsageError(f"there is no degradation {wrong[0]!r}; there are: {', '.join(NAMES)}")


def draw(order: Order) -> Iterator[tuple[str, Drawn]]:
    """Yield name and page of each page of an order. Raises NoFont where no font here has the characters."""
    fonts: dict[str, list[Font]] = {}
    for index in range(order.count):
        kind = order.kinds[index % len(order.kinds)]
        if kind not in fonts:
            fonts[kind] = fonts_for(SAMPLE if kind in TEMPLATES else scenes.SAMPLES[kind], order.fonts)
        # Each page has generators of its own: page 7 is the same whether or not pages 0 to 6 are drawn.
        rng = random.Random(f"{order.seed}/{kind}/{index}")  # noqa: S311 - pages need no cryptography
        noise = np.random.default_rng([order.seed, index])
        page = _document(kind, rng, fonts[kind]) if kind in TEMPLATES else scenes.draw_scene(kind, rng, fonts[kind], noise)
        yield f"{kind}-{order.seed}-{index:05}", degrade(page, order.degradations, noise)


def _document(kind: str, rng: random.Random, fonts: list[Font]) -> Drawn:
    regular = [font for font in fonts if "Bold" not in font.name] or fonts
    chosen = rng.choice(regular)
    bold = next((font for font in fonts if "Bold" in font.name and font.name.split()[:2] == chosen.name.split()[:2]), chosen)
    canvas, fields = TEMPLATES[kind](Wording(rng), (chosen, bold))
    return Drawn(image=canvas.array(), labels=tuple(canvas.labels), type=kind, fields=fields)
