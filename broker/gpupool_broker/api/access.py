"""Signing in and out over REST, who one is, and one's own password and sessions."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request

from gpupool_broker.access.desks import Desks
from gpupool_broker.access.oidc import Provider
from gpupool_broker.access.principal import Principal
from gpupool_broker.access.roles import ROLES
from gpupool_broker.access.signing_in import Opened
from gpupool_broker.api import access_shapes as shapes
from gpupool_broker.api.who import Who, address_of
from gpupool_wire.errors import GpupoolError, NotFound, UsageError


def add_access(app: FastAPI, desks: Desks, who: Who) -> None:
    """Add the routes."""
    _add_signing_in(app, desks)
    _add_provider(app, desks)
    _add_own(app, desks, who(*ROLES, even_unchanged=True), who(*ROLES, reads=True, even_unchanged=True))


def signed_in(desks: Desks, opened: Opened) -> shapes.SignedIn:
    """Return a session that was opened, as it is shown once."""
    _, secret = opened
    return shapes.SignedIn(**shapes.who_shape(desks.doorkeeper.identify(secret)), session=secret)


def _add_signing_in(app: FastAPI, desks: Desks) -> None:
    @app.get("/api/v1/sign-in", tags=["access"])
    def ways_in() -> shapes.WayIn:
        """How one signs in here, besides password and token."""
        return shapes.WayIn(oidc=desks.provider.settings.name if desks.provider else "")

    @app.post("/api/v1/sign-in", status_code=201, tags=["access"])
    def sign_in(body: shapes.SignInRequest, request: Request) -> shapes.SignedIn:
        """Sign in with name and password, or with a token. The answer's `session` is then sent as a token is."""
        address = address_of(request)
        if body.token:
            return signed_in(desks, desks.signing_in.with_token(body.token, address))
        if not body.name:
            raise UsageError("sign in with `name` and `password`, or with `token`")
        return signed_in(desks, desks.signing_in.with_password(body.name, body.password, address))


def _add_provider(app: FastAPI, desks: Desks) -> None:
    def provider() -> Provider:
        if desks.provider is None:
            raise NotFound("no OpenID provider signs people in here")
        return desks.provider

    @app.post("/api/v1/oidc/start", tags=["access"])
    def start_oidc() -> shapes.OidcStart:
        """Begin to sign in by the provider: send the browser to `url`, and see that it comes back with `state`."""
        url, state = provider().start()
        return shapes.OidcStart(url=url, state=state)

    @app.post("/api/v1/oidc/finish", status_code=201, tags=["access"])
    def finish_oidc(body: shapes.CodeRequest, request: Request) -> shapes.SignedIn:
        """Sign in with what the provider sent the browser back with."""
        address = address_of(request)
        try:
            who = provider().finish(body.code, body.state)
            user = desks.users.of_provider(who.subject, who.name, who.role, who.tenant)
        except GpupoolError as error:
            desks.signing_in.refused_by_provider(error, address)
            raise
        return signed_in(desks, desks.signing_in.as_provided(user, address))


def _add_own(app: FastAPI, desks: Desks, anyone: Any, reader: Any) -> None:  # noqa: ANN401 - FastAPI's Depends
    @app.get("/api/v1/whoami", tags=["access"])
    def whoami(token: Principal = reader) -> shapes.WhoAmI:
        """Whose credential this is."""
        return shapes.WhoAmI(**shapes.who_shape(token))

    @app.post("/api/v1/password", tags=["access"])
    def choose_password(body: shapes.PasswordChange, token: Principal = anyone) -> shapes.WhoAmI:
        """Choose a password. Your other sessions end."""
        user = desks.users.get(token.user_id)
        if user is None or user.subject:
            raise UsageError("only users with a password of their own can choose one")
        desks.signing_in.choose_password(user, body.old, body.new)
        desks.sessions.end_all(user_id=user.user_id, but=token.session_id)
        return shapes.WhoAmI(**{**shapes.who_shape(token), "must_change": False})

    @app.get("/api/v1/sessions", tags=["access"])
    def sessions(token: Principal = reader) -> list[shapes.SessionShape]:
        """Your sessions."""
        theirs = desks.sessions.of(user_id=token.user_id, token_id="" if token.user_id else token.token_id)
        return [shapes.session_shape(one, token.session_id) for one in theirs]

    # Signing out changes nothing but the stay itself, so a token that may only read may do it too.
    @app.delete("/api/v1/session", tags=["access"])
    def sign_out(token: Principal = reader) -> shapes.Ended:
        """Sign out: what was signed in with holds no more."""
        if not token.session_id:
            raise NotFound("this is a token, no session: there is nothing to sign out of")
        desks.sessions.end(token.session_id)
        return shapes.Ended(ended=1)
