"""The desks of one broker that know people and what they did, from start to stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gpupool_broker.access.audit import AuditDesk
from gpupool_broker.access.caretaker import Caretaker, Duty
from gpupool_broker.access.doorkeeper import Doorkeeper
from gpupool_broker.access.oidc import Provider
from gpupool_broker.access.passwords import Passwords
from gpupool_broker.access.sessions import SessionDesk
from gpupool_broker.access.settings import AUDIT_DAYS, SESSION_HOURS, SettingsDesk
from gpupool_broker.access.signing_in import SigningIn
from gpupool_broker.access.users import UserDesk
from gpupool_broker.store.sql import SqlStore
from gpupool_broker.tokens import TokenDesk

HOUR_MS: Final = 3_600_000
MINUTE_S: Final = 60
HOUR_S: Final = 3_600


@dataclass(frozen=True, kw_only=True, slots=True)
class Desks:
    """All of them."""

    clock: Callable[[], int]
    tokens: TokenDesk
    users: UserDesk
    sessions: SessionDesk
    signing_in: SigningIn
    doorkeeper: Doorkeeper
    audit: AuditDesk
    settings: SettingsDesk
    caretaker: Caretaker
    #: None where nobody but the broker signs people in.
    provider: Provider | None = None


def open_desks(store: SqlStore, clock: Callable[[], int], fixed: Mapping[str, Any], provider: Provider | None = None) -> Desks:
    """Return the desks of a store. `clock` is best a SteadyClock; `fixed` are settings that hold whatever was set."""
    settings = SettingsDesk(store.settings, clock, fixed)
    audit = AuditDesk(store.audit)
    tokens = TokenDesk(store, clock)
    users = UserDesk(store.accounts, Passwords(), clock)
    sessions = SessionDesk(store.accounts, clock, lambda: int(settings.get(SESSION_HOURS)) * HOUR_MS)
    duties: list[Duty] = [
        (audit.flush, 1),
        (tokens.tend, MINUTE_S),
        (sessions.tend, MINUTE_S),
        (lambda: audit.drop_old(clock(), settings.get(AUDIT_DAYS)), HOUR_S),
    ]
    return Desks(
        clock=clock,
        tokens=tokens,
        users=users,
        sessions=sessions,
        signing_in=SigningIn(users, tokens, sessions, audit, clock),
        doorkeeper=Doorkeeper(tokens, users, sessions),
        audit=audit,
        settings=settings,
        caretaker=Caretaker(duties),
        provider=provider,
    )
