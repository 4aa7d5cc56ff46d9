"""Signing in: what is tried is limited, tried, and written down; a session comes out of it.

name + password ──> may it be tried now? ──> verified ──> session, secret
token ────────────>       (by address)       │
OpenID subject ───> (the provider's care) ───┘ every outcome is in the audit log

A name can be tried five times, then after 2, 4, 8 … s, at most 15 minutes; an address twenty times. Whoever guesses somebody's
password so makes that name wait, and would lock its owner out: so an address from which the name has signed in before is counted
apart, and the owner comes in from there.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from gpupool_broker.access.audit import AuditDesk
from gpupool_broker.access.roles import ROLES, key_of
from gpupool_broker.access.sessions import SessionDesk
from gpupool_broker.access.users import UserDesk, WrongPassword
from gpupool_broker.core.attempts import Attempts
from gpupool_broker.store.accounts import Session, User
from gpupool_broker.store.audit import AuditEntry
from gpupool_broker.tokens import TokenDesk, Unauthenticated
from gpupool_wire.errors import GpupoolError, NotAuthorized

#: A tired person's slips; 256 random bits are not guessed, but an address that tries has no business here.
FREE_A_NAME: Final = 5
FREE_AN_ADDRESS: Final = 20
#: Addresses somebody signed in from that are remembered: of all names together.
MAX_FAMILIAR: Final = 10_000

Opened = tuple[Session, str]


class TooManyAttempts(NotAuthorized):
    """Too many attempts: wait."""

    code = "too_many_attempts"
    http_status = 429


class SigningIn:
    """The one way to a session. Thread-safe."""

    def __init__(
        self, users: UserDesk, tokens: TokenDesk, sessions: SessionDesk, audit: AuditDesk, clock: Callable[[], int]
    ) -> None:
        self._users = users
        self._tokens = tokens
        self._sessions = sessions
        self._audit = audit
        self._clock = clock
        self._lock = threading.Lock()
        self._by_name = Attempts(FREE_A_NAME)
        self._by_address = Attempts(FREE_AN_ADDRESS)
        homes = ((user.name, stay.address) for user in users.list() for stay in sessions.of(user_id=user.user_id))
        self._familiar: OrderedDict[str, None] = OrderedDict((f"{key_of(name)} {address}", None) for name, address in homes)

    def with_password(self, name: str, password: str, address: str) -> Opened:
        """Open a session for a user. Raises Unauthenticated, TooManyAttempts, Busy."""
        key = self._key(name, address)
        self._raise_if_too_many(key, address)
        user = self._users.verified(name, password)
        if user is None:
            known = next((one.name for one in self._users.list() if key_of(one.name) == key_of(name)), "")
            self._failed(key, address, known, "password")
            raise Unauthenticated("name or password is wrong")
        self._check_enabled(user, address, "password")
        with self._lock:
            self._by_name.succeeded(key)
            self._by_address.succeeded(address)
            self._familiar[f"{key_of(name)} {address}"] = None
            if len(self._familiar) > MAX_FAMILIAR:
                self._familiar.popitem(last=False)
        return self._open_for(user, address, "password")

    def with_token(self, secret: str, address: str) -> Opened:
        """Open a session that is worth what a token is worth. Raises Unauthenticated, TooManyAttempts, NotAuthorized."""
        self._raise_if_too_many("", address)
        try:
            token = self._tokens.identify(secret)
        except Unauthenticated as error:
            self._failed("", address, "", "token", error.message)
            raise
        if token.role not in ROLES:
            raise NotAuthorized(f"a {token.role} token is for machines: people sign in with another")
        opened = self._sessions.open(token_id=token.token_id, address=address, at_most_ms=token.expires_ms)
        self._write(token.name, address, "token", role=token.role, tenant=token.tenant, credential=f"token {token.token_id}")
        return opened

    def as_provided(self, user: User, address: str) -> Opened:
        """Open a session for a user whom a provider has signed in. Raises Unauthenticated where it is disabled."""
        self._check_enabled(user, address, "oidc")
        return self._open_for(user, address, "oidc")

    def choose_password(self, user: User, old: str, new: str) -> None:
        """Change a user's own password; whoever found its browser open does not get to guess the old one without end.

        Raises UsageError, TooManyAttempts, Busy.
        """
        key = f"{user.user_id} chooses"
        self._raise_if_too_many(key, "")
        try:
            self._users.choose(user, old, new)
        except WrongPassword:
            with self._lock:
                self._by_name.failed(key, self._clock())
            raise
        with self._lock:
            self._by_name.succeeded(key)

    def refused_by_provider(self, error: GpupoolError, address: str) -> None:
        """Write down that a provider's answer was not enough."""
        self._write("", address, "oidc", outcome=error.code, remark=error.message)

    def _open_for(self, user: User, address: str, how: str) -> Opened:
        user = self._users.note_sign_in(user)
        session, secret = self._sessions.open(user_id=user.user_id, address=address)
        self._write(user.name, address, how, role=user.role, tenant=user.tenant, credential=f"session {session.session_id}")
        return session, secret

    def _check_enabled(self, user: User, address: str, how: str) -> None:
        if user.disabled_ms is not None:
            self._write(user.name, address, how, role=user.role, outcome="not_authorized", remark="the user is disabled")
            raise Unauthenticated("the user is disabled: ask an admin")

    # ── limits ──────

    def _key(self, name: str, address: str) -> str:
        familiar = f"{key_of(name)} {address}"
        return familiar if familiar in self._familiar else key_of(name)

    def _raise_if_too_many(self, key: str, address: str) -> None:
        now = self._clock()
        with self._lock:
            waits = (self._by_name.wait_ms(key, now) if key else 0, self._by_address.wait_ms(address, now))
        if wait_ms := max(waits):
            seconds = -(-wait_ms // 1000)
            raise TooManyAttempts(f"too many attempts: try again in {seconds} s", retry_after_s=seconds)

    def _failed(self, key: str, address: str, known: str, how: str, remark: str = "") -> None:
        now = self._clock()
        with self._lock:
            if key:
                self._by_name.failed(key, now)
            self._by_address.failed(address, now)
        # A name nobody has is not written down: it may be a password in the wrong field.
        self._write(known, address, how, outcome="not_authorized", remark=remark or ("" if known else "no such user"))

    def _write(self, name: str, address: str, how: str, **more: str) -> None:
        entry = AuditEntry(at_ms=self._clock(), who=name, address=address, action=f"sign_in.{how}", target=name, **more)  # type: ignore[arg-type]
        self._audit.record(entry)
