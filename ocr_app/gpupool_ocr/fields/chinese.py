"""Amounts in capital Chinese numerals (壹佰贰拾叁元肆角伍分), read and written.

Source: the rules for filling in bills and settlement vouchers (正确填写票据和结算凭证的基本规定), annex to the People's Bank of
China's measures for payment and settlement, 1997: capital numerals, 零 where digits in between are zero, 整 or 正 at the end.
"""

from __future__ import annotations

import re
from decimal import Decimal

DIGITS = "零壹贰叁肆伍陆柒捌玖"
_UNITS = {"拾": 10, "佰": 100, "仟": 1000}
_GROUPS = {"万": 10**4, "亿": 10**8}
#: What people and recognisers write in place of a capital.
_VARIANTS = str.maketrans(
    "〇○一二三四五六七八九十百千弍弎貳參叄叁陸億萬圓圆仨兩两正",
    "零零壹贰叁肆伍陆柒捌玖拾佰仟贰叁贰叁叁叁陆亿万元元叁贰贰整",
)
#: Below ten thousand times a hundred million: one group of each unit at most.
MAX_AMOUNT = Decimal("999999999999.99")
_CLEAR = re.compile(r"[\s:：()（）¥]|人民币")
_REST = re.compile(r"零?(?:(?P<jiao>[壹贰叁肆伍陆柒捌玖零])角)?零?(?:(?P<fen>[壹贰叁肆伍陆柒捌玖零])分)?$")


def read_amount(text: str) -> Decimal | None:
    """Return the amount in yuan that capital numerals say, or None where the text is no such amount."""
    text = _CLEAR.sub("", text).translate(_VARIANTS).removesuffix("整")
    head, yuan, rest = text.partition("元")
    if not yuan and head.endswith(("角", "分")):
        head, rest = "", head
    if not (head or rest):
        return None
    whole, cents = _read_whole(head) if head else 0, _read_cents(rest)
    if whole is None or cents is None:
        return None
    return Decimal(whole) + Decimal(cents) / 100


def _read_whole(text: str) -> int | None:
    """Return the number that 仟佰拾 groups under 亿 and 万 say; None where the order of units is wrong."""
    total = 0
    for unit in ("亿", "万"):
        head, found, tail = text.partition(unit)
        if found:
            group = _read_group(head)
            if not group:
                return None
            total += group * _GROUPS[unit]
            text = tail
    rest = _read_group(text) if text else 0
    return None if rest is None else total + rest


def _read_group(text: str) -> int | None:
    """Return the number below ten thousand that a group says."""
    total, digit, last = 0, None, 10_000
    for char in text:
        if char in _UNITS:
            unit = _UNITS[char]
            if unit >= last:
                return None
            # 拾 alone is ten.
            total, last, digit = total + (1 if digit is None else digit) * unit, unit, None
        elif char == "零":
            digit = None
        elif char in DIGITS and digit is None:
            digit = DIGITS.index(char)
        else:
            return None
    return total + (digit or 0)


def _read_cents(text: str) -> int | None:
    found = _REST.match(text)
    if not found:
        return None
    jiao, fen = (DIGITS.index(found[name]) if found[name] else 0 for name in ("jiao", "fen"))
    return 10 * jiao + fen


def write_amount(amount: Decimal) -> str:
    """Return an amount in yuan (0 to MAX_AMOUNT, two decimals) in capital numerals, as it is written on invoices."""
    if not 0 <= amount <= MAX_AMOUNT:
        raise ValueError(f"{amount} cannot be written: it is not between 0 and {MAX_AMOUNT}")
    cents = int((amount * 100).to_integral_value())
    whole, jiao, fen = cents // 100, cents // 10 % 10, cents % 10
    text = f"{_write_whole(whole)}元" if whole or not cents else ""
    if jiao:
        text += f"{DIGITS[jiao]}角"
    elif fen and whole:
        text += "零"
    return text + (f"{DIGITS[fen]}分" if fen else "整")


def _write_whole(number: int) -> str:
    if number == 0:
        return "零"
    text, ends_in_zero = "", False
    for unit, value in (("亿", 10**8), ("万", 10**4), ("", 1)):
        group, number = divmod(number, value)
        if group == 0:
            ends_in_zero = True
            continue
        # A group that does not fill its four places, or comes after a zero, is set off by one.
        text += ("零" if text and (group < 1000 or ends_in_zero) else "") + _write_group(group) + unit
        ends_in_zero = group % 10 == 0
    return text


def _write_group(number: int) -> str:
    text, gap = "", False
    for unit, value in (("仟", 1000), ("佰", 100), ("拾", 10), ("", 1)):
        digit, number = divmod(number, value)
        if digit:
            text += ("零" if gap and text else "") + DIGITS[digit] + unit
            gap = False
        else:
            gap = True
    return text
