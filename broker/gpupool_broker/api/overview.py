"""REST of the pool at a glance: sums, alarms, tenants by share; its last hours; one slice over time."""

from __future__ import annotations

import threading
import time
from itertools import islice
from typing import Annotated, Any, Final

from fastapi import FastAPI, Path, Query

from gpupool_broker.access.principal import Principal
from gpupool_broker.access.roles import TENANT
from gpupool_broker.api import overview_shapes as shapes
from gpupool_broker.api.shapes import moment
from gpupool_broker.core.course import course
from gpupool_broker.core.overview import overview
from gpupool_broker.core.pool import Pool
from gpupool_broker.history import Recorder
from gpupool_broker.service import Broker, wall_ms
from gpupool_broker.store.sql import SqlStore
from gpupool_wire.errors import NotFound

#: What was seen is shown again for so long while only use has changed, and for so long in any case: looking costs every turn.
FRESH_S, LEAST_S = 1.0, 0.1
#: Of the queue, on the overview.
FIRST_WAITING: Final = 5
HOUR_MS: Final = 3_600_000
Hours = Annotated[float, Query(gt=0, le=24)]


class _Latest:
    """What was seen last, by whose it is. Thread-safe: who comes while somebody looks waits and gets the same."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._lock = threading.Lock()
        self._seen: dict[str | None, tuple[float, int, shapes.OverviewShape]] = {}

    def of(self, tenant: str | None) -> shapes.OverviewShape:
        with self._lock:
            now, changes = time.monotonic(), self._broker.changes
            at, seen_changes, shape = self._seen.get(tenant, (-FRESH_S, 0, None))
            if shape is None or now - at > (FRESH_S if seen_changes == changes else LEAST_S):
                shape = self._broker.read(lambda pool: _look(pool, tenant))
                # Those that nobody looks at any more are forgotten with the next look.
                self._seen = {whose: one for whose, one in self._seen.items() if now - one[0] <= FRESH_S}
                self._seen[tenant] = now, changes, shape
            return shape


def _look(pool: Pool, tenant: str | None) -> shapes.OverviewShape:
    queue = enumerate(pool.waiting.in_order(pool.standing), 1)
    mine = ((position, one) for position, one in queue if tenant in (None, one.event.tenant))
    return shapes.overview_shape(overview(pool, tenant), tenant, list(islice(mine, FIRST_WAITING)))


def add_overview(app: FastAPI, broker: Broker, store: SqlStore, recorder: Recorder, reader: Any) -> None:  # noqa: ANN401
    """Add the pool at a glance, its history, and a slice over time."""
    latest = _Latest(broker)

    @app.get("/api/v1/overview", tags=["overview"])
    def glance(token: Principal = reader) -> shapes.OverviewShape:
        """What there is, what is held and used, what is wrong, who waits; a tenant sees its own."""
        return latest.of(token.tenant if token.role == TENANT else None)

    @app.get("/api/v1/history", tags=["overview"])
    def history(hours: Hours = 6.0, token: Principal = reader) -> list[shapes.PointShape]:
        """Busy against allocated over the last hours, oldest first; a tenant sees its own."""
        tenant = token.tenant if token.role == TENANT else None
        points = recorder.history.points(wall_ms() - int(hours * HOUR_MS), tenant)
        return [shapes.point_shape(point) for point in points]

    @app.get("/api/v1/slices/{slice_id}/course", tags=["slices"])
    def slice_course(
        slice_id: Annotated[str, Path(max_length=512)], hours: Hours = 1.0, token: Principal = reader
    ) -> shapes.CourseShape:
        """What one slice was promised and what it had over its last hours, and how long it waited for its turn."""
        until = wall_ms()
        since = until - int(hours * HOUR_MS)
        slice_ = broker.read(lambda pool: pool.slices.get(slice_id))
        if slice_ is None or (token.role == TENANT and slice_.tenant != token.tenant):
            raise NotFound(f"there is no slice {slice_id[:64]}")
        stretches = course([*store.folded_of(slice_id, since), *store.facts_of(slice_id)], since, until)
        return shapes.CourseShape(
            slice_id=slice_id,
            since=moment(since),
            until=moment(until),
            stretches=[shapes.stretch_shape(stretch) for stretch in stretches],
        )
