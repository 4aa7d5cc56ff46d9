"""What the pages say, in English and in Simplified Chinese.

English stands where it is said and is its own key, `say("Sign out")`; the Chinese of it stands in the tables beside this file,
one for each part of the pages. Numbers and names go in by keyword: `say("{n} of {all}", n=3, all=5)`.
"""

from __future__ import annotations

from typing import Final

from gpupool_web.words import zh_access, zh_devices, zh_frame, zh_overview, zh_queue, zh_reports, zh_slices, zh_tenants

#: As browsers and Quasar name them, and as they name themselves.
LANGUAGES: Final = {"en-US": "English", "zh-CN": "简体中文"}
ENGLISH, CHINESE = LANGUAGES

_TABLES: Final = (zh_frame, zh_overview, zh_devices, zh_slices, zh_queue, zh_tenants, zh_reports, zh_access)
CATALOGUE: Final[dict[str, str]] = {english: chinese for table in _TABLES for english, chinese in table.WORDS.items()}


class Words:
    """Says things in one language."""

    def __init__(self, language: str = ENGLISH) -> None:
        self.language = language if language in LANGUAGES else ENGLISH

    def __repr__(self) -> str:
        return f"<Words in {LANGUAGES[self.language]}>"

    def __call__(self, english: str, **values: object) -> str:
        """Return an English text in this language, with the values put in; what has no Chinese stays English."""
        text = CATALOGUE.get(english, english) if self.language == CHINESE else english
        return text.format(**values) if values else text


def noted(english: str) -> str:
    """Return a text as it is: marks one that stands in a table and is said later."""
    return english


def language_of(accepts: str) -> str:
    """Return the language of LANGUAGES that an Accept-Language header (RFC 9110, section 12.5.4) likes best."""
    liked: list[tuple[float, str]] = []
    for part in accepts.split(","):
        name, _, weight = part.strip().partition(";")
        try:
            liked.append((float(weight.strip().removeprefix("q=") or 1), name.strip().lower()))
        except ValueError:
            continue
    for _, name in sorted(liked, key=lambda one: -one[0]):
        if name.startswith("zh"):
            return CHINESE
        if name.startswith("en"):
            return ENGLISH
    return ENGLISH
