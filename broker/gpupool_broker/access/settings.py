"""What an admin can set while the broker runs. Each takes effect at once, and is there after a restart.

change ──> all valid? ──> stored ──> those who use it look, or are told
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gpupool_broker.core.placement import DEFAULT_POLICY, POLICIES
from gpupool_broker.store.settings import Setting, SettingStore
from gpupool_wire.errors import Conflict, UsageError

PLACEMENT, AUDIT_DAYS, SESSION_HOURS = "placement", "audit_days", "session_hours"


@dataclass(frozen=True, slots=True)
class Spec:
    """One setting: what it is where nobody changed it, what it may be, and what for."""

    default: Any
    is_valid: Callable[[Any], bool]
    may_be: str
    help: str


def _whole(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and least <= value <= most


SPECS: Final[Mapping[str, Spec]] = {
    PLACEMENT: Spec(
        DEFAULT_POLICY, lambda value: value in list(POLICIES), ", ".join(POLICIES), "How devices are chosen for requests."
    ),
    AUDIT_DAYS: Spec(
        730,
        lambda value: value is None or _whole(1, 36_500)(value),
        "1 to 36500, or null for all",
        "Days entries of the audit log are kept.",
    ),
    SESSION_HOURS: Spec(12, _whole(1, 720), "1 to 720", "Hours after which somebody who signed in has to sign in again."),
}


class SettingsDesk:
    """Knows every setting. Thread-safe."""

    def __init__(self, store: SettingStore, clock: Callable[[], int], fixed: Mapping[str, Any]) -> None:
        """`fixed` are those that this broker was started with: they hold, and cannot be changed meanwhile."""
        self._store = store
        self._clock = clock
        self.fixed = dict(fixed)
        self._lock = threading.Lock()
        self._changed = {name: one for name, one in store.all().items() if name in SPECS and SPECS[name].is_valid(one.value)}
        self._told: dict[str, Callable[[Any], object]] = {}

    def get(self, name: str) -> Any:  # noqa: ANN401 - whatever the setting is
        """Return what holds now."""
        if name in self.fixed:
            return self.fixed[name]
        return self._changed[name].value if name in self._changed else SPECS[name].default

    def changed(self, name: str) -> Setting | None:
        """Return who changed it to what and when, None where nobody has."""
        return self._changed.get(name)

    def tell(self, name: str, who: Callable[[Any], object]) -> None:
        """Have somebody told of every change of a setting."""
        self._told[name] = who

    def change(self, values: Mapping[str, Any], expected: Mapping[str, Any], by: str) -> None:
        """Change settings, all or none. `expected` is what whoever changes them believes they are.

        Raises UsageError for values that cannot be, Conflict where a setting is fixed or is not what was expected.
        """
        for name, value in values.items():
            if name not in SPECS:
                raise UsageError(f"there is no setting {name[:64]!r}; there are: {', '.join(SPECS)}")
            if not SPECS[name].is_valid(value):
                raise UsageError(f"{name} may be {SPECS[name].may_be}; not {str(value)[:64]!r}")
            if name in self.fixed:
                raise Conflict(f"{name} is fixed by an option of the broker: start it without, to set it here")
        with self._lock:
            for name, believed in expected.items():
                if name in SPECS and self.get(name) != believed:
                    raise Conflict(f"{name} is {self.get(name)!r} by now, not {str(believed)[:64]!r}: look again, then decide")
            new = [Setting(name=name, value=value, changed_ms=self._clock(), changed_by=by) for name, value in values.items()]
            if new:
                self._store.keep(new)
                self._changed |= {one.name: one for one in new}
        for name, value in values.items():
            if name in self._told:
                self._told[name](value)
