"""What a log may say of a page: text with what identifies people taken out, by rule."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpupool_wire.errors import UsageError

#: A rule is written by an operator and run on what strangers send: short, and without what backtracks for ever.
MAX_PATTERN_CHARS = 200
MAX_TEXT_CHARS = 2_000
#: A group that repeats and holds a repetition: (a+)+ and its like.
_NESTED = re.compile(r"\([^()]*[*+}][^()]*\)\s*[*+{]")


@dataclass(frozen=True, slots=True)
class Rule:
    """What is replaced, and by what."""

    pattern: re.Pattern[str]
    by: str


#: Numbers of cards, accounts, telephones, invoices and people; addresses of mail.
DEFAULT_RULES = (
    Rule(re.compile(r"[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64}){1,4}"), "[mail]"),
    Rule(re.compile(r"\d[\d -]{4,30}[\dXx]"), "[number]"),
)


def make_rule(pattern: str, by: str = "[redacted]") -> Rule:
    """Return a rule of an operator's. Raises UsageError where the pattern is none, or could run for ever."""
    if len(pattern) > MAX_PATTERN_CHARS or _NESTED.search(pattern):
        raise UsageError(f"the pattern {pattern[:40]!r} is longer than {MAX_PATTERN_CHARS} characters, or repeats a repetition")
    try:
        return Rule(re.compile(pattern), by)
    except re.error as error:
        raise UsageError(f"{pattern!r} is no pattern: {error}") from error


def redact(lines: Iterable[str], rules: Sequence[Rule] = DEFAULT_RULES) -> str:
    """Return lines as one text of at most MAX_TEXT_CHARS, with every match of every rule replaced."""
    text = "\n".join(lines)[:MAX_TEXT_CHARS]
    for rule in rules:
        text = rule.pattern.sub(rule.by, text)
    return text


def shaper(rules: Sequence[Rule] = DEFAULT_RULES) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """Return what redacts the text of a log record."""
    return lambda record: {**record, "text": redact(record.get("text", ()), rules)}
