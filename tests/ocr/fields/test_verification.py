"""Verifiers: asked when named, and no page is lost to one."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from gpupool_ocr.fields.checks import CheckResult
from gpupool_ocr.fields.document import Document
from gpupool_ocr.fields.verification import load_verifiers, verified
from gpupool_wire.errors import UsageError

DOCUMENT = Document(type="x", title="X", confidence=1, fields={})


def test_what_a_verifier_says_is_a_check_under_its_name() -> None:
    def register(document: Document) -> Iterable[CheckResult]:
        yield CheckResult(check="known", fields=("number",), passed=False, message="never issued")

    (check,) = verified(DOCUMENT, {"tax office": register}).checks
    assert (check.check, check.passed, check.message) == ("tax office: known", False, "never issued")


def test_one_that_raises_or_answers_nonsense_leaves_its_check_open() -> None:
    def down(document: Document) -> Iterable[CheckResult]:
        raise ConnectionError("no route")

    document = verified(DOCUMENT, {"down": down, "odd": lambda document: ["fine"]})  # type: ignore[list-item]
    assert [check.passed for check in document.checks] == [None, None]
    assert "no route" in document.checks[0].message
    assert "gave a str" in document.checks[1].message


def test_one_that_is_not_installed_is_named() -> None:
    with pytest.raises(UsageError, match=r"no verifier 'tax'.*installed are: none"):
        load_verifiers(["tax"])
