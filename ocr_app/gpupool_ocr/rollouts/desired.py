"""Which snapshots shall be read with. Pure: each step returns the next state or says why there is none."""

from __future__ import annotations

import msgspec

from gpupool_wire.errors import Conflict, UsageError

#: So many active snapshots back one can roll.
MAX_EARLIER = 50


class Desired(msgspec.Struct, frozen=True, kw_only=True):
    """What every instance follows."""

    #: Grows with every change; whoever changes it names the one it saw.
    revision: int = 0
    #: Number of the snapshot everybody gets; 0 before the first.
    active: int = 0
    #: Number of one that is being tried.
    candidate: int | None = None
    #: Its share of the documents.
    percent: int = 0
    #: It reads all of them too, and answers none.
    shadow: bool = False
    #: Active ones before, oldest first.
    earlier: list[int] = []


def applied(state: Desired, number: int, *, percent: int | None = None, shadow: bool = False) -> Desired:
    """Return the state with a new snapshot: active at once, or a candidate with a share or as a shadow. Raises UsageError."""
    if percent is None and not shadow:
        return _activated(state, number)
    if percent is not None and not 0 <= percent <= 100:
        raise UsageError(f"a share of {percent} % cannot be: 0 to 100")
    if not state.active:
        raise UsageError("there is no active snapshot to try a candidate beside: apply it without a share")
    return _next(state, candidate=number, percent=percent or 0, shadow=shadow)


def promoted(state: Desired) -> Desired:
    """Return the state with the candidate active. Raises Conflict where there is none."""
    if state.candidate is None:
        raise Conflict(f"there is no candidate; snapshot {state.active} is active")
    return _activated(state, state.candidate)


def rolled_back(state: Desired, number: int | None = None) -> Desired:
    """Return the state without the candidate; without one, with the active snapshot before, or `number`. Raises Conflict."""
    if number is not None:
        return _activated(state, number)
    if state.candidate is not None:
        return _next(state, candidate=None, percent=0, shadow=False)
    if not state.earlier:
        raise Conflict(f"there is nothing before snapshot {state.active}")
    back = _activated(state, state.earlier[-1])
    return msgspec.structs.replace(back, earlier=state.earlier[:-1])


def _activated(state: Desired, number: int) -> Desired:
    earlier = [*state.earlier, state.active] if state.active and state.active != number else state.earlier
    return _next(state, active=number, candidate=None, percent=0, shadow=False, earlier=earlier[-MAX_EARLIER:])


def _next(state: Desired, **changes: object) -> Desired:
    return msgspec.structs.replace(state, revision=state.revision + 1, **changes)
