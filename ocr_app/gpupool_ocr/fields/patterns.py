"""Regular expressions from rule files, with a bound on the time they can take.

Python's engine tries alternatives one after the other. How many paths there are through a pattern, and how many steps it takes to
walk them all, is a property of the pattern: each item of a sequence is walked once per path through the items before it, a
repetition from m to n of something with p paths has p^m + ... + p^n, a choice the sum. Look-arounds and atomic groups are left by
one path. A pattern of more than MAX_STEPS is refused; so a search on a line of at most MAX_LINE_CHARS takes MAX_LINE_CHARS *
MAX_STEPS steps at the very worst, tenths of a second, and `(a+)+b` does not load.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from gpupool_ocr.fields.geometry import MAX_LINE_CHARS
from gpupool_wire.errors import UsageError

MAX_PATTERN_CHARS = 400
MAX_STEPS = 200_000
#: Where counting may stop: anything above is refused.
_TOO_MANY = 10 * MAX_STEPS
#: Paths and steps.
_Cost = tuple[int, int]


class BadPattern(UsageError):
    """A pattern is not a regular expression, or could take too long."""

    code = "bad_pattern"


@lru_cache(maxsize=1024)
def compiled(pattern: str) -> re.Pattern[str]:
    """Return the pattern, ignoring case; raise BadPattern where it is none, is too long, or could take too long."""
    if len(pattern) > MAX_PATTERN_CHARS:
        raise BadPattern(f"a pattern of {len(pattern)} characters: the limit is {MAX_PATTERN_CHARS}")
    try:
        found = re.compile(pattern, re.IGNORECASE)
    except (re.error, OverflowError, RecursionError) as error:
        raise BadPattern(f"{pattern!r} is no regular expression: {error}") from error
    # The parser behind re.compile: there is no public one, and its tree has kept its form since Python 1.6.
    from re import _parser  # type: ignore[attr-defined]

    _, steps = _sequence(_parser.parse(pattern, re.IGNORECASE))
    if steps > MAX_STEPS:
        raise BadPattern(
            f"{pattern!r} could take too long: {'more than ' * (steps >= _TOO_MANY)}{steps} steps from each character of a line, "
            f"the limit is {MAX_STEPS}. Give repetitions an upper bound ({{1,20}} for +), and nest none"
        )
    return found


def _sequence(items: Iterable[Any]) -> _Cost:
    """Return the paths through a parsed sequence and the steps to walk them all, or at least _TOO_MANY."""
    paths, steps = 1, 1
    for kind, value in items:
        more_paths, more_steps = _item(str(kind), value)
        steps, paths = min(_TOO_MANY, steps + paths * more_steps), min(_TOO_MANY, paths * more_paths)
    return paths, steps


def _item(kind: str, value: Any) -> _Cost:  # noqa: ANN401 - the parser's tree has no types
    match kind:
        case "MAX_REPEAT" | "MIN_REPEAT":
            low, high, body = value
            return _repetition(int(low), int(high), _sequence(body))
        case "POSSESSIVE_REPEAT":
            low, high, body = value
            return 1, _repetition(int(low), int(high), _sequence(body))[1]
        case "BRANCH":
            branches = [_sequence(branch) for branch in value[1]]
            return sum(paths for paths, _ in branches), sum(steps for _, steps in branches)
        case "SUBPATTERN":
            return _sequence(value[3])
        case "ASSERT" | "ASSERT_NOT":
            return 1, _sequence(value[1])[1]
        case "ATOMIC_GROUP":
            return 1, _sequence(value)[1]
        case "GROUPREF_EXISTS":
            return _sequence([*value[1], *(value[2] or [])])
        case _:
            return 1, 1


def _repetition(low: int, high: int, body: _Cost) -> _Cost:
    """Return paths and steps of low to high repetitions, none being longer than a line."""
    paths, steps, power = 0, 1, 1
    for count in range(min(high, MAX_LINE_CHARS) + 1):
        if count >= low:
            paths = min(_TOO_MANY, paths + power)
        if count < high:
            steps = min(_TOO_MANY, steps + power * body[1])
        power = min(_TOO_MANY, power * body[0])
    return max(1, paths), steps
