"""Integer units: what is a whole number of MiB passes, everything else is refused with the way out."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpupool_wire.errors import UsageError
from gpupool_wire.units import MEMORY_MAX_MIB, format_memory, parse_compute, parse_memory


@pytest.mark.parametrize(
    ("text", "mib"),
    [
        ("2GiB", 2048),
        ("512MiB", 512),
        ("512 mib", 512),
        ("1.5 GiB", 1536),
        ("2g", 2048),
        ("64m", 64),
        ("2048", 2048),
        (" 1 TiB ", 1024 * 1024),
        (300, 300),
        ("1048576B", 1),
        ("1024KiB", 1),
        ("1.048576 MB", 1),
    ],
)
def test_whole_mib_is_understood(text: int | str, mib: int) -> None:
    assert parse_memory(text) == mib


@pytest.mark.parametrize("text", ["1.5 GB", "1GB", "0.5MiB", "1B", "0.0001GiB"])
def test_a_part_of_a_mib_is_refused_with_the_whole_ones_beside_it(text: str) -> None:
    with pytest.raises(UsageError, match=r"not a whole number of MiB: ask for \d+MiB"):
        parse_memory(text)


def test_the_refusal_names_both_neighbours() -> None:
    with pytest.raises(UsageError, match=r"1430\.511 MiB.*ask for 1430MiB or 1431MiB"):
        parse_memory("1.5 GB")


@pytest.mark.parametrize(
    "text", ["", "GiB", "two", "-1GiB", "1,5GiB", "1e3", "1 PiB", "٣GiB", "nan", "1GiB2", "9" * 40, None, 1.5, True, b"1GiB"]
)
def test_what_is_no_amount_is_refused(text: object) -> None:
    with pytest.raises(UsageError, match="memory"):
        parse_memory(text)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0, -1, MEMORY_MAX_MIB + 1, "0", "0GiB", "999999999TiB"])
def test_amounts_out_of_range_are_refused(value: int | str) -> None:
    with pytest.raises(UsageError, match="memory must be 1 to"):
        parse_memory(value)


@given(st.integers(1, MEMORY_MAX_MIB))
def test_what_is_written_is_read_back(mib: int) -> None:
    assert parse_memory(format_memory(mib)) == mib
    assert parse_memory(f"{mib}MiB") == mib


@given(st.text(max_size=12))
def test_any_text_gives_an_amount_or_a_usage_error(text: str) -> None:
    with contextlib.suppress(UsageError):  # anything else fails the test
        assert 1 <= parse_memory(text) <= MEMORY_MAX_MIB


@pytest.mark.parametrize(("value", "pct"), [(1, 1), (100, 100), ("25", 25), ("25%", 25), (" 7 % ", 7)])
def test_whole_per_cent_is_understood(value: int | str, pct: int) -> None:
    assert parse_compute(value) == pct


@pytest.mark.parametrize("value", [0, 101, -5, "0", "101", "12.5", "", "half", 12.5, None, True])
def test_other_compute_is_refused_with_the_range(value: object) -> None:
    with pytest.raises(UsageError, match="1 to 100"):
        parse_compute(value)  # type: ignore[arg-type]
