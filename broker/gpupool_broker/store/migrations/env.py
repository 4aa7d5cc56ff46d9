"""Alembic's entry: the store hands its connection over."""

from __future__ import annotations

from alembic import context

from gpupool_broker.store import access_tables, report_tables  # noqa: F401 - their tables belong to the metadata
from gpupool_broker.store.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
