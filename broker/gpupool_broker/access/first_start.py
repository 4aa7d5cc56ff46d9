"""What a broker makes at its very first start: the admin's token, and the user admin with a one-time password.

Each is shown once, or written where only its owner can read it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from gpupool_broker.access.desks import Desks
from gpupool_broker.access.roles import ADMIN
from gpupool_broker.store.audit import AuditEntry

NAME: Final = "admin"


def make_first(desks: Desks, token_file: Path | None, password_file: Path | None) -> None:
    """Make what is not there yet. A password file goes once its password was changed."""
    if not any(token.role == ADMIN for token in desks.tokens.list()):
        token, secret = desks.tokens.issue(ADMIN, name="first admin")
        _hand_over(secret, token_file, f"The admin token, shown this once:\n\n    {secret}\n\nUse it as GPUPOOL_TOKEN.")
        _note(desks, "tokens.issue", token.token_id)
    if not desks.users.list():
        user, password = desks.users.create(NAME, ADMIN)
        words = (
            f"The one-time password of the user {NAME}, shown this once:\n\n    {password}\n\nSign in to the web page with it."
        )
        _hand_over(password, password_file, words)
        _note(desks, "users.create", user.name)
    elif password_file is not None and not any(user.name == NAME and user.must_change for user in desks.users.list()):
        password_file.unlink(missing_ok=True)


def _hand_over(secret: str, file: Path | None, words: str) -> None:
    if file is None:
        print(words, flush=True)
        return
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as opened:
        opened.write(secret + "\n")


def _note(desks: Desks, action: str, target: str) -> None:
    entry = AuditEntry(at_ms=desks.clock(), who="the broker", action=action, target=target, remark="at its first start")
    desks.audit.record(entry)
