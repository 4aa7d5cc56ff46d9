"""What comes out: a typed document with its fields, where each stands, and what the checks came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gpupool_ocr.fields.checks import CheckResult
from gpupool_ocr.fields.geometry import Polygon


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """A field that was found."""

    name: str
    kind: str
    #: As it stands on the page.
    value: str
    #: In its normal form: dates ISO 8601, amounts plain digits with two places, rates as fractions.
    normalised: str
    #: Where it stands, pixels.
    polygon: Polygon
    #: 0 to 1: the worst score of the lines it was read from, times how far the way it was found is trusted.
    confidence: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """A page understood: its type ("unknown" where no rules fit), fields by name, and checks."""

    type: str
    title: str
    #: 0 to 1: how far ahead of its threshold the type was recognised.
    confidence: float
    fields: dict[str, Field]
    checks: tuple[CheckResult, ...] = ()
    #: Required fields that were not found.
    missing: tuple[str, ...] = ()
    #: What says that two documents are one, see duplicates.py; empty where a part of it is missing.
    identity: str = ""

    @property
    def is_sound(self) -> bool:
        """Whether nothing required is missing and no check failed."""
        return self.type != UNKNOWN and not self.missing and all(check.passed is not False for check in self.checks)

    def normalised(self) -> dict[str, str]:
        """Return the normal forms by field name."""
        return {name: field.normalised for name, field in self.fields.items()}

    def to_json(self) -> dict[str, Any]:
        """Return the document as plain values for JSON."""
        fields = {
            name: {
                "kind": field.kind,
                "value": field.value,
                "normalised": field.normalised,
                "polygon": [[round(x, 1), round(y, 1)] for x, y in field.polygon],
                "confidence": round(field.confidence, 4),
            }
            for name, field in self.fields.items()
        }
        checks = [
            {"check": check.check, "fields": list(check.fields), "passed": check.passed, "message": check.message}
            for check in self.checks
        ]
        return {
            "type": self.type,
            "title": self.title,
            "confidence": round(self.confidence, 4),
            "sound": self.is_sound,
            "fields": fields,
            "checks": checks,
            "missing": list(self.missing),
            "identity": self.identity,
        }


UNKNOWN = "unknown"
