"""A bad case, and why a page becomes one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Reason = Literal["low_confidence", "corrected", "failed"]
Status = Literal["open", "labelled"]
REASONS: tuple[Reason, ...] = ("low_confidence", "corrected", "failed")
STATUSES: tuple[Status, ...] = ("open", "labelled")

#: A line read with less than this is in doubt.
DOUBTFUL_SCORE = 0.8
#: A page with this share of lines in doubt is a bad case; a single doubtful line of many is dirt, most often.
DOUBTFUL_SHARE = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A page that is kept."""

    id: str
    #: Whose page it is.
    business: str
    reason: Reason
    status: Status
    #: Seconds since 1970, of the caller's clock.
    added_at: float
    #: Bytes of the picture; 0 where none is kept.
    size_bytes: int
    #: What was read, as `gpupool ocr --json` has it, and `fields` where the page was understood; redacted.
    result: Mapping[str, Any]
    #: What is right, in the form of synthesis/dataset.py; None until somebody says.
    labels: Mapping[str, Any] | None
    #: Who sent it: the only one who sees it over HTTP.
    tenant: str = "default"
    #: The sender's trace id, by which it can be corrected.
    trace: str = ""

    @property
    def job(self) -> str:
        """The job whose page it is; empty where no service kept it."""
        return self.id.rpartition("-")[0]

    def to_json(self) -> dict[str, Any]:
        """Return the case as plain values for JSON."""
        return {
            "id": self.id,
            "business": self.business,
            "reason": self.reason,
            "status": self.status,
            "added_at": self.added_at,
            "size_bytes": self.size_bytes,
            "result": dict(self.result),
            "labels": None if self.labels is None else dict(self.labels),
            "tenant": self.tenant,
            "trace": self.trace,
        }


def reason_for(scores: Sequence[float], below: float = DOUBTFUL_SCORE, share: float = DOUBTFUL_SHARE) -> Reason | None:
    """Return why a page with lines of these scores is a bad case, or None. A page with no line at all is none: many are empty.

    It is one where at least a `share` of its lines, and one, were read with less than `below`.
    """
    doubtful = sum(score < below for score in scores)
    return "low_confidence" if doubtful and doubtful >= share * len(scores) else None
