"""Which font a text is set in: the fonts every PDF reader has, by script, so that none has to come along.

Latin texts are set in Helvetica (WinAnsi); everything else in the fonts that Adobe's character collections name: Japanese,
Korean, and Simplified Chinese, whose collection has Greek and Cyrillic too.
"""

from __future__ import annotations

from itertools import groupby
from typing import Final
from xml.sax.saxutils import escape

from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont

LATIN: Final = "Helvetica"
CHINESE: Final = "STSong-Light"
JAPANESE: Final = "HeiseiKakuGo-W5"
KOREAN: Final = "HYGothic-Medium"


def register() -> None:
    """Make the fonts known to reportlab."""
    for name in (CHINESE, JAPANESE, KOREAN):
        if name not in pdfmetrics.getRegisteredFontNames():
            pdfmetrics.registerFont(UnicodeCIDFont(name))


def marked_up(text: str) -> str:
    """Return a text as reportlab's markup, each run of it in a font that has its characters."""
    is_japanese = any("぀" <= char <= "ヿ" for char in text)
    runs = ((font, "".join(chars)) for font, chars in groupby(text, lambda char: _font_of(char, is_japanese)))
    return "".join(escape(run) if font == LATIN else f'<font name="{font}">{escape(run)}</font>' for font, run in runs)


def _font_of(char: str, is_japanese: bool) -> str:
    try:
        char.encode("cp1252")
    except UnicodeEncodeError:
        if "가" <= char <= "힣" or "ᄀ" <= char <= "ᇿ":
            return KOREAN
        return JAPANESE if is_japanese else CHINESE
    return LATIN
