"""Tokens over REST: made, listed, revoked by admins; each is shown once."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Path

from gpupool_broker.access.principal import Principal
from gpupool_broker.access.roles import ADMIN
from gpupool_broker.api import access_shapes as shapes
from gpupool_broker.api.who import Who
from gpupool_broker.tokens import TokenDesk


def add_tokens(app: FastAPI, desk: TokenDesk, who: Who) -> None:
    """Add the routes."""
    admin: Any = who(ADMIN)

    @app.get("/api/v1/tokens", tags=["tokens"])
    def tokens(_token: Principal = admin) -> list[shapes.TokenShape]:
        """Every token, without the tokens."""
        return [shapes.token_shape(token) for token in desk.list()]

    @app.post("/api/v1/tokens", status_code=201, tags=["tokens"])
    def issue(body: shapes.TokenRequest, token: Principal = admin) -> shapes.NewToken:
        """Make a token; it is shown this once."""
        made, secret = desk.issue(
            body.role,
            tenant=body.tenant,
            name=body.name,
            expires_s=body.expires_s,
            read_only=body.read_only,
            made_by=f"{token.role} {token.name}".strip(),
        )
        return shapes.NewToken(**shapes.token_shape(made).model_dump(), token=secret)

    @app.delete("/api/v1/tokens/{token_id}", tags=["tokens"])
    def revoke(token_id: Annotated[str, Path(max_length=512)], _token: Principal = admin) -> shapes.TokenShape:
        """Revoke a token."""
        return shapes.token_shape(desk.revoke(token_id))
