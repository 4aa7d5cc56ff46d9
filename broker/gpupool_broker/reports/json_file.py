"""A report as JSON: every figure as it is shown, and the exact integers it was worked out of."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from gpupool_broker.core.accounting.prices import COMPONENTS
from gpupool_broker.core.accounting.report import Report, Row
from gpupool_broker.reports.columns import COLUMNS, KEYS, facts_of, local, unit_of


def render(report: Report) -> bytes:
    """Return the document, UTF-8."""
    document = {
        "period": report.name,
        "zone": report.zone,
        "start": local(report.start_ms, report.zone).isoformat(),
        "end": local(report.end_ms, report.zone).isoformat(),
        "counted_to": local(report.counted_ms, report.zone).isoformat(),
        "is_complete": report.is_complete,
        "by": report.by,
        "tenant": report.tenant,
        "currency": report.currency,
        "key": KEYS[report.by],
        "columns": [{"name": c.name, "title": c.title, "unit": unit_of(c, report), "digits": c.digits} for c in COLUMNS],
        "rows": [_row(report, row) for row in report.rows],
        "total": _row(report, report.total),
        "devices": msgspec.to_builtins(report.devices),
        "about": [{"what": what, "text": text} for what, text in facts_of(report)],
        "advice": [{**msgspec.to_builtins(one), "text": str(one)} for one in report.advice],
        "notes": report.notes,
        "frozen_sha256": report.frozen_sha256,
        "adjustments": [{**msgspec.to_builtins(one), "cents": one.cents} for one in report.adjustments],
    }
    return (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode()


def _row(report: Report, row: Row) -> dict[str, Any]:
    shown = {column.name: column.value(report, row) for column in COLUMNS}
    return {
        "key": row.key,
        # Decimal numbers as texts: a float would not keep the cent.
        "shown": {name: value if isinstance(value, int | None) else str(value) for name, value in shown.items()},
        "exact": {**msgspec.to_builtins(row.sums), "idle_ns": row.sums.idle_ns},
        "cents": dict(zip(COMPONENTS, row.cents, strict=False)),
        "wait_p50_ms": row.wait_p50_ms,
        "wait_p95_ms": row.wait_p95_ms,
    }
