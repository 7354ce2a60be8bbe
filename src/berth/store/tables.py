"""The database's tables as this version of Berth reads them; `migrations` make them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

# Oldest first. The last one is what this version reads.
REVISIONS = ("0001", "0002")

metadata = MetaData()

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(100), nullable=False),
    Column("note", Text, nullable=False),
    Column("role", String(16), nullable=False),
    Column("models", Text),  # a JSON list; NULL: every model
    Column("requests_per_minute", Integer),
    Column("concurrent", Integer),
    Column("dialect", String(32)),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    Column("rotated_at", BigInteger),
    Column("last_used_at", BigInteger),
    CheckConstraint("role IN ('user', 'admin')", name="api_keys_role"),
)
# The name of a revoked key is free for another one.
Index(
    "api_keys_name",
    api_keys.c.name,
    unique=True,
    sqlite_where=api_keys.c.revoked_at.is_(None),
    postgresql_where=api_keys.c.revoked_at.is_(None),
)

api_key_secrets = Table(
    "api_key_secrets",
    metadata,
    Column("digest", LargeBinary(32), primary_key=True),  # SHA-256
    Column("key_id", String(32), ForeignKey("api_keys.id"), nullable=False, index=True),
    Column("hint", String(32), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("valid_until", BigInteger),
)

sessions = Table(
    "sessions",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("owner", String(32), nullable=False),  # a key's id; empty: no key of the database
    Column("id", String(200), nullable=False),
    Column("name", Text, nullable=False),
    Column("exchanges", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    UniqueConstraint("owner", "id", name="sessions_owner_id"),
)

session_exchanges = Table(
    "session_exchanges",
    metadata,
    Column("session", Integer, ForeignKey("sessions.number"), primary_key=True),
    Column("place", Integer, primary_key=True),  # in its session, from 1
    Column("asked", Text, nullable=False),
    Column("answered", Text, nullable=False),
    Column("tokens", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

# How often something changed, so that a server need not read it all to know that nothing did.
store_versions = Table(
    "store_versions",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", BigInteger, nullable=False),
)
