"""What REST takes and gives of users, sessions, tokens, the audit log and settings."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from gpupool_broker.access.passwords import MAX_BYTES
from gpupool_broker.access.principal import Principal
from gpupool_broker.api.shapes import moment
from gpupool_broker.store.accounts import Session, User
from gpupool_broker.store.audit import AuditEntry
from gpupool_broker.store.sql import Token

Role = Literal["admin", "finance", "tenant"]
Text = Annotated[str, Field(max_length=512)]
#: Longer ones are refused before anything is worked out of them.
Password = Annotated[str, Field(max_length=MAX_BYTES)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class WhoAmI(BaseModel):
    """Who the credential of this request belongs to."""

    role: str
    tenant: str
    name: str
    #: "token" or "user".
    kind: str
    read_only: bool
    #: Whether nothing else is allowed before a password is chosen.
    must_change: bool
    expires_at: datetime | None


class TokenRequest(_Body):
    """Make a token."""

    role: Literal["admin", "finance", "tenant", "join"]
    tenant: Text = ""
    name: Text = ""
    expires_s: Annotated[int, Field(ge=1, le=10 * 365 * 86_400)] | None = None
    #: Whether it may look and change nothing.
    read_only: bool = False


class TokenShape(BaseModel):
    """A token, without the token."""

    id: str
    role: str
    tenant: str
    name: str
    created_at: datetime
    expires_at: datetime | None
    #: When it was used last; for a join token, when it was used up.
    used_at: datetime | None
    revoked_at: datetime | None
    read_only: bool
    made_by: str


class NewToken(TokenShape):
    """A token as it is shown once."""

    token: str


class UserRequest(_Body):
    """Make a user. It gets a one-time password."""

    name: Annotated[str, Field(min_length=1, max_length=128)]
    role: Role
    #: Whose slices a user of role tenant sees; whom those of an admin are billed to.
    tenant: Text = ""


class UserChange(_Body):
    """Change a user; what is left out stays as it is."""

    role: Role | None = None
    tenant: Text | None = None
    disabled: bool | None = None


class UserShape(BaseModel):
    """A user."""

    name: str
    role: str
    tenant: str
    #: "password", or "oidc" for one that a provider signs in.
    signs_in_with: str
    must_change: bool
    created_at: datetime
    used_at: datetime | None
    disabled_at: datetime | None
    sessions: int


class NewPassword(UserShape):
    """A user with the password that is shown once, and has to be changed at the first sign-in."""

    one_time_password: str


class SignInRequest(_Body):
    """Sign in: with name and password, or with a token."""

    name: Annotated[str, Field(max_length=512)] = ""
    password: Password = ""
    token: Annotated[str, Field(max_length=512)] = ""


class CodeRequest(_Body):
    """What a provider sent the browser back with."""

    code: Annotated[str, Field(max_length=4096)]
    state: Annotated[str, Field(max_length=512)]


class SignedIn(WhoAmI):
    """A session: its secret is shown this once, and sent as a token is."""

    session: str


class WayIn(BaseModel):
    """How people can sign in here, besides password and token."""

    #: The name of the OpenID provider; empty where there is none.
    oidc: str


class OidcStart(BaseModel):
    """Where to send a browser, and what it has to come back with."""

    url: str
    state: str


class PasswordChange(_Body):
    """Choose a password."""

    old: Password
    new: Password


class SessionShape(BaseModel):
    """One of your sessions."""

    id: str
    created_at: datetime
    used_at: datetime
    expires_at: datetime
    address: str
    is_this: bool


class Ended(BaseModel):
    """How many sessions were ended."""

    ended: int


class AuditShape(BaseModel):
    """An entry of the audit log."""

    seq: int
    at: datetime
    who: str
    role: str
    tenant: str
    credential: str
    address: str
    action: str
    target: str
    #: "done", or the code of the error it ended with.
    outcome: str
    remark: str
    before: JsonValue
    after: JsonValue


class SettingShape(BaseModel):
    """A setting."""

    name: str
    value: JsonValue
    default: JsonValue
    may_be: str
    help: str
    #: Whether an option of the broker holds instead of what is set here.
    fixed: bool
    changed_at: datetime | None
    changed_by: str


class SettingsChange(_Body):
    """Change settings. `expected` is what you believe they are: where one is not, nothing is changed."""

    values: Annotated[dict[Annotated[str, Field(max_length=64)], JsonValue], Field(max_length=64)]
    expected: Annotated[dict[Annotated[str, Field(max_length=64)], JsonValue], Field(max_length=64)] = {}


def _moment(ms: int | None) -> datetime | None:
    return None if ms is None else moment(ms)


def who_shape(who: Principal) -> dict[str, Any]:
    """Return the fields of WhoAmI."""
    return {
        "role": who.role,
        "tenant": who.tenant,
        "name": who.name,
        "kind": "user" if who.user_id else "token",
        "read_only": who.is_read_only,
        "must_change": who.must_change,
        "expires_at": _moment(who.expires_ms),
    }


def token_shape(token: Token) -> TokenShape:
    """Return a token as REST shows it."""
    return TokenShape(
        id=token.token_id,
        role=token.role,
        tenant=token.tenant,
        name=token.name,
        created_at=moment(token.created_ms),
        expires_at=_moment(token.expires_ms),
        used_at=_moment(token.used_ms),
        revoked_at=_moment(token.revoked_ms),
        read_only=token.read_only,
        made_by=token.made_by,
    )


def user_shape(user: User, sessions: int) -> UserShape:
    """Return a user as REST shows it."""
    return UserShape(
        name=user.name,
        role=user.role,
        tenant=user.tenant,
        signs_in_with="oidc" if user.subject else "password",
        must_change=user.must_change,
        created_at=moment(user.created_ms),
        used_at=_moment(user.used_ms),
        disabled_at=_moment(user.disabled_ms),
        sessions=sessions,
    )


def session_shape(session: Session, this: str) -> SessionShape:
    """Return a session as REST shows it to its owner."""
    return SessionShape(
        id=session.session_id,
        created_at=moment(session.created_ms),
        used_at=moment(session.used_ms),
        expires_at=moment(session.expires_ms),
        address=session.address,
        is_this=session.session_id == this,
    )


def audit_shape(entry: AuditEntry) -> AuditShape:
    """Return an entry as REST shows it."""
    return AuditShape(
        seq=entry.seq,
        at=moment(entry.at_ms),
        who=entry.who,
        role=entry.role,
        tenant=entry.tenant,
        credential=entry.credential,
        address=entry.address,
        action=entry.action,
        target=entry.target,
        outcome=entry.outcome,
        remark=entry.remark,
        before=_json(entry.before),
        after=_json(entry.after),
    )


def _json(text: str | None) -> Any:  # noqa: ANN401 - JSON
    try:
        return None if text is None else json.loads(text)
    except ValueError:
        return text  # cut, as it was very long
