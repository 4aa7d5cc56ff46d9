"""The roles people have, and which names they and tenants may have."""

from __future__ import annotations

import unicodedata
from typing import Final

from gpupool_wire.errors import UsageError
from gpupool_wire.limits import MAX_NAME_CHARS

ADMIN, FINANCE, TENANT = "admin", "finance", "tenant"
#: What users can be; tokens can be for nodes, too.
ROLES: Final = (ADMIN, FINANCE, TENANT)
#: Of a user's name: it stands in tables and logs.
MAX_USER_CHARS: Final = 128


def check_user_name(name: str) -> str:
    """Return a name as it is kept; raise UsageError where it cannot be one.

    Any script and sign is fine, also `<`: whoever shows a name shows it as text. What cannot be seen or typed is not.
    """
    name = unicodedata.normalize("NFC", name)
    if not 1 <= len(name) <= MAX_USER_CHARS or name != name.strip() or not name.isprintable() or "/" in name:
        raise UsageError(
            f"a user's name has 1 to {MAX_USER_CHARS} characters that can be seen, no / and no space at its ends, "
            f"not {name[:64]!a}"
        )
    return name


def check_label(text: str, what: str) -> str:
    """Return the name of a tenant or token; raise UsageError for signs that cannot be seen (line ends, NUL)."""
    if len(text) > MAX_NAME_CHARS or not text.isprintable():
        raise UsageError(f"the {what} has at most {MAX_NAME_CHARS} characters, all of which can be seen, not {text[:64]!a}")
    return text


def key_of(name: str) -> str:
    """Return what two names have in common that nobody could tell apart when they are read out."""
    return unicodedata.normalize("NFKC", name).casefold()


def tenant_of(role: str, tenant: str, default: str) -> str:
    """Return the tenant of somebody with a role; raise UsageError where it must be named and is not."""
    if role == TENANT and not tenant:
        raise UsageError("the role tenant needs the tenant's name")
    return check_label(tenant, "tenant's name") or default
