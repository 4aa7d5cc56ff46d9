"""Verifiers: code of one's own that asks a register (of a tax office, a bank, a ledger) whether a document is right.

A verifier is an entry point of the group `gpupool_ocr.verifiers`: a callable that takes a Document and returns CheckResults. It
runs in this process, when it is named. What it raises becomes a check that could not be made: a register that is away fails no
document.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from importlib.metadata import entry_points

from gpupool_ocr.fields.checks import CheckResult
from gpupool_ocr.fields.document import Document
from gpupool_wire.errors import UsageError

GROUP = "gpupool_ocr.verifiers"
Verifier = Callable[[Document], Iterable[CheckResult]]


def load_verifiers(names: Sequence[str]) -> dict[str, Verifier]:
    """Return the verifiers called so. Raises UsageError for one that is not installed."""
    installed = {entry.name: entry for entry in entry_points(group=GROUP)}
    for name in names:
        if name not in installed:
            raise UsageError(f"there is no verifier {name!r}; installed are: {', '.join(sorted(installed)) or 'none'}")
    return {name: installed[name].load() for name in names}


def verified(document: Document, verifiers: dict[str, Verifier]) -> Document:
    """Return the document with what the verifiers say added to its checks."""
    more: list[CheckResult] = []
    for name, verifier in verifiers.items():
        try:
            more += [_of(result, name) for result in verifier(document)]
        except Exception as error:  # noqa: BLE001 - code of strangers may raise anything, and a page is read nevertheless
            more.append(CheckResult(check=name, fields=(), passed=None, message=f"not checked: {type(error).__name__}: {error}"))
    return replace(document, checks=(*document.checks, *more))


def _of(result: object, name: str) -> CheckResult:
    if not isinstance(result, CheckResult):
        raise TypeError(f"the verifier gave a {type(result).__name__}, not a CheckResult")
    return replace(result, check=f"{name}: {result.check}")
