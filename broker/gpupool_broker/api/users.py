"""Users over REST, for admins."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Path

from gpupool_broker.access.desks import Desks
from gpupool_broker.access.principal import Principal
from gpupool_broker.access.roles import ADMIN
from gpupool_broker.api import access_shapes as shapes
from gpupool_broker.api.who import Who
from gpupool_broker.store.accounts import User
from gpupool_wire.errors import Conflict

Name = Annotated[str, Path(max_length=512)]


def add_users(app: FastAPI, desks: Desks, who: Who) -> None:
    """Add the routes."""
    admin: Any = who(ADMIN)

    def shown(user: User) -> shapes.UserShape:
        return shapes.user_shape(user, len(desks.sessions.of(user_id=user.user_id)))

    @app.get("/api/v1/users", tags=["users"])
    def users(_token: Principal = admin) -> list[shapes.UserShape]:
        """Every user."""
        return [shown(user) for user in desks.users.list()]

    @app.post("/api/v1/users", status_code=201, tags=["users"])
    def create(body: shapes.UserRequest, _token: Principal = admin) -> shapes.NewPassword:
        """Make a user, with a one-time password that is shown this once."""
        user, password = desks.users.create(body.name, body.role, body.tenant)
        return shapes.NewPassword(**shown(user).model_dump(), one_time_password=password)

    @app.patch("/api/v1/users/{user}", tags=["users"])
    def change(user: Name, body: shapes.UserChange, token: Principal = admin) -> shapes.UserShape:
        """Change a user's role or tenant, disable it or let it in again. Its sessions end where it is disabled."""
        known = desks.users.named(user)
        if known.user_id == token.user_id and (body.disabled or body.role not in (None, ADMIN)):
            raise Conflict("an admin cannot disable or demote itself: another admin can")
        changed = desks.users.change(user, role=body.role, tenant=body.tenant, is_disabled=body.disabled)
        if body.disabled:
            desks.sessions.end_all(user_id=changed.user_id)
        return shown(changed)

    @app.post("/api/v1/users/{user}/reset-password", tags=["users"])
    def reset_password(user: Name, _token: Principal = admin) -> shapes.NewPassword:
        """Give a user a new one-time password, shown this once. Its sessions end."""
        changed, password = desks.users.reset(user)
        desks.sessions.end_all(user_id=changed.user_id)
        return shapes.NewPassword(**shown(changed).model_dump(), one_time_password=password)

    @app.post("/api/v1/users/{user}/end-sessions", tags=["users"])
    def end_sessions(user: Name, _token: Principal = admin) -> shapes.Ended:
        """Sign a user out everywhere."""
        return shapes.Ended(ended=desks.sessions.end_all(user_id=desks.users.named(user).user_id))
