"""Nodes that are being emptied, and how long their slices may still look for another place.

drain ──> cordoned: nothing new is placed there ──each slice──> moved as soon as another node has room
                                                     └─deadline over, no room──> ended
"""

from __future__ import annotations


class Draining:
    """The deadlines of the nodes that are drained. What is drained is in the books; only the clock is kept here."""

    def __init__(self) -> None:
        self._until_ms: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<Draining {sorted(self._until_ms)}>"

    def is_over(self, node: str, deadline_ms: int, now_ms: int) -> bool:
        """Whether a drained node's time is over: it runs from the first look, anew after a restart of the broker."""
        return now_ms >= self._until_ms.setdefault(node, now_ms + deadline_ms)

    def forget(self, node: str) -> None:
        """The node is drained no more, or has another deadline now."""
        self._until_ms.pop(node, None)
