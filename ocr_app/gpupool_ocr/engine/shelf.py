"""What is open, under a key each, for as long as somebody holds it: releases share what they have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Part:
    """A model, a plug-in, a slice: something open, how it is closed, and the releases that hold it."""

    thing: Any
    close: Callable[[], None]
    holders: set[int] = field(default_factory=set)


class Shelf:
    """Holds parts. Whoever uses it locks it."""

    def __init__(self) -> None:
        self._parts: dict[str, Part] = {}

    def __repr__(self) -> str:
        return f"<Shelf: {len(self._parts)} parts>"

    @property
    def holders(self) -> dict[str, list[int]]:
        """Who holds what, by key."""
        return {key: sorted(part.holders) for key, part in list(self._parts.items())}

    @property
    def things(self) -> dict[str, Any]:
        """What is open, by key."""
        return {key: part.thing for key, part in list(self._parts.items())}

    def hold(self, holder: int, key: str, opens: Callable[[], Part]) -> Any:  # noqa: ANN401 - parts are of many kinds
        """Return what is open under a key, opening it where nothing is."""
        if key not in self._parts:
            self._parts[key] = opens()
        self._parts[key].holders.add(holder)
        return self._parts[key].thing

    def let_go(self, holder: int) -> None:
        """Close what nobody but this holder had; what came last first, since it stands on what came before."""
        for key, part in reversed(list(self._parts.items())):
            part.holders.discard(holder)
            if not part.holders:
                del self._parts[key]
                part.close()

    def clear(self) -> None:
        """Close everything."""
        for part in self._parts.values():
            part.holders.clear()
        self.let_go(0)
