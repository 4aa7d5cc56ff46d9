"""Checks over the fields of a document: arithmetic, agreement, check digits, the order of dates.

A check takes normal forms by field name. It passes, fails with the values compared, or cannot be made because a field is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from gpupool_ocr.fields import checksums

#: Normal forms by field name.
Values = Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckResult:
    """What a check came to; `passed` is None where a field it needs is missing."""

    check: str
    fields: tuple[str, ...]
    passed: bool | None
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """A check: how many fields it is over, whether it compares them with another, and what it does."""

    fewest: int
    needs_equals: bool
    run: Callable[[Sequence[str], str | None, Decimal], tuple[bool, str]]
    most: int = 50

    def expect(self, of: Sequence[str], equals: str | None, tolerance: str) -> None:
        """Raise ValueError where a rule does not fit the check."""
        if not self.fewest <= len(of) <= self.most:
            raise ValueError(f"it is over {len(of)} fields, and needs {self.fewest} to {self.most}")
        if self.needs_equals != (equals is not None):
            raise ValueError("it needs `equals`" if self.needs_equals else "it has no use for `equals`")
        try:
            Decimal(tolerance)
        except InvalidOperation as error:
            raise ValueError(f"the tolerance {tolerance!r} is no number") from error


def run_check(name: str, values: Values, of: Sequence[str], equals: str | None, tolerance: str) -> CheckResult:
    """Return what the check called `name` comes to over the fields `of`."""
    fields = (*of, *([equals] if equals else []))
    missing = [field for field in fields if field not in values]
    if missing:
        return CheckResult(check=name, fields=fields, passed=None, message=f"not checked: {', '.join(missing)} missing")
    passed, message = CHECKS[name].run([values[field] for field in of], values[equals] if equals else None, Decimal(tolerance))
    return CheckResult(check=name, fields=fields, passed=passed, message=message)


def _sum(parts: Sequence[str], whole: str | None, tolerance: Decimal) -> tuple[bool, str]:
    total = sum((Decimal(part) for part in parts), Decimal(0))
    return abs(total - Decimal(whole or 0)) <= tolerance, f"{' + '.join(parts)} = {total}, against {whole}"


def _product(parts: Sequence[str], whole: str | None, tolerance: Decimal) -> tuple[bool, str]:
    total = Decimal(1)
    for part in parts:
        total *= Decimal(part)
    return abs(total - Decimal(whole or 0)) <= tolerance, f"{' x '.join(parts)} = {total:.4f}, against {whole}"


def _same(parts: Sequence[str], other: str | None, _: Decimal) -> tuple[bool, str]:
    return all(part == other for part in parts), f"{', '.join(parts)} against {other}"


def _ascending(parts: Sequence[str], _: str | None, __: Decimal) -> tuple[bool, str]:
    return list(parts) == sorted(parts), f"{' <= '.join(parts)}"


def _digits(is_right: Callable[[str], bool], what: str) -> Callable[[Sequence[str], str | None, Decimal], tuple[bool, str]]:
    def run(parts: Sequence[str], _: str | None, __: Decimal) -> tuple[bool, str]:
        wrong = [part for part in parts if not is_right(part)]
        return not wrong, f"{', '.join(wrong)}: no {what}" if wrong else f"{', '.join(parts)}: check digits fit"

    return run


CHECKS: dict[str, Check] = {
    "sum": Check(fewest=1, needs_equals=True, run=_sum),
    "product": Check(fewest=2, needs_equals=True, run=_product),
    "same": Check(fewest=1, needs_equals=True, run=_same),
    "ascending": Check(fewest=2, needs_equals=False, run=_ascending),
    "credit_code": Check(fewest=1, needs_equals=False, run=_digits(checksums.is_credit_code, "unified social credit code")),
    "citizen_number": Check(fewest=1, needs_equals=False, run=_digits(checksums.is_citizen_number, "citizen number")),
    "luhn": Check(fewest=1, needs_equals=False, run=_digits(checksums.is_luhn, "card number")),
}
