"""Check digits: of Chinese organisations, of citizens, of bank cards.

Sources: GB 32100-2015 (unified social credit code, its weights and alphabet), GB 11643-1999 (citizen identification number,
ISO 7064 MOD 11-2), ISO/IEC 7812-1 annex B (Luhn). Older taxpayer numbers of 15 digits carry none that is public.
"""

from __future__ import annotations

#: GB 32100-2015, table 2: digits and capitals without I, O, S, V, Z.
CREDIT_CODE_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_CREDIT_CODE_WEIGHTS = [pow(3, place, 31) for place in range(17)]
_CITIZEN_WEIGHTS = [pow(2, 17 - place, 11) for place in range(17)]
_CITIZEN_DIGITS = "10X98765432"


def credit_code_digit(body: str) -> str:
    """Return the check character of the first 17 characters of a unified social credit code. Raises ValueError for others."""
    if len(body) != 17 or any(char not in CREDIT_CODE_ALPHABET for char in body):
        raise ValueError(f"{body!r} is not 17 characters of {CREDIT_CODE_ALPHABET}")
    total = sum(CREDIT_CODE_ALPHABET.index(char) * weight for char, weight in zip(body, _CREDIT_CODE_WEIGHTS, strict=True))
    return CREDIT_CODE_ALPHABET[(31 - total % 31) % 31]


def is_credit_code(text: str) -> bool:
    """Whether text is a unified social credit code with the right check character."""
    try:
        return len(text) == 18 and credit_code_digit(text[:17]) == text[17]
    except ValueError:
        return False


def is_citizen_number(text: str) -> bool:
    """Whether text is a citizen identification number of 18 characters with the right check character."""
    if len(text) != 18 or not (text[:17].isascii() and text[:17].isdigit()):
        return False
    total = sum(int(char) * weight for char, weight in zip(text[:17], _CITIZEN_WEIGHTS, strict=True))
    return _CITIZEN_DIGITS[total % 11] == text[17].upper()


def luhn_digit(body: str) -> str:
    """Return the check digit that makes a number of digits pass Luhn's test."""
    total = 0
    for place, char in enumerate(reversed(body)):
        digit = int(char) * (2 if place % 2 == 0 else 1)
        total += digit - 9 if digit > 9 else digit
    return str(-total % 10)


def is_luhn(text: str) -> bool:
    """Whether text is a card number (12 to 19 digits) with the right check digit."""
    return 12 <= len(text) <= 19 and text.isascii() and text.isdigit() and luhn_digit(text[:-1]) == text[-1]
