"""REST of nodes and their devices: what there is, and who empties it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Path, Query, Response

from gpupool_broker.access.principal import Principal
from gpupool_broker.access.roles import TENANT
from gpupool_broker.api import inventory_shapes, shapes
from gpupool_broker.api.listed import Listed
from gpupool_broker.core import events as e
from gpupool_broker.core.listing import devices_of
from gpupool_broker.core.pool import Pool
from gpupool_broker.service import Broker

NodeName = Annotated[str, Path(max_length=512)]


def add_inventory(app: FastAPI, broker: Broker, reader: Any) -> None:  # noqa: ANN401
    """Show nodes and devices."""

    @app.get("/api/v1/nodes", tags=["inventory"])
    def nodes(_token: Principal = reader) -> list[inventory_shapes.NodeShape]:
        """Every node that ever joined."""
        return broker.read(lambda pool: [inventory_shapes.node_shape(pool, node) for _, node in sorted(pool.nodes.items())])

    @app.get("/api/v1/nodes/{node}", tags=["inventory"])
    def one_node(node: NodeName, token: Principal = reader) -> inventory_shapes.NodeDetail:
        """One node with its devices and their slices, and what happened to it lately."""
        return broker.read(lambda pool: inventory_shapes.node_detail(pool, node, token.tenant if token.role == TENANT else None))

    @app.get("/api/v1/devices", tags=["inventory"])
    def devices(
        response: Response,
        part: Listed,
        state: Annotated[str, Query(pattern="^(|up|away)$")] = "",
        node: Annotated[str, Query(max_length=512)] = "",
        with_slices: bool = False,
        token: Principal = reader,
    ) -> list[inventory_shapes.DeviceShape]:
        """Every device and how much of it is given out, or a part of that list; `X-Total-Count` says how long it is."""
        tenant = token.tenant if token.role == TENANT else None

        def look(pool: Pool) -> tuple[list[inventory_shapes.DeviceShape], int]:
            rows, total = devices_of(pool, part.as_part(), state, node)
            return [
                inventory_shapes.device_shape(
                    pool, one, device, inventory_shapes.held_shapes(pool, device, tenant) if with_slices else None
                )
                for one, device in rows
            ], total

        found, total = broker.read(look)
        response.headers["X-Total-Count"] = str(total)
        return found


def add_upkeep(app: FastAPI, broker: Broker, admin: Any) -> None:  # noqa: ANN401
    """Let admins empty nodes and give them back."""

    def cordoned(node: str, token: Principal, drain_ms: int | None) -> inventory_shapes.NodeShape:
        by = f"{token.role} {token.name}".strip()
        found = broker.ask(
            lambda caller, now_ms, at_ms: e.CordonRequested(
                now_ms=now_ms, at_ms=at_ms, caller=caller, node=node, by=by, drain_ms=drain_ms
            )
        )
        return broker.read(lambda pool: inventory_shapes.node_shape(pool, found))

    @app.post("/api/v1/nodes/{node}/cordon", tags=["inventory"])
    def cordon(node: NodeName, token: Principal = admin) -> inventory_shapes.NodeShape:
        """Place nothing new on a node; what is there stays."""
        return cordoned(node, token, None)

    @app.post("/api/v1/nodes/{node}/drain", tags=["inventory"])
    def drain(node: NodeName, body: shapes.Drain, token: Principal = admin) -> inventory_shapes.NodeShape:
        """Empty a node: its slices move to other nodes, or end when the time is over."""
        return cordoned(node, token, int(body.deadline_s * 1000))

    @app.post("/api/v1/nodes/{node}/uncordon", tags=["inventory"])
    def uncordon(node: NodeName, token: Principal = admin) -> inventory_shapes.NodeShape:
        """Give a cordoned or drained node back to the pool."""
        by = f"{token.role} {token.name}".strip()
        found = broker.ask(
            lambda caller, now_ms, at_ms: e.UncordonRequested(now_ms=now_ms, at_ms=at_ms, caller=caller, node=node, by=by)
        )
        return broker.read(lambda pool: inventory_shapes.node_shape(pool, found))
