"""What changes from one snapshot to another, one line a change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from gpupool_ocr.plans.spec import Snapshot


@dataclass(frozen=True, slots=True)
class Change:
    """One value that differs. `before` or `after` is None where it was not there."""

    where: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        if self.before is None:
            return f"+ {self.where}: {self.after}"
        if self.after is None:
            return f"- {self.where}: {self.before}"
        return f"~ {self.where}: {self.before} -> {self.after}"


def diff(before: Snapshot | None, after: Snapshot) -> list[Change]:
    """Return what `after` changes, in its order, removals of a part behind its other changes."""
    old = dict(_leaves("", _plain(before))) if before else {}
    new = dict(_leaves("", _plain(after)))
    changes = [Change(where, old.get(where), value) for where, value in new.items() if old.get(where) != value]
    return changes + [Change(where, value, None) for where, value in old.items() if where not in new]


def _plain(snapshot: Snapshot) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(snapshot)
    # Algorithms are a map in truth: one that moves in the list is no change.
    plain["algorithms"] = {f"{entry['bid']}/{entry['tid']}": entry for entry in plain["algorithms"]}
    for plan in plain["plans"].values():
        above: list[str] = []
        for name, step in plan["steps"].items():
            if step["after"] is None:  # said in full, so that a step that moves is a change
                step["after"] = above
            above = [name]
    return plain


def _leaves(where: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(f"{where}.{key}" if where else str(key), inner)
    else:
        yield where, msgspec.json.encode(value).decode()
