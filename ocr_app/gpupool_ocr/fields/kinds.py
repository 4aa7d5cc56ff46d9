"""Kinds of fields: what their values look like, and their normal form.

A kind that does not know a value says None, and the finder goes on to the next candidate.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Literal

from gpupool_ocr.fields import chinese

#: How a date of three numbers is to be read where it does not begin with the year.
DateOrder = Literal["dmy", "mdy"]
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
#: A year of two digits below this is of this century.
_PIVOT = 70
_YEAR_FIRST = re.compile(r"(\d{4})\s?[-/.年]\s?(\d{1,2})\s?[-/.月]\s?(\d{1,2})")
_YEAR_LAST = re.compile(r"(\d{1,2})\s?(?:/\s?(\d{1,2})\s?/|[-. ]\s?(\d{1,2})\s?[-. ])\s?((?:19|20)\d{2}|\d{2}(?!\d))")
_MONTH_NAMED = re.compile(r"(\d{1,2})[\s./-]{0,2}([a-z]{3})[a-z]{0,6}[\s./,-]{0,2}(\d{4}|\d{2})(?!\d)", re.IGNORECASE)
_MONTH_FIRST = re.compile(r"([a-z]{3})[a-z]{0,6}\.?\s?(\d{1,2}),?\s?(\d{4})", re.IGNORECASE)
_STOP_FOR_COMMA = re.compile(r"(?:(?<=\d)|(?<=[^\W\d_]{4}))\.\s+")
_COMPACT = re.compile(r"(?<!\d)(20\d{2})(\d{2})(\d{2})(?!\d)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """A kind of field: the pattern of its values where a rule gives none, and its normal form (None: no such value)."""

    pattern: str
    normalise: Callable[[str, DateOrder], str | None]


def normal_text(text: str, _: DateOrder = "dmy") -> str | None:
    """Return text with single spaces, without punctuation at its ends."""
    return re.sub(r"\s+", " ", text).strip(" :;,.-_*|") or None


def normal_address(text: str, _: DateOrder = "dmy") -> str | None:
    """Return an address as text whose parts stand between commas.

    An address is no sentence: a full stop behind a number, or behind a word too long for an abbreviation (`Jln.`, `No.`, `Tmn.`),
    is a comma that was printed or read as one.
    """
    return normal_text(_STOP_FOR_COMMA.sub(", ", text))


def normal_code(text: str, _: DateOrder = "dmy") -> str | None:
    """Return a number or code: capitals, without spaces."""
    return re.sub(r"\s+", "", text).upper() or None


def normal_amount(text: str, _: DateOrder = "dmy") -> str | None:
    """Return an amount as plain decimal digits with two places: 1,234.5 becomes 1234.50. A comma before two digits is a point."""
    digits = re.sub(r"[^\d.,()+-]", "", text).strip(".,")
    is_negative = digits.startswith(("-", "(")) or digits.endswith("-")
    digits = digits.strip("()+-")
    if re.fullmatch(r"[\d.]*,\d{2}", digits):
        digits = digits.replace(".", "").replace(",", ".")
    try:
        amount = Decimal(digits.replace(",", ""))
    except InvalidOperation:
        return None
    return f"{-amount if is_negative else amount:.2f}"


def normal_rate(text: str, _: DateOrder = "dmy") -> str | None:
    """Return a rate in per cent as a fraction: 6% becomes 0.06."""
    found = re.search(r"(\d{1,3}(?:\.\d{1,3})?)\s?%", text)
    return str(Decimal(found[1]) / 100) if found else None


def normal_capitals(text: str, _: DateOrder = "dmy") -> str | None:
    """Return an amount in capital Chinese numerals as digits with two places."""
    amount = chinese.read_amount(text)
    return None if amount is None else f"{amount:.2f}"


def normal_time(text: str, _: DateOrder = "dmy") -> str | None:
    """Return a time of day as HH:MM, or HH:MM:SS."""
    found = re.search(r"(\d{1,2})\s?[:时]\s?(\d{2})(?:\s?[:分]\s?(\d{2}))?\s?([ap]m)?", text, re.IGNORECASE)
    if not found:
        return None
    hour = int(found[1]) % 12 + (12 if found[4].lower() == "pm" else 0) if found[4] else int(found[1])
    if hour > 23 or int(found[2]) > 59 or int(found[3] or 0) > 59:
        return None
    return f"{hour:02}:{found[2]}" + (f":{found[3]}" if found[3] else "")


def normal_date(text: str, order: DateOrder = "dmy") -> str | None:
    """Return a date as ISO 8601 (YYYY-MM-DD); `order` says how numbers are read where the year is last."""
    for year, month, day in _dates_in(text, order):
        try:
            return date(year, month, day).isoformat()
        except ValueError:
            continue
    return None


def _dates_in(text: str, order: DateOrder) -> list[tuple[int, int, int]]:
    """Return what may be a date in text as year, month, day, the surest form first."""
    found: list[tuple[int, int, int]] = [(int(m[1]), int(m[2]), int(m[3])) for m in _YEAR_FIRST.finditer(text)]
    for match in _MONTH_NAMED.finditer(text):
        found += [(_year(match[3]), _month(match[2]), int(match[1]))]
    for match in _MONTH_FIRST.finditer(text):
        found += [(int(match[3]), _month(match[1]), int(match[2]))]
    for match in _YEAR_LAST.finditer(text):
        one, two = int(match[1]), int(match[2] or match[3])
        day, month = (one, two) if order == "dmy" else (two, one)
        found += [(_year(match[4]), month, day)]
    return found + [(int(m[1]), int(m[2]), int(m[3])) for m in _COMPACT.finditer(text)]


def _year(text: str) -> int:
    year = int(text)
    return year if year > 99 else year + (2000 if year < _PIVOT else 1900)


def _month(name: str) -> int:
    """Return 1 to 12, or 0, which no date has."""
    return _MONTHS.index(name.lower()) + 1 if name.lower() in _MONTHS else 0


_DATE = (
    r"\d{4}\s?[-/.年]\s?\d{1,2}\s?[-/.月]\s?\d{1,2}日?|\d{1,2}\s?[-/. ]\s?\d{1,2}\s?[-/. ]\s?\d{2,4}"
    r"|\d{1,2}[\s./-]{0,2}[a-z]{3,9}[\s./,-]{0,2}\d{2,4}|[a-z]{3,9}\.?\s?\d{1,2},?\s?\d{4}|20\d{6}"
)
KINDS: dict[str, Kind] = {
    "text": Kind(pattern=r".+", normalise=normal_text),
    "address": Kind(pattern=r".+", normalise=normal_address),
    "code": Kind(pattern=r"[0-9A-Z*-]+", normalise=normal_code),
    "amount": Kind(pattern=r"-?\(?(?:\d{1,3}(?:,\d{3}){1,3}|\d{1,10})(?:[.,]\d{1,2})?", normalise=normal_amount),
    "date": Kind(pattern=_DATE, normalise=normal_date),
    "time": Kind(pattern=r"\d{1,2}\s?[:时]\s?\d{2}(?:\s?[:分]\s?\d{2})?\s?(?:[ap]m)?", normalise=normal_time),
    "rate": Kind(pattern=r"\d{1,3}(?:\.\d{1,3})?\s?%", normalise=normal_rate),
    "capitals": Kind(
        pattern=r"[零〇壹贰贰叁肆伍陆柒捌玖拾佰仟万亿元圆角分整正貳參叄陸億萬圓弍]{2,40}", normalise=normal_capitals
    ),
}
