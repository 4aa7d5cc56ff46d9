"""The audit log over REST, for admins and finance: found by what is said of it, as JSON or as a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import FastAPI, Query, Response
from pydantic import AwareDatetime

from gpupool_broker.access.audit import AuditDesk
from gpupool_broker.access.principal import Principal
from gpupool_broker.access.roles import ADMIN, FINANCE
from gpupool_broker.api import access_shapes as shapes
from gpupool_broker.api.who import Who
from gpupool_broker.reports.csv_file import defused
from gpupool_broker.store.audit import AuditEntry, AuditQuery

#: A page of a table; and of a file, some 50 MB: older entries are had with `until`.
MAX_LISTED: Final = 1_000
MAX_EXPORTED: Final = 100_000
_COLUMNS: Final = ("seq", "at", "who", "role", "tenant", "credential", "address", "action", "target", "outcome", "remark")
_STATES: Final = ("before", "after")
_CSV: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The entries", "content": {"text/csv": {"schema": {"type": "string"}}}}
}
Part = Annotated[str | None, Query(max_length=512)]
Moment = Annotated[AwareDatetime | None, Query(description="With its zone, such as 2026-10-01T00:00:00Z")]


def add_audit(app: FastAPI, audit: AuditDesk, who: Who) -> None:
    """Add the routes."""
    reader: Any = who(ADMIN, FINANCE)

    @app.get("/api/v1/audit", tags=["audit"])
    def entries(
        since: Moment = None,
        until: Moment = None,
        by: Part = None,
        action: Part = None,
        target: Part = None,
        outcome: Part = None,
        below: Annotated[int | None, Query(ge=1, le=2**62, description="Older than the entry of this number")] = None,
        limit: Annotated[int, Query(ge=1, le=MAX_LISTED)] = 200,
        _token: Principal = reader,
    ) -> list[shapes.AuditShape]:
        """Who did what, newest first. `action=slices` finds slices.resize, too; `target` is a part of what was changed."""
        audit.flush()
        found = audit.store.find(_query(since, until, by, action, target, outcome, below), limit)
        return [shapes.audit_shape(entry) for entry in found]

    @app.get("/api/v1/audit.csv", tags=["audit"], response_class=Response, responses=_CSV)
    def export(
        since: Moment = None,
        until: Moment = None,
        by: Part = None,
        action: Part = None,
        target: Part = None,
        outcome: Part = None,
        limit: Annotated[int, Query(ge=1, le=MAX_EXPORTED)] = MAX_EXPORTED,
        _token: Principal = reader,
    ) -> Response:
        """The same as a file for spreadsheets (RFC 4180, UTF-8); a text that one would calculate gets an apostrophe ahead."""
        audit.flush()
        found = audit.store.find(_query(since, until, by, action, target, outcome, None), limit)
        named = {"Content-Disposition": 'attachment; filename="gpupool-audit.csv"'}
        return Response(as_csv(found), media_type="text/csv; charset=utf-8", headers=named)


def as_csv(entries: Sequence[AuditEntry]) -> bytes:
    """Return entries as a file."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow([*_COLUMNS, *_STATES])
    for entry in entries:
        shown = shapes.audit_shape(entry).model_dump(mode="json")
        states = (getattr(entry, name) or "" for name in _STATES)
        writer.writerow([defused(str(text)) for text in (*(shown[name] for name in _COLUMNS), *states)])
    return out.getvalue().encode(errors="replace")


def _query(
    since: datetime | None,
    until: datetime | None,
    by: str | None,
    action: str | None,
    target: str | None,
    outcome: str | None,
    below: int | None,
) -> AuditQuery:
    return AuditQuery(
        since_ms=_ms(since),
        until_ms=_ms(until),
        who=by,
        action=action,
        target=target,
        outcome=outcome,
        below_seq=below,
    )


def _ms(at: datetime | None) -> int | None:
    return None if at is None else int(at.timestamp() * 1000)
