"""Whoever asks something of the broker, once it is known who that is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Principal:
    """Somebody with a role."""

    role: str
    #: Whose slices it asks for; for the role tenant, the only ones it sees.
    tenant: str
    name: str
    #: What it proved who it is with, as the audit log names it: "token 12ab", "session 34cd".
    credential: str
    token_id: str = ""
    user_id: str = ""
    session_id: str = ""
    #: Whether it may look and change nothing.
    is_read_only: bool = False
    #: Whether it has to choose a password before anything else.
    must_change: bool = False
    expires_ms: int | None = None
