"""Settings over REST: admins change them, finance may look."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from pydantic import RootModel

from gpupool_broker.access.principal import Principal
from gpupool_broker.access.roles import ADMIN, FINANCE
from gpupool_broker.access.settings import SPECS, SettingsDesk
from gpupool_broker.api import access_shapes as shapes
from gpupool_broker.api.shapes import moment
from gpupool_broker.api.who import Who


def add_settings(app: FastAPI, desk: SettingsDesk, who: Who) -> None:
    """Add the routes."""
    reader: Any = who(ADMIN, FINANCE)
    admin: Any = who(ADMIN)

    @app.get("/api/v1/settings", tags=["settings"])
    def settings(_token: Principal = reader) -> list[shapes.SettingShape]:
        """What is set, what it may be, and who changed it."""
        return [_shape(desk, name) for name in SPECS]

    @app.patch("/api/v1/settings", tags=["settings"])
    def change(body: shapes.SettingsChange, request: Request, token: Principal = admin) -> list[shapes.SettingShape]:
        """Change settings, all or none; they hold at once."""
        request.state.before = RootModel[dict[str, Any]]({name: desk.get(name) for name in body.values if name in SPECS})
        desk.change(body.values, body.expected, f"{token.role} {token.name}".strip())
        return [_shape(desk, name) for name in SPECS]


def _shape(desk: SettingsDesk, name: str) -> shapes.SettingShape:
    spec, changed = SPECS[name], desk.changed(name)
    return shapes.SettingShape(
        name=name,
        value=desk.get(name),
        default=spec.default,
        may_be=spec.may_be,
        help=spec.help,
        fixed=name in desk.fixed,
        changed_at=None if changed is None else moment(changed.changed_ms),
        changed_by="" if changed is None else changed.changed_by,
    )
