"""A document that was read, as the keeper of bad cases sees it: which of its pages are bad, and what is kept of them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpupool_ocr.cases.case import Reason, reason_for
from gpupool_ocr.pages import Image
from gpupool_ocr.plans.spec import CasesSpec
from gpupool_wire.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """A document and what became of it."""

    job: str
    tenant: str
    business: str
    trace: str
    name: str
    #: The file as it came.
    content: bytes
    rule: CasesSpec
    #: As they were answered; none where reading failed.
    pages: Sequence[Mapping[str, Any]] = ()
    #: Plan, release and versions.
    made_with: Mapping[str, Any]
    #: {"code", "message"} where reading failed.
    error: Mapping[str, Any] | None = None
    #: What to decode it for a picture would be as deadly as reading it was.
    is_deadly: bool = False

    def reasons(self) -> dict[int, Reason]:
        """Return why pages, by number, are bad cases. A document that failed is one as a whole: page 1 stands for it."""
        if self.error is not None:
            return {1: "failed"}
        found = {page["page"]: self._reason(page) for page in self.pages}
        return {number: reason for number, reason in found.items() if reason is not None}

    def _reason(self, page: Mapping[str, Any]) -> Reason | None:
        if page["problems"]:
            return "failed"
        return reason_for([line["score"] for line in page["lines"]], self.rule.below, self.rule.share)

    def case_id(self, number: int) -> str:
        """Return what a page's case is called: a document that is read again by another worker is no second case."""
        return f"{self.job}-{number}"

    def check_size(self, number: int, image: Image | None) -> None:
        """Refuse a picture (H, W, 3) of another size than the page that was read: what is taken out would lie elsewhere on it.

        Raises UsageError.
        """
        page = self._page(number)
        if page is not None and (image is None or image.shape[:2] != (page["height"], page["width"])):
            there = "no picture" if image is None else f"{image.shape[1]}x{image.shape[0]} pixels"
            raise UsageError(
                f"page {number} was read with {page['width']}x{page['height']} pixels; this document has {there} there"
            )

    def _page(self, number: int) -> Mapping[str, Any] | None:
        return next((page for page in self.pages if page["page"] == number), None)

    def result(self, number: int) -> dict[str, Any]:
        """Return what is kept of a page, as CaseStore.add takes it."""
        page = self._page(number)
        if page is None:
            return {"page": number, "error": dict(self.error or {}), **self.made_with}
        found = page["fields"]
        fields = {"type": "unknown", **found} if isinstance(found.get("fields"), Mapping) else {"found": found, "fields": {}}
        return {
            **fields,
            **{key: page[key] for key in ("page", "width", "height", "lines", "problems")},
            **self.made_with,
        }
