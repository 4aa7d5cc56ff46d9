"""The tables. Every statement on them stands in this package."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, String, Table

metadata = MetaData()
#: SQLite counts only INTEGER primary keys by itself; PostgreSQL wants the 64 bits said.
_Seq = BigInteger().with_variant(Integer, "sqlite")

#: One record a fact, in the order of `records.Record`.
journal = Table(
    "journal",
    metadata,
    Column("seq", _Seq, primary_key=True, autoincrement=False),
    Column("schema_version", Integer, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("slice_id", String(512)),
    Column("record", LargeBinary, nullable=False),
    Column("size", Integer, nullable=False),
    Column("crc", BigInteger, nullable=False),
    Index("journal_by_slice", "slice_id"),
)
tokens = Table(
    "tokens",
    metadata,
    Column("token_id", String(64), primary_key=True),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("role", String(16), nullable=False),
    Column("tenant", String(512), nullable=False),
    Column("name", String(512), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger),
    Column("used_ms", BigInteger),
    Column("revoked_ms", BigInteger),
    #: 1 where it may look and change nothing.
    Column("read_only", Integer, nullable=False, server_default="0"),
    Column("made_by", String(512), nullable=False, server_default=""),
)
#: One row an hour of the clock: what stands in the journal for the use that was told in it (`folds.Fold`).
folded_use = Table(
    "folded_use",
    metadata,
    Column("first_seq", _Seq, primary_key=True, autoincrement=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("crc", BigInteger, nullable=False),
    Column("clock_ms", BigInteger, nullable=False),
    Column("open_quarter", BigInteger, nullable=False),
    Column("record", LargeBinary, nullable=False),
    Column("record_crc", BigInteger, nullable=False),
    #: 1 once the records it stands for are gone.
    Column("is_swept", Integer, nullable=False),
)
#: Written when all pieces are there.
snapshots = Table(
    "snapshots",
    metadata,
    #: The last record whose fact is in it, and that record's checksum.
    Column("seq", _Seq, primary_key=True, autoincrement=False),
    Column("crc", BigInteger, nullable=False),
    Column("shape", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("data_crc", BigInteger, nullable=False),
)
snapshot_pieces = Table(
    "snapshot_pieces",
    metadata,
    Column("seq", _Seq, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)
#: What the brokers of one database share and nobody else may know.
keys = Table(
    "keys",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", LargeBinary, nullable=False),
)
