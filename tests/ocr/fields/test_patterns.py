"""Patterns of strangers: bounded before they are run."""

from __future__ import annotations

import time

import pytest

from gpupool_ocr.fields.geometry import MAX_LINE_CHARS
from gpupool_ocr.fields.patterns import MAX_PATTERN_CHARS, BadPattern, compiled


@pytest.mark.parametrize(
    "pattern", ["(a+)+b", "(a|a)*b", "(.*)(.*)(.*)x", r"(\d+\s*)+$", "((a{1,30}){1,30}){1,30}", "(?:a?){60}a{60}"]
)
def test_what_could_take_too_long_is_refused_with_the_way_out(pattern: str) -> None:
    with pytest.raises(BadPattern, match=r"could take too long.*upper bound"):
        compiled(pattern)


@pytest.mark.parametrize("pattern", ["(", "[z-a]", "*a", "(?P<x", "a{99999999999}"])
def test_what_is_no_expression_is_refused(pattern: str) -> None:
    with pytest.raises(BadPattern, match="no regular expression"):
        compiled(pattern)


def test_a_long_one_is_refused() -> None:
    with pytest.raises(BadPattern, match=str(MAX_PATTERN_CHARS)):
        compiled("a" * (MAX_PATTERN_CHARS + 1))


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        (".*a.*b", "a" * MAX_LINE_CHARS),
        (r"\w{1,60}\s\w{1,60}!", "x" * MAX_LINE_CHARS),
        ("(?:ab?){1,8}c", "ab" * 100),
        ("(?=.*x)y", "y" * 200),
    ],
)
def test_what_is_let_through_is_quick_on_the_worst_line(pattern: str, line: str) -> None:
    start = time.perf_counter()
    compiled(pattern).search(line)
    # Milliseconds in truth; a catastrophic pattern would not end this year.
    assert time.perf_counter() - start < 5


def test_case_does_not_matter() -> None:
    assert compiled("total").search("TOTAL")
