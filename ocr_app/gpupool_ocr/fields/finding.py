"""One finder at work: candidates for a field's value, in the order in which they are believed.

label "发票号码" ──same line, right of it, below it──┐
no label: every line of the region ─────────────────┼──pattern──> parts of lines ──kind──> the first with a normal form
rows: from the first that fits to one that ends it ─┘
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import islice

from gpupool_ocr.fields.document import Field
from gpupool_ocr.fields.geometry import MAX_LINE_CHARS, Polygon, Sheet, TextLine, around
from gpupool_ocr.fields.kinds import KINDS, Kind
from gpupool_ocr.fields.patterns import compiled
from gpupool_ocr.fields.rules import FieldRule, Finder

#: What stands between a label and its value.
_SEPARATORS = re.compile(r"[\s:：;.#=*|_-]{0,10}")
#: A pattern that nothing matches.
_NEVER = r"(?!)"
#: Of what stands right of a label or below it so many lines are looked at.
NEIGHBOURS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A text that may be the value, where it stands, and the worst score of its lines."""

    text: str
    polygon: Polygon
    score: float


def find_field(name: str, rule: FieldRule, sheet: Sheet) -> Field | None:
    """Return the field by the first of its finders that finds a value of its kind, or None."""
    kind = KINDS[rule.kind]
    for finder in rule.find:
        found = _best(finder, kind, rule, sheet)
        if found:
            candidate, normalised = found
            return Field(
                name=name,
                kind=rule.kind,
                value=candidate.text.strip(),
                normalised=normalised,
                polygon=candidate.polygon,
                confidence=candidate.score * finder.trust,
            )
    return None


def _best(finder: Finder, kind: Kind, rule: FieldRule, sheet: Sheet) -> tuple[Candidate, str] | None:
    valued = (
        (candidate, normalised)
        for candidate in candidates(finder, kind, sheet)
        if (normalised := kind.normalise(candidate.text, rule.order)) is not None
    )
    if finder.pick == "first":
        return next(valued, None)
    found = list(valued)
    if not found:
        return None
    return found[-1] if finder.pick == "last" else max(found, key=lambda pair: _size(pair[1]))


def _size(normalised: str) -> Decimal:
    return Decimal(normalised) if re.fullmatch(r"-?\d{1,20}(?:\.\d{1,10})?", normalised) else Decimal(0)


def candidates(finder: Finder, kind: Kind, sheet: Sheet) -> Iterator[Candidate]:
    """Yield what may be the value, in order; what `avoid` matches is left out."""
    if finder.rows > 1:
        found = _block(finder, sheet)
    elif finder.label is not None:
        found = _labelled(finder, finder.label, kind, sheet)
    else:
        found = _anywhere(finder, kind, sheet)
    for candidate in found:
        if finder.rows <= 1 and finder.avoid and compiled(finder.avoid).search(candidate.text):
            continue
        yield replace(candidate, text=compiled(finder.drop).sub("", candidate.text)) if finder.drop else candidate


def _anywhere(finder: Finder, kind: Kind, sheet: Sheet) -> Iterator[Candidate]:
    for line in rows(sheet) if finder.rows else sheet.lines:
        if sheet.inside(line, finder.region):
            yield from _matches(finder, kind, line, 0)


def _labelled(finder: Finder, label: str, kind: Kind, sheet: Sheet) -> Iterator[Candidate]:
    """Yield the `nth` value beside each line that holds the label; one line yields one value at most."""
    for line in sheet.lines:
        if not sheet.inside(line, finder.region):
            continue
        ends = [match.end() for match in compiled(label).finditer(line.text)]
        if ends:
            yield from islice(_beside(finder, kind, sheet, line, ends), max(0, finder.nth - 1), max(1, finder.nth))


def _beside(finder: Finder, kind: Kind, sheet: Sheet, line: TextLine, ends: Sequence[int]) -> Iterator[Candidate]:
    """Yield the values behind each place where a label ends in its line, then those of neighbouring lines."""
    for where in finder.look:
        if where == "same":
            # A value behind its label begins there: what comes later belongs to another label.
            for end in ends:
                yield from _matches(finder, kind, line, _end_of_separators(line.text, end), anchored=True)
            continue
        neighbours = sheet.right_of(line) if where == "right" else sheet.below(line)
        for neighbour in neighbours[:NEIGHBOURS]:
            yield from _matches(finder, kind, neighbour, 0)


def _end_of_separators(text: str, start: int) -> int:
    match = _SEPARATORS.match(text, start)
    return match.end() if match else start


def _matches(finder: Finder, kind: Kind, line: TextLine, start: int, *, anchored: bool = False) -> Iterator[Candidate]:
    """Yield the parts of a line, from `start` on, that the pattern matches."""
    pattern = compiled(finder.pattern or kind.pattern)
    found = [pattern.match(line.text, start)] if anchored else pattern.finditer(line.text, start)
    for match in found:
        if match is None:
            continue
        group = 1 if pattern.groups and match[1] is not None else 0
        if match[group].strip():
            yield Candidate(text=match[group], polygon=line.part(*match.span(group)), score=line.score)


def rows(sheet: Sheet) -> list[TextLine]:
    """Return the lines with those on one row put together from left to right."""
    done: set[int] = set()
    found: list[TextLine] = []
    for line in sheet.lines:
        if id(line) in done:
            continue
        members = sorted(
            [line, *(other for other in sheet.right_of(line) if id(other) not in done)], key=lambda member: member.left
        )
        done.update(map(id, members))
        found.append(_joined(members))
    return found


def _joined(lines: Sequence[TextLine]) -> TextLine:
    if len(lines) == 1:
        return lines[0]
    text = " ".join(line.text for line in lines)[:MAX_LINE_CHARS]
    polygon, upright = around([line.polygon for line in lines]), around([line.upright for line in lines])
    return TextLine(polygon=polygon, text=text, score=min(line.score for line in lines), upright=upright)


def _block(finder: Finder, sheet: Sheet) -> Iterator[Candidate]:
    """Yield one candidate: at most `rows` rows from the first that fits `pattern` to the one before that fits `until`."""
    first, last = compiled(finder.pattern or "."), compiled(finder.until or _NEVER)
    taken: list[TextLine] = []
    for row in rows(sheet):
        if not taken and not (sheet.inside(row, finder.region) and first.search(row.text)):
            continue
        if taken and (last.search(row.text) or len(taken) >= finder.rows):
            break
        if not (finder.avoid and compiled(finder.avoid).search(row.text)):
            taken.append(row)
    if taken:
        yield Candidate(
            text=finder.join.join(row.text for row in taken),
            polygon=around([row.polygon for row in taken]),
            score=min(row.score for row in taken),
        )
