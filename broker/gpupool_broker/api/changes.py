"""Whether the pool looks different: an answer that is held back until it does, so that nobody has to ask all the time."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any, Final

from fastapi import FastAPI, Query
from pydantic import BaseModel

from gpupool_broker.access.principal import Principal
from gpupool_broker.service import Broker

#: How often the count is looked at while an answer is held back: no thread waits, and no turn notices.
LOOK_S: Final = 0.02
MAX_WAIT_S: Final = 30.0


class ChangesShape(BaseModel):
    """How far the pool has come."""

    #: Counts whatever changes in the pool except its use; starts elsewhere with every start of the broker.
    changes: int


def add_changes(app: FastAPI, broker: Broker, reader: Any) -> None:  # noqa: ANN401 - FastAPI's Depends has no type of its own
    """Add the count of changes."""

    @app.get("/api/v1/changes", tags=["health"])
    async def changes(
        after: Annotated[int, Query(ge=-1, le=2**53)] = -1,
        wait_s: Annotated[float, Query(ge=0, le=MAX_WAIT_S)] = 0.0,
        _token: Principal = reader,
    ) -> ChangesShape:
        """The count of changes: at once where it is not `after`, else when it moves, or when `wait_s` is over."""
        until = time.monotonic() + wait_s
        while broker.changes == after and broker.is_serving and time.monotonic() < until:
            await asyncio.sleep(LOOK_S)
        return ChangesShape(changes=broker.changes)
