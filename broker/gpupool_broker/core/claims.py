"""Which role and tenant somebody gets for what a provider says of them. The first rule that holds decides; no rule, no entry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class RoleRule:
    """Whoever has `value` in `claim` gets `role`."""

    #: A name, or names with dots between them for what lies inside: "realm_access.roles".
    claim: str
    #: One that the claim is, or has among others; "*" where having the claim is enough.
    value: str
    role: str
    #: The tenant, for the role tenant; "" takes it from the tenant claim.
    tenant: str = ""


def role_of(claims: Mapping[str, Any], rules: Sequence[RoleRule], tenant_claim: str) -> tuple[str, str] | None:
    """Return role and tenant of somebody, None where no rule lets them in."""
    for rule in rules:
        values = _values(claims, rule.claim)
        if rule.value in values or (rule.value == "*" and values):
            return rule.role, rule.tenant or next(iter(_values(claims, tenant_claim)), "")
    return None


def _values(claims: Mapping[str, Any], name: str) -> list[str]:
    """Return what a claim says, as texts. A claim whose own name has dots, a URL say, goes before what lies inside another."""
    found: Any = claims.get(name)
    if found is None:
        found = claims
        for part in name.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
    return [one for one in (found if isinstance(found, list) else [found]) if isinstance(one, str) and one]
