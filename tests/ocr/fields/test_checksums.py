"""Check digits, on numbers that others published."""

from __future__ import annotations

import pytest

from gpupool_ocr.fields.checksums import credit_code_digit, is_citizen_number, is_credit_code, is_luhn, luhn_digit


def test_credit_codes_of_public_bodies_fit() -> None:
    # Alibaba (China), Tencent, Huawei, as their public registers have them.
    for code in ("91330100799655058B", "9144030071526726XG", "914403001922038216"):
        assert is_credit_code(code)


def test_one_wrong_or_swapped_character_is_seen() -> None:
    code = "91330100799655058B"
    for place in range(17):
        changed = code[:place] + ("1" if code[place] != "1" else "2") + code[place + 1 :]
        assert not is_credit_code(changed)
    assert not is_credit_code("91330100796955058B")


def test_letters_that_no_code_has_are_refused() -> None:
    assert not is_credit_code("9133010079965505IB")
    with pytest.raises(ValueError, match="17 characters"):
        credit_code_digit("ABC")


def test_citizen_numbers() -> None:
    # The example of GB 11643-1999.
    assert is_citizen_number("11010519491231002X")
    assert is_citizen_number("440524188001010014")
    assert not is_citizen_number("110105194912310021")


def test_card_numbers() -> None:
    # The example of Luhn's patent, US 2,950,048, as ISO/IEC 7812-1 has it.
    assert luhn_digit("7992739871") == "3"
    assert is_luhn("4111111111111111")
    assert not is_luhn("4111111111111112")
    assert not is_luhn("411111111111111１")
