"""Normal forms."""

from __future__ import annotations

import pytest

from gpupool_ocr.fields.kinds import KINDS, normal_address, normal_amount, normal_date, normal_rate, normal_time


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2026年10月14日", "2026-10-14"),
        ("25/12/2018 8:13:39 PM", "2018-12-25"),
        ("14/03/20185:57:07PM", "2018-03-14"),
        ("18-11-18", "2018-11-18"),
        ("05 MAR 2018", "2018-03-05"),
        ("24Mar18", "2018-03-24"),
        ("March 5, 2018", "2018-03-05"),
        ("5/3/99", "1999-03-05"),
        ("20260214", "2026-02-14"),
        ("31/02/2018", None),
        ("12/34/56", None),
        ("4 - 6/30", None),
        ("", None),
    ],
)
def test_dates_become_iso_or_nothing(text: str, iso: str | None) -> None:
    assert normal_date(text) == iso


def test_the_order_of_day_and_month_is_the_rules_choice() -> None:
    assert (normal_date("03/04/2026", "dmy"), normal_date("03/04/2026", "mdy")) == ("2026-04-03", "2026-03-04")


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("RM 1,234.50", "1234.50"),
        ("￥7880.00", "7880.00"),
        ("12,50", "12.50"),
        ("1.234,56", "1234.56"),
        ("-0.01", "-0.01"),
        ("(5.00)", "-5.00"),
        ("328.5", "328.50"),
        ("1,234,567.89", "1234567.89"),
        ("RM", None),
        ("1.2.3", None),
    ],
)
def test_amounts_become_plain_digits_or_nothing(text: str, amount: str | None) -> None:
    assert normal_amount(text) == amount


def test_times_and_rates() -> None:
    assert (normal_time("6:05 pm"), normal_time("12:10AM"), normal_time("25:00")) == ("18:05", "00:10", None)
    assert (normal_rate("税率 13%"), normal_rate("免税")) == ("0.13", None)


def test_every_kind_has_a_pattern_that_loads_and_no_kind_raises() -> None:
    from gpupool_ocr.fields.patterns import compiled

    for kind in KINDS.values():
        compiled(kind.pattern)
        for text in ("", " ", "x", "99999999999999999999/99/99", "١٢٣", "元" * 200, "-" * 50):
            kind.normalise(text, "dmy")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("12 MAIN ROAD. RIVERTON. 4021", "12 MAIN ROAD, RIVERTON, 4021"),
        ("Unit 7. Jln. Mawar 3. 81100", "Unit 7, Jln. Mawar 3, 81100"),
        ("NO. 5, St. James Street", "NO. 5, St. James Street"),
        ("Lot 3.14, Hill Road.", "Lot 3.14, Hill Road"),
        (" . ", None),
    ],
)
def test_a_full_stop_between_the_parts_of_an_address_is_a_comma(text: str, address: str | None) -> None:
    assert normal_address(text) == address
