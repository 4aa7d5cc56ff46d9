"""The seam between the engine, which runs calls, and the steps, which know what is in them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gpupool_ocr.steps.work import PageWork


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One call of a model or plug-in."""

    feed: Mapping[str, Any]
    #: Calls of one step with equal keys may travel as one; None for those that may not.
    key: Hashable = None
    #: What the step needs to know again when the answer is there.
    about: Any = None


class Step(Protocol):
    """One step of a plan, bound to a version of its model or plug-in. Keeps nothing of a page: threads share it."""

    def split(self, page: PageWork) -> list[Call]:
        """Return the calls that this step needs for a page: none where there is nothing to do."""

    def call(self, feed: Mapping[str, Any]) -> Any:  # noqa: ANN401 - what a call answers is between split and merge
        """Perform one call."""

    def merge(self, page: PageWork, calls: Sequence[Call], answers: Sequence[Any]) -> None:
        """Put the answers, in the order of the calls, into the page."""

    def join(self, feeds: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Return calls of one key as one."""

    def part(self, answer: Any, feeds: Sequence[Mapping[str, Any]]) -> list[Any]:  # noqa: ANN401 - see call
        """Return the answer of joined calls, one for each."""


class CallsAlone:
    """Calls that have no key, and so are never joined."""

    def join(self, feeds: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Return the one call."""
        (feed,) = feeds
        return feed

    def part(self, answer: Any, feeds: Sequence[Mapping[str, Any]]) -> list[Any]:  # noqa: ANN401 - see Step
        """Return the one answer."""
        return [answer]
