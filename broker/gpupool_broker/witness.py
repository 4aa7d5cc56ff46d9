"""What admins do over the control port to other tenants' slices, and which nodes join: entries for the audit log.

event ──look──> what the slice was before ── the turn ──told──> entry: before, after, or the error

Asking for slices and letting go of one's own is what everybody does there thousands of times a second; the journal has it.
Entries are noted, not waited for: the turn must not wait for a second commit.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import msgspec

from gpupool_broker.access.audit import AuditDesk
from gpupool_broker.core import events as e
from gpupool_broker.core.pool import Pool
from gpupool_broker.core.state import Slice
from gpupool_broker.gateway import WireCaller
from gpupool_broker.store.audit import AuditEntry
from gpupool_broker.store.sql import Token

_ACTIONS: Final = {e.ResizeRequested: "slices.resize", e.ReleaseRequested: "slices.release", e.CancelRequested: "queue.cancel"}
_SHOWN: Final = ("slice_id", "tenant", "node", "device", "compute_pct", "memory_mib", "state", "epoch")


class Witness:
    """Watches the turns. Belongs to their thread."""

    def __init__(self, audit: AuditDesk) -> None:
        self._audit = audit
        self._seen: dict[WireCaller, AuditEntry] = {}

    def look(self, event: e.Event, pool: Pool) -> None:
        """Look at what an event is about, before it is handled."""
        caller = getattr(event, "caller", None)
        if not isinstance(caller, WireCaller):
            return
        if isinstance(event, e.AgentGreeted) and caller.credential:
            entry = AuditEntry(at_ms=event.at_ms, who=event.node, role="node", action="inventory.join", target=event.node)
            self._audit.note(entry)
        elif isinstance(event, e.ResizeRequested | e.ReleaseRequested | e.CancelRequested) and caller.admin:
            self._look_at_admin(event, caller, caller.admin, pool)

    def _look_at_admin(
        self, event: e.ResizeRequested | e.ReleaseRequested | e.CancelRequested, caller: WireCaller, admin: Token, pool: Pool
    ) -> None:
        target = event.request_id if isinstance(event, e.CancelRequested) else event.slice_id
        slice_, waiting = pool.slices.get(target), pool.waiting.get(target)
        owner = slice_.tenant if slice_ else waiting.event.tenant if waiting else ""
        if owner != admin.tenant:
            self._seen[caller] = AuditEntry(
                at_ms=event.at_ms,
                who=admin.name,
                role=admin.role,
                tenant=admin.tenant,
                credential=f"token {admin.token_id}",
                address="control port",
                action=_ACTIONS[type(event)],
                target=target[:512],
                before=_shown(slice_),
            )

    def told(self, effect: e.Effect, pool: Pool) -> None:
        """Complete what was seen by its answer, once it is stored."""
        if not self._seen:
            return
        caller = getattr(effect, "caller", None)
        entry = self._seen.pop(caller, None) if isinstance(caller, WireCaller) else None
        if entry is None:
            return
        if isinstance(effect, e.AnswerError):
            self._audit.note(replace(entry, outcome=effect.error.code, remark=effect.error.message))
        else:
            self._audit.note(replace(entry, after=_shown(pool.slices.get(entry.target))))


def _shown(slice_: Slice | None) -> str | None:
    return None if slice_ is None else msgspec.json.encode({name: getattr(slice_, name) for name in _SHOWN}).decode()
