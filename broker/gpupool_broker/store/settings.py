"""What was set while the broker ran, by name: JSON values, each with who changed it when."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from gpupool_broker.store.access_tables import settings
from gpupool_broker.store.databases import Database
from gpupool_broker.store.errors import translated
from gpupool_broker.store.writer import Writer


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One of them."""

    name: str
    value: Any
    changed_ms: int
    changed_by: str


class SettingStore:
    """Keeps them. Thread-safe."""

    def __init__(self, database: Database, writer: Writer) -> None:
        self._engine = database.engine
        self._writer = writer

    def all(self) -> dict[str, Setting]:
        """Return every setting that was changed, by name."""
        with translated(), self._engine.connect() as connection:
            rows = connection.execute(sa.select(settings)).mappings().all()
        return {row["name"]: Setting(**{**row, "value": json.loads(row["value"])}) for row in rows}

    def keep(self, changed: list[Setting]) -> None:
        """Keep settings, all or none."""
        with self._writer.begin() as connection:
            connection.execute(sa.delete(settings).where(settings.c.name.in_([one.name for one in changed])))
            rows = [
                {"name": one.name, "value": json.dumps(one.value), "changed_ms": one.changed_ms, "changed_by": one.changed_by}
                for one in changed
            ]
            connection.execute(sa.insert(settings), rows)
