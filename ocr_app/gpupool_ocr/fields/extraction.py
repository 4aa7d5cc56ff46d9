"""Lines to a document: which type the page is of, its fields, its checks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gpupool_ocr.fields.checks import run_check
from gpupool_ocr.fields.document import UNKNOWN, Document
from gpupool_ocr.fields.finding import find_field
from gpupool_ocr.fields.geometry import Sheet, TextLine
from gpupool_ocr.fields.patterns import compiled
from gpupool_ocr.fields.rules import TypeRules

#: A page of more lines is a book's; the first ones are looked at.
MAX_LINES = 2_000


class Extractor:
    """Understands pages by a set of rules. Holds nothing of a page: threads may share it."""

    def __init__(self, types: Mapping[str, TypeRules]) -> None:
        self.types = dict(types)

    def extract(self, lines: Iterable[TextLine], type_name: str | None = None) -> Document:
        """Return what the lines of a page, in reading order, say; of the given type, or of the one they are recognised as."""
        sheet = Sheet(list(lines)[:MAX_LINES])
        name, confidence = (type_name, 1.0) if type_name else self.recognise(sheet)
        if name == UNKNOWN:
            return Document(type=UNKNOWN, title="", confidence=confidence, fields={})
        rules = self.types[name]
        fields = {name: field for name, rule in rules.fields.items() if (field := find_field(name, rule, sheet))}
        values = {name: field.normalised for name, field in fields.items()}
        known = [values[name] for name in rules.identity if name in values]
        return Document(
            type=rules.name,
            title=rules.title,
            confidence=confidence,
            fields=fields,
            checks=tuple(run_check(rule.check, values, rule.of, rule.equals, rule.tolerance) for rule in rules.checks),
            missing=tuple(name for name, rule in rules.fields.items() if rule.required and name not in fields),
            identity="/".join([rules.name, *known]) if known and len(known) == len(rules.identity) else "",
        )

    def recognise(self, sheet: Sheet) -> tuple[str, float]:
        """Return the type with the highest score of those at or above their threshold, and how sure that is (0 to 1)."""
        # Titles are often read in parts: marks are looked for in lines and in the page without its spaces.
        text = "".join("".join(line.text.split()) for line in sheet.lines)
        scores = {name: self._score(rules, sheet, text) for name, rules in self.types.items()}
        fitting = sorted((name for name in scores if scores[name] >= self.types[name].threshold), key=lambda name: -scores[name])
        if not fitting:
            return UNKNOWN, 0.0
        best, others = scores[fitting[0]], [scores[name] for name in fitting[1:]]
        return fitting[0], best / (best + max(others, default=0.0))

    @staticmethod
    def _score(rules: TypeRules, sheet: Sheet, text: str) -> float:
        found = 0.0
        for mark in rules.marks:
            pattern = compiled(mark.pattern)
            if any(pattern.search(line.text) for line in sheet.lines) or pattern.search(text[:_MARKED_CHARS]):
                found += mark.weight
        return found


#: How much of a page's text marks are looked for in across lines: titles stand at the top.
_MARKED_CHARS = 400
