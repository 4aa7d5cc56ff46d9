"""Who is who: tokens and node credentials, kept as hashes.

A token is 256 random bits, so a plain SHA-256 is enough to keep it: there is nothing to guess (argon2 is for passwords).
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable
from dataclasses import replace

from gpupool_broker.access.roles import check_label, tenant_of
from gpupool_broker.store.sql import SqlStore, Token
from gpupool_wire.errors import NotAuthorized, NotFound, UsageError

#: Beside people's roles, what nodes join with, and the credential they get: the broker alone makes it.
JOIN, NODE = "join", "node"
#: The tenant an admin's own slices belong to.
DEFAULT_TENANT = "default"
#: A join token is meant to be used at once.
JOIN_EXPIRES_S = 24 * 3600


class Unauthenticated(NotAuthorized):
    """Nobody can tell who you are."""

    http_status = 401


def hash_of(token: str) -> str:
    """Return what is kept of a token."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


class TokenDesk:
    """Makes, checks and revokes tokens. Thread-safe."""

    def __init__(self, store: SqlStore, clock: Callable[[], int]) -> None:
        """`clock` gives milliseconds since 1970, and best never goes back."""
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._by_hash = {token.sha256: token for token in store.all_tokens()}
        #: Last uses by token, and which of them are not stored yet.
        self._used_ms: dict[str, int] = {}
        self._unstored: set[str] = set()

    def issue(
        self,
        role: str,
        *,
        tenant: str = "",
        name: str = "",
        expires_s: int | None = None,
        read_only: bool = False,
        made_by: str = "",
    ) -> tuple[Token, str]:
        """Make a token; return its record and the token itself, which is nowhere kept. Raises UsageError."""
        if role == JOIN and expires_s is None:
            expires_s = JOIN_EXPIRES_S
        if read_only and role in (JOIN, NODE):
            raise UsageError("a join token changes something, by its nature: leave read_only out")
        secret = f"gpp_{role}_{secrets.token_urlsafe(32)}"
        now = self._clock()
        token = Token(
            token_id=secrets.token_hex(8),
            sha256=hash_of(secret),
            role=role,
            tenant=tenant_of(role, tenant, DEFAULT_TENANT),
            name=check_label(name, "token's name"),
            created_ms=now,
            expires_ms=None if expires_s is None else now + expires_s * 1000,
            read_only=read_only,
            made_by=made_by,
        )
        with self._lock:
            self._store.add_token(token)
            self._by_hash[token.sha256] = token
        return token, secret

    def identify(self, secret: str) -> Token:
        """Return the record of a valid token, and note its use; raise Unauthenticated."""
        token = self._by_hash.get(hash_of(secret))
        if token is None:
            raise Unauthenticated("the token is not known here: check GPUPOOL_TOKEN, or ask an admin for a new one")
        self._check_valid(token)
        # For a join token "used" means used up.
        if token.role != JOIN:
            self._used_ms[token.token_id] = self._clock()
            self._unstored.add(token.token_id)
        return token

    def valid(self, token_id: str) -> Token:
        """Return a token by its id; raise Unauthenticated where it is not valid (any more)."""
        token = next((one for one in list(self._by_hash.values()) if one.token_id == token_id), None)
        if token is None:
            raise Unauthenticated("the token that signed in is gone: sign in again")
        self._check_valid(token)
        return token

    def _check_valid(self, token: Token) -> None:
        if token.revoked_ms is not None:
            raise Unauthenticated(f"token {token.token_id} was revoked")
        if token.expires_ms is not None and self._clock() >= token.expires_ms:
            raise Unauthenticated(f"token {token.token_id} has expired")

    def check(self, secret: str, *roles: str) -> Token:
        """Return the record of a valid token of one of `roles`; raise NotAuthorized."""
        token = self.identify(secret)
        if token.role not in roles:
            raise NotAuthorized(f"a {token.role} token does not allow this; it takes one of: {', '.join(roles)}")
        return token

    def admit_node(self, secret: str, node: str) -> str:
        """Check an agent's token for `node`; return the credential it shall use from now on, "" where it has it already."""
        token = self.check(secret, JOIN, NODE)
        if token.role == NODE:
            if token.name != node:
                raise NotAuthorized(f"this credential belongs to node {token.name}, not to {node}")
            return ""
        with self._lock:
            if self._by_hash[token.sha256].used_ms is not None:
                raise NotAuthorized(f"join token {token.token_id} was used already: it admits one node; make another")
            used = replace(token, used_ms=self._clock())
            self._store.mark_token(token.token_id, used_ms=used.used_ms)
            self._by_hash[token.sha256] = used
        return self.issue(NODE, name=node)[1]

    def revoke(self, token_id: str) -> Token:
        """Revoke a token; raise NotFound."""
        with self._lock:
            for token in self._by_hash.values():
                if token.token_id == token_id:
                    revoked = replace(token, revoked_ms=token.revoked_ms or self._clock())
                    self._store.mark_token(token_id, revoked_ms=revoked.revoked_ms)
                    self._by_hash[token.sha256] = revoked
                    return revoked
        raise NotFound(f"there is no token {token_id[:64]}")

    def list(self) -> list[Token]:
        """Return every token, oldest first, with its last use."""
        tokens = sorted(self._by_hash.values(), key=lambda token: (token.created_ms, token.token_id))
        return [replace(token, used_ms=self._used_ms.get(token.token_id, token.used_ms)) for token in tokens]

    def tend(self) -> None:
        """Store the last uses: in one go, for a commit at each use would cost more than the use."""
        unstored, self._unstored = self._unstored, set()
        self._store.note_token_uses({token_id: self._used_ms[token_id] for token_id in list(unstored)})
