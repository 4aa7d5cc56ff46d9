"""Capital numerals: written as the rules have it, read as people write them."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpupool_ocr.fields.chinese import MAX_AMOUNT, read_amount, write_amount


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "零元整"),
        ("0.05", "伍分"),
        ("10", "壹拾元整"),
        ("1409.50", "壹仟肆佰零玖元伍角整"),
        ("6007.14", "陆仟零柒元壹角肆分"),
        ("1680.32", "壹仟陆佰捌拾元叁角贰分"),
        ("107000.53", "壹拾万零柒仟元伍角叁分"),
        ("16409.02", "壹万陆仟肆佰零玖元零贰分"),
        ("325.04", "叁佰贰拾伍元零肆分"),
        ("100000001", "壹亿零壹元整"),
    ],
)
def test_amounts_are_written_as_the_payment_rules_have_them(amount: str, text: str) -> None:
    assert write_amount(Decimal(amount)) == text
    assert read_amount(text) == Decimal(amount)


@given(st.decimals(min_value=0, max_value=MAX_AMOUNT, places=2))
def test_what_is_written_is_read_again(amount: Decimal) -> None:
    assert read_amount(write_amount(amount)) == amount


@pytest.mark.parametrize(
    ("text", "amount"),
    [("人民币壹仟玖佰零壹圆正", "1901"), ("⊗叁佰元整", None), ("贰拾叁", "23"), ("拾元整", "10"), ("一千二百元", "1200")],
)
def test_other_hands_are_read_too(text: str, amount: str | None) -> None:
    assert read_amount(text) == (None if amount is None else Decimal(amount))


@pytest.mark.parametrize("text", ["", "元整", "拾仟元整", "壹贰元整", "伍角元", "合计", "万元"])
def test_what_is_no_amount_is_none(text: str) -> None:
    assert read_amount(text) is None


def test_what_is_too_large_is_not_written() -> None:
    with pytest.raises(ValueError, match="between 0 and"):
        write_amount(MAX_AMOUNT + 1)
