"""The tables of access: users, sessions, the audit log, settings. Statements stand in `accounts`, `audit` and `settings`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, Text

from gpupool_broker.store.tables import metadata

users = Table(
    "users",
    metadata,
    Column("user_id", String(64), primary_key=True),
    Column("name", String(512), nullable=False, unique=True),
    Column("role", String(16), nullable=False),
    Column("tenant", String(512), nullable=False),
    #: argon2id in its own notation; "" for those that a provider signs in.
    Column("password", String(512), nullable=False),
    Column("must_change", Integer, nullable=False),
    #: Issuer and subject of an OpenID provider; "" for those with a password.
    Column("subject", String(1024), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("used_ms", BigInteger),
    Column("disabled_ms", BigInteger),
)
sessions = Table(
    "sessions",
    metadata,
    Column("session_id", String(64), primary_key=True),
    Column("sha256", String(64), nullable=False, unique=True),
    #: Whose it is: a user's, or a token's that was signed in with; the other is "".
    Column("user_id", String(64), nullable=False),
    Column("token_id", String(64), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("used_ms", BigInteger, nullable=False),
    Column("address", String(64), nullable=False),
)
#: One row a change, or an attempt at one; numbered without gaps.
audit = Table(
    "audit",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("who", String(512), nullable=False),
    Column("role", String(16), nullable=False),
    Column("tenant", String(512), nullable=False),
    Column("credential", String(128), nullable=False),
    Column("address", String(64), nullable=False),
    Column("action", String(64), nullable=False),
    Column("target", String(512), nullable=False),
    Column("outcome", String(64), nullable=False),
    Column("remark", Text, nullable=False),
    #: JSON, of what was changed; NULL where there was nothing.
    Column("before", Text),
    Column("after", Text),
    Index("audit_by_time", "at_ms"),
)
settings = Table(
    "settings",
    metadata,
    Column("name", String(64), primary_key=True),
    #: JSON.
    Column("value", Text, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
    Column("changed_by", String(512), nullable=False),
)
