"""Fonts of this machine: nothing is packaged, so what is drawn depends on what is installed. See docs/ocr-quality.md."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from gpupool_wire.errors import UsageError

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

#: Where Linux systems keep fonts.
FOLDERS = (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), Path.home() / ".fonts", Path.home() / ".local/share/fonts")
SUFFIXES = frozenset({".ttf", ".otf", ".ttc"})
#: In a collection, the faces are tried up to this one: Noto's CJK collections have simplified Chinese third.
_FACES = 10
#: A code point that no font draws: its picture is the font's sign for "I have not got that".
_MISSING = "\U0010ffff"


class NoFont(UsageError):
    """No font here has the characters to draw."""

    code = "no_font"


@dataclass(frozen=True, slots=True, order=True)
class Font:
    """A face of a font file."""

    path: str
    face: int = 0

    def at(self, size: int) -> FreeTypeFont:
        """Return the face at a size in pixels."""
        return _at(self, size)

    @property
    def name(self) -> str:
        """Family and style, as the file has it."""
        family, style = self.at(16).getname()
        return f"{family} {style}"

    def draws(self, text: str) -> bool:
        """Whether the face has every character of a text."""
        return all(_draws(self, char) for char in set(text) if not char.isspace())


@cache
def _at(font: Font, size: int) -> FreeTypeFont:
    from PIL import ImageFont

    return ImageFont.truetype(font.path, size, index=font.face)


@cache
def _draws(font: Font, char: str) -> bool:
    face = font.at(24)
    return bytes(face.getmask(char)) != bytes(face.getmask(_MISSING)) and face.getbbox(char)[2] > 0


def find_fonts(folders: Iterable[Path] = FOLDERS) -> list[Font]:
    """Return the fonts in folders, by their paths; of a collection the face for simplified Chinese, else the first."""
    paths = sorted(
        {path for folder in folders if folder.is_dir() for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES}
    )
    found = [font for path in paths if (font := _face_of(path))]
    if not found:
        raise NoFont(
            f"no fonts (*.ttf, *.otf, *.ttc) in {', '.join(map(str, folders))}: install some, or name a folder that has them"
        )
    return found


def _face_of(path: Path) -> Font | None:
    faces = _FACES if path.suffix.lower() == ".ttc" else 1
    for face in range(faces):
        try:
            family, _ = Font(str(path), face).at(16).getname()
        except (OSError, ValueError):
            break
        if faces == 1 or (family or "").endswith(" SC"):
            return Font(str(path), face)
    try:
        Font(str(path)).at(16)
    except (OSError, ValueError):  # damaged, or of a kind FreeType does not read
        return None
    return Font(str(path))


def fonts_for(text: str, folders: Iterable[Path] = FOLDERS) -> list[Font]:
    """Return the fonts that have every character of `text`. Raises NoFont where there is none."""
    found = [font for font in find_fonts(folders) if font.draws(text)]
    if not found:
        hint = " (Debian: fonts-noto-cjk)" if any(char > "\u2e80" for char in text) else ""
        where = ", ".join(map(str, folders))
        raise NoFont(f"no font in {where} has all of {text[:40]!r}: install one{hint}, or name a folder that has one")
    return found
