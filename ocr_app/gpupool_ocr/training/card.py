"""What is kept beside a tuned model: where it comes from, what it was trained on, and what it gained."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gpupool_ocr.evaluation.comparison import Comparison, Interval, compare
from gpupool_ocr.evaluation.scores import Counts, PageScore, similarity
from gpupool_ocr.training.fitting import Settings, read_line
from gpupool_ocr.training.graph import Head
from gpupool_ocr.training.lines import TrainingLine
from gpupool_wire.errors import UsageError

#: The figures that are about lines whose place is known.
_FIGURES = ("exact lines", "1-NED")


@dataclass(frozen=True, kw_only=True, slots=True)
class Gain:
    """A figure before and after, and the difference, with 95 % intervals by bootstrap over pages."""

    lines: int
    pages: int
    figures: Mapping[str, Comparison]

    @property
    def exact(self) -> Comparison:
        """Exact lines."""
        return self.figures["exact lines"]

    def to_json(self) -> dict[str, Any]:
        """Return the gain as plain values for JSON."""
        found: dict[str, Any] = {"lines": self.lines, "pages": self.pages}
        for name, comparison in self.figures.items():
            before, after = comparison.versions
            found[name] = {"before": _plain(before), "after": _plain(after), "difference": _plain(comparison.difference)}
        return found

    def sentence(self) -> str:
        """Return the gain for people."""
        before, after = self.exact.versions
        difference = self.exact.difference
        between = f" ({difference.low:+.3f} to {difference.high:+.3f})" if difference else ""
        return (
            f"exact lines {before.value:.4f} before, {after.value:.4f} after{between}; {self.lines} lines of {self.pages} pages"
        )


def _plain(interval: Interval | None) -> dict[str, float] | None:
    return None if interval is None or math.isnan(interval.value) else asdict(interval)


def gain(before: Head, after: Head, lines: Sequence[TrainingLine]) -> Gain:
    """Return what a head gained over another on lines that neither was trained on."""
    pages = list(dict.fromkeys(line.page for line in lines))
    of_page: dict[str, list[TrainingLine]] = {page: [] for page in pages}
    for line in lines:
        of_page[line.page].append(line)
    found = compare([[_score(head, page, of_page[page]) for page in pages] for head in (before, after)])
    return Gain(lines=len(lines), pages=len(pages), figures={item.figure: item for item in found if item.figure in _FIGURES})


def _score(head: Head, page: str, lines: Sequence[TrainingLine]) -> PageScore:
    texts = [read_line(head, line.features).text for line in lines]
    alike = [similarity(line.text, text) for line, text in zip(lines, texts, strict=True)]
    counts = Counts(labelled_boxes=len(lines), similarity=sum(alike), exact_lines=sum(value == 1.0 for value in alike))
    return PageScore(name=page, counts=counts, texts=tuple(texts))


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """A tuned recogniser and its story."""

    #: The model's name: its file without the ending.
    name: str
    #: ISO 8601, UTC.
    made_at: str
    #: SHA-256 of the model, and of the one it was made of.
    sha256: str
    base_sha256: str
    classes: int
    new_characters: str
    #: Folders and their pages and lines by share.
    data: Mapping[str, Any]
    settings: Settings
    #: On the held-out pages; on lines of other kinds, to see what was forgotten (None: none were given).
    held_out: Gain
    others: Gain | None

    @property
    def is_better(self) -> bool:
        """Whether the interval of the held-out gain is above 0, and that on other lines is not below."""
        gained = self.held_out.exact.difference
        lost = self.others.exact.difference if self.others else None
        return gained is not None and gained.low > 0 and (lost is None or lost.high >= 0)

    def model_spec(self, path: Path) -> dict[str, str]:
        """Return the model as a snapshot of the service names it (docs/ocr-service.md), for a roll-out."""
        return {"role": "recognition", "version": self.name, "source": str(path.absolute()), "sha256": self.sha256}

    def to_json(self) -> dict[str, Any]:
        """Return the card as plain values for JSON."""
        return {
            "name": self.name,
            "kind": "recognition",
            "made_at": self.made_at,
            "sha256": self.sha256,
            "base_sha256": self.base_sha256,
            "classes": self.classes,
            "new_characters": self.new_characters,
            "data": dict(self.data),
            "settings": asdict(self.settings),
            "held_out": self.held_out.to_json(),
            "others": self.others.to_json() if self.others else None,
            "better": self.is_better,
        }


def write(model: bytes, card: Card, path: Path) -> Path:
    """Write a model, and its card beside it as NAME.card.json; return the card's path. Raises UsageError where that fails."""
    beside = path.with_suffix(".card.json")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(model)
        beside.write_text(json.dumps(card.to_json(), ensure_ascii=False, indent=1) + "\n", "utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
    return beside


def fingerprint(model: bytes) -> str:
    """Return the SHA-256 of a model as hexadecimal digits."""
    return hashlib.sha256(model).hexdigest()
