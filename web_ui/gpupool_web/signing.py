"""One-time tickets for the owner of this machine's pool, and the secret that the pages' own cookie is signed with."""

from __future__ import annotations

import os
import secrets
import threading
from pathlib import Path

#: What is kept of the viewer beside the session, for the navigation alone.
ROLE, TENANT, NAME = "role", "tenant", "name"


class Tickets:
    """One-time tickets that sign the owner of this machine's pool in without typing a token. Thread-safe."""

    def __init__(self) -> None:
        self._tokens: dict[str, str] = {}
        self._lock = threading.Lock()

    def issue(self, token: str) -> str:
        """Return a ticket for a token."""
        ticket = secrets.token_urlsafe(24)
        with self._lock:
            self._tokens[ticket] = token
        return ticket

    def redeem(self, ticket: str) -> str | None:
        """Return the ticket's token, the first time; None afterwards and for what is no ticket."""
        with self._lock:
            return self._tokens.pop(ticket, None)


def cookie_secret(folder: Path) -> str:
    """Return the secret that session cookies are signed with; made once, readable by its owner alone."""
    path = folder / "cookie.secret"
    if path.exists():
        return path.read_text("utf-8").strip()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    secret = secrets.token_urlsafe(32)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secret)
    return secret
