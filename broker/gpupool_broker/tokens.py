"""Who is who: tokens and node credentials, kept as hashes.

A token is 256 random bits, so a plain SHA-256 is enough to keep it: there is nothing to guess (argon2 is for passwords).
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable
from dataclasses import replace

from gpupool_broker.store.sql import SqlStore, Token
from gpupool_wire.errors import NotAuthorized, NotFound, UsageError

ADMIN, FINANCE, TENANT, JOIN, NODE = "admin", "finance", "tenant", "join", "node"
#: Roles people can make tokens of; node credentials are made by the broker alone.
ROLES = (ADMIN, FINANCE, TENANT, JOIN)
#: The tenant an admin's own slices belong to.
DEFAULT_TENANT = "default"
#: A join token is meant to be used at once.
JOIN_EXPIRES_S = 24 * 3600


def hash_of(token: str) -> str:
    """Return what is kept of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


class TokenDesk:
    """Makes, checks and revokes tokens. Thread-safe."""

    def __init__(self, store: SqlStore, wall_ms: Callable[[], int]) -> None:
        self._store = store
        self._wall_ms = wall_ms
        self._lock = threading.Lock()
        self._by_hash = {token.sha256: token for token in store.all_tokens()}

    def issue(self, role: str, *, tenant: str = "", name: str = "", expires_s: int | None = None) -> tuple[Token, str]:
        """Make a token; return its record and the token itself, which is nowhere kept."""
        if role == TENANT and not tenant:
            raise UsageError("a tenant's token needs the tenant's name")
        if role == JOIN and expires_s is None:
            expires_s = JOIN_EXPIRES_S
        secret = f"gpp_{role}_{secrets.token_urlsafe(32)}"
        now = self._wall_ms()
        token = Token(
            token_id=secrets.token_hex(8),
            sha256=hash_of(secret),
            role=role,
            tenant=tenant or DEFAULT_TENANT,
            name=name,
            created_ms=now,
            expires_ms=None if expires_s is None else now + expires_s * 1000,
        )
        with self._lock:
            self._store.add_token(token)
            self._by_hash[token.sha256] = token
        return token, secret

    def check(self, secret: str, *roles: str) -> Token:
        """Return the record of a valid token of one of `roles`; raise NotAuthorized."""
        token = self._by_hash.get(hash_of(secret))
        if token is None:
            raise NotAuthorized("the token is not known here: check GPUPOOL_TOKEN, or ask an admin for a new one")
        if token.revoked_ms is not None:
            raise NotAuthorized(f"token {token.token_id} was revoked")
        if token.expires_ms is not None and self._wall_ms() >= token.expires_ms:
            raise NotAuthorized(f"token {token.token_id} has expired")
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
            used = replace(token, used_ms=self._wall_ms())
            self._store.mark_token(token.token_id, used_ms=used.used_ms)
            self._by_hash[token.sha256] = used
        return self.issue(NODE, name=node)[1]

    def revoke(self, token_id: str) -> Token:
        """Revoke a token; raise NotFound."""
        with self._lock:
            for token in self._by_hash.values():
                if token.token_id == token_id:
                    revoked = replace(token, revoked_ms=token.revoked_ms or self._wall_ms())
                    self._store.mark_token(token_id, revoked_ms=revoked.revoked_ms)
                    self._by_hash[token.sha256] = revoked
                    return revoked
        raise NotFound(f"there is no token {token_id[:64]}")

    def list(self) -> list[Token]:
        """Return every token, oldest first."""
        return sorted(self._by_hash.values(), key=lambda token: (token.created_ms, token.token_id))
