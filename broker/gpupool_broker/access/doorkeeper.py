"""Who is behind a credential, and whether its role will do.

gps_… ──> session ──> its user, or the token it was opened with ──> Principal
gpp_… ──> token ───────────────────────────────────────────────────> Principal
"""

from __future__ import annotations

from gpupool_broker.access.principal import Principal
from gpupool_broker.access.sessions import PREFIX, SessionDesk
from gpupool_broker.access.users import UserDesk
from gpupool_broker.store.accounts import Session
from gpupool_broker.store.sql import Token
from gpupool_broker.tokens import TokenDesk, Unauthenticated
from gpupool_wire.errors import NotAuthorized


class Doorkeeper:
    """Looks at credentials. Thread-safe."""

    def __init__(self, tokens: TokenDesk, users: UserDesk, sessions: SessionDesk) -> None:
        self._tokens = tokens
        self._users = users
        self._sessions = sessions

    def identify(self, secret: str) -> Principal:
        """Return who sent a credential. Raises Unauthenticated where it is not valid (any more)."""
        if not secret.startswith(PREFIX):
            return _of_token(self._tokens.identify(secret))
        session = self._sessions.find(secret)
        if session is None:
            raise Unauthenticated("the session is over: sign in again")
        return self._of_user(session) if session.user_id else self._of_session_token(session)

    def _of_user(self, session: Session) -> Principal:
        user = self._users.get(session.user_id)
        if user is None or user.disabled_ms is not None:
            raise Unauthenticated("the user is disabled: ask an admin")
        return Principal(
            role=user.role,
            tenant=user.tenant,
            name=user.name,
            credential=f"session {session.session_id}",
            user_id=user.user_id,
            session_id=session.session_id,
            must_change=user.must_change,
            expires_ms=session.expires_ms,
        )

    def _of_session_token(self, session: Session) -> Principal:
        """A token's session is worth what the token is worth now."""
        token = self._tokens.valid(session.token_id)
        return _of_token(token, session)


def check_role(who: Principal, roles: tuple[str, ...], *, writes: bool, even_unchanged: bool = False) -> None:
    """Raise NotAuthorized where somebody may not do what takes one of `roles`."""
    if who.must_change and not even_unchanged:
        raise NotAuthorized("choose a password first: the one you have was made by another", must_change=True)
    if who.role not in roles:
        raise NotAuthorized(f"a {who.role} may not do this; it takes one of: {', '.join(roles)}")
    if writes and who.is_read_only:
        raise NotAuthorized("this token may look and change nothing")


def _of_token(token: Token, session: Session | None = None) -> Principal:
    ends = [end for end in (token.expires_ms, session.expires_ms if session else None) if end is not None]
    return Principal(
        role=token.role,
        tenant=token.tenant,
        name=token.name,
        credential=f"token {token.token_id}",
        token_id=token.token_id,
        session_id=session.session_id if session else "",
        is_read_only=token.read_only,
        expires_ms=min(ends, default=None),
    )
