"""The kinds of step a plan may use: what each reads of a page, what it adds, and which model it runs.

image ─detect─> boxes ─recognize─> readings ─orient─> turned ─reread─> readings ─order─> lines ─plugin─> fields
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """One kind of step."""

    needs: frozenset[str]
    gives: frozenset[str]
    #: The role of the model it runs; None where it runs none.
    role: str | None = None
    runs_plugin: bool = False


def _kind(needs: str, gives: str, role: str | None = None, *, runs_plugin: bool = False) -> Kind:
    return Kind(needs=frozenset(needs.split()), gives=frozenset(gives.split()), role=role, runs_plugin=runs_plugin)


#: What every page brings along.
GIVEN: Final = frozenset({"image"})
KINDS: Final[dict[str, Kind]] = {
    "detect": _kind("image", "boxes", "detection"),
    "recognize": _kind("image boxes", "readings", "recognition"),
    "orient": _kind("image boxes readings", "turned", "direction"),
    "reread": _kind("image boxes readings turned", "readings", "recognition"),
    "order": _kind("boxes readings", "lines"),
    "plugin": _kind("lines", "fields", runs_plugin=True),
}
