"""Document types as data: the form of a rule file, and what is checked when one is loaded.

A file is one YAML mapping. Unknown keys, kinds, checks and fields, types that extend each other in a circle, aliases and patterns
that are none or could take too long are refused with the file and the place in it. docs/ocr-fields.md says what each key means.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from gpupool_ocr.fields.checks import CHECKS
from gpupool_ocr.fields.kinds import KINDS
from gpupool_ocr.fields.patterns import BadPattern, compiled
from gpupool_wire.errors import UsageError

#: The largest of ours has 5 KiB.
MAX_FILE_BYTES = 256 * 1024
MAX_FIELDS = 200
#: `a extends b extends c ...`: nobody reads further.
MAX_GENERATIONS = 8

Look = Literal["same", "right", "below"]


class BadRules(UsageError):
    """A rule file cannot be used."""

    code = "bad_rules"


class Mark(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A sign that a page is of a type."""

    pattern: str
    #: Added to the page's score where the pattern occurs; may be negative.
    weight: float = 1.0


class Finder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way to find a value: by its label, by its form, or as a block of rows."""

    #: What stands before the value; without one, every line is looked at.
    label: str | None = None
    #: The value: its group 1 where it has one. The kind's own where none is given.
    pattern: str | None = None
    #: Where from its label a value may stand, in this order.
    look: tuple[Look, ...] = ("same", "right", "below")
    #: Only labels (without one: lines) with their middle in this part of the page.
    region: tuple[float, float, float, float] | None = None
    #: Which of the values that stand beside one label: two sums share the label of their row.
    nth: int = 1
    #: Which of several: of labels and lines in reading order, or by amount.
    pick: Literal["first", "last", "largest"] = "first"
    #: Values (and rows of a block) with this in them are passed over.
    avoid: str | None = None
    #: Whole rows in place of lines: 1, the pattern is looked for in rows; more, the value is the block of so many rows at most
    #: that begins with the first that matches `pattern`.
    rows: int = 0
    #: What is taken out of the value.
    drop: str | None = None
    #: A block ends before a row with this in it.
    until: str | None = None
    #: What stands between the rows of a block.
    join: str = " "
    #: How far a value found this way is trusted, 0 to 1.
    trust: float = 1.0


class FieldRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A field of a type: its kind, and the ways to find it in the order they are tried."""

    find: list[Finder]
    kind: str = "text"
    title: str = ""
    required: bool = False
    order: Literal["dmy", "mdy"] = "dmy"


class CheckRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A check over fields by name, see checks.py."""

    check: str
    of: list[str]
    equals: str | None = None
    tolerance: str = "0.01"


class TypeRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A document type."""

    name: str
    title: str = ""
    #: Another type whose fields, checks, marks and identity are taken over where this one gives none.
    extends: str | None = None
    #: Only there to be extended.
    abstract: bool = False
    marks: list[Mark] = []
    #: A page is of the type only with at least this score.
    threshold: float = 1.0
    fields: dict[str, FieldRule] = {}
    checks: list[CheckRule] = []
    #: Fields that together are one document's alone, for finding duplicates.
    identity: list[str] = []


def parse(text: str, source: str) -> TypeRules:
    """Return the rules in a YAML text; raise BadRules, naming `source`, where it is none."""
    import yaml

    if len(text.encode()) > MAX_FILE_BYTES:
        raise BadRules(f"{source} has {len(text.encode())} bytes: the limit for a rule file is {MAX_FILE_BYTES}")
    try:
        # An alias can stand for a thing that holds it, or unfold without end.
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise BadRules(f"{source} uses a YAML alias (*name): write the thing out")
        return msgspec.convert(yaml.safe_load(text), TypeRules)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        if isinstance(error, BadRules):
            raise
        raise BadRules(f"{source} is no rule file: {' '.join(str(error).split())}") from error


def resolve(found: Mapping[str, TypeRules]) -> dict[str, TypeRules]:
    """Return the types with what they extend taken over, checked; abstract ones left out. Raises BadRules."""
    types = {name: _with_parents(name, found) for name in found}
    for rules in types.values():
        _check(rules)
    return {name: rules for name, rules in types.items() if not rules.abstract}


def _with_parents(name: str, found: Mapping[str, TypeRules]) -> TypeRules:
    line = [name]
    while parent := found[line[-1]].extends:
        if parent not in found:
            raise BadRules(f"type {line[-1]} extends {parent}, which there is not; there are: {', '.join(sorted(found))}")
        if parent in line or len(line) >= MAX_GENERATIONS:
            raise BadRules(f"types extend each other in a circle or too deep: {' > '.join([*line, parent])}")
        line.append(parent)
    rules = found[line[-1]]
    for heir in reversed(line[:-1]):
        own = found[heir]
        rules = msgspec.structs.replace(
            own,
            fields={**rules.fields, **own.fields},
            checks=[*rules.checks, *own.checks],
            marks=[*rules.marks, *own.marks],
            identity=own.identity or rules.identity,
        )
    return rules


def _check(rules: TypeRules) -> None:
    """Raise BadRules where a type names what there is not, or holds a pattern that cannot be used."""
    if len(rules.fields) > MAX_FIELDS:
        raise BadRules(f"type {rules.name} has {len(rules.fields)} fields: the limit is {MAX_FIELDS}")
    if not rules.abstract and not rules.marks:
        raise BadRules(f"type {rules.name} has no marks: nothing would ever be recognised as one")
    for name, pattern in _patterns_of(rules):
        try:
            compiled(pattern)
        except BadPattern as error:
            raise BadRules(f"type {rules.name}, {name}: {error}") from error
    for name, field in rules.fields.items():
        if field.kind not in KINDS:
            raise BadRules(f"type {rules.name}, field {name}: there is no kind {field.kind!r}; there are: {', '.join(KINDS)}")
    for check in rules.checks:
        _check_check(rules, check)
    for name in rules.identity:
        _known(rules, name, "identity")


def _patterns_of(rules: TypeRules) -> list[tuple[str, str]]:
    found = [("marks", mark.pattern) for mark in rules.marks]
    for name, field in rules.fields.items():
        for finder in field.find:
            patterns = (finder.label, finder.pattern, finder.avoid, finder.drop, finder.until)
            found += [(f"field {name}", pattern) for pattern in patterns if pattern is not None]
    return found


def _check_check(rules: TypeRules, check: CheckRule) -> None:
    if check.check not in CHECKS:
        raise BadRules(f"type {rules.name}: there is no check {check.check!r}; there are: {', '.join(CHECKS)}")
    for name in [*check.of, *([check.equals] if check.equals else [])]:
        _known(rules, name, f"check {check.check}")
    try:
        CHECKS[check.check].expect(check.of, check.equals, check.tolerance)
    except ValueError as error:
        raise BadRules(f"type {rules.name}, check {check.check}: {error}") from error


def _known(rules: TypeRules, name: str, where: str) -> None:
    if name not in rules.fields:
        raise BadRules(f"type {rules.name}, {where}: there is no field {name!r}; there are: {', '.join(sorted(rules.fields))}")


def as_types(value: Mapping[str, Any]) -> TypeRules:
    """Return rules given as plain values, for programs that make them."""
    return msgspec.convert(value, TypeRules)
