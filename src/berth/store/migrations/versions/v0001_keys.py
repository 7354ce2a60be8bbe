"""API keys, their secrets, and the counter of their changes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("models", sa.Text),
        sa.Column("requests_per_minute", sa.Integer),
        sa.Column("concurrent", sa.Integer),
        sa.Column("dialect", sa.String(32)),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("revoked_at", sa.BigInteger),
        sa.Column("rotated_at", sa.BigInteger),
        sa.Column("last_used_at", sa.BigInteger),
        sa.CheckConstraint("role IN ('user', 'admin')", name="api_keys_role"),
    )
    not_revoked = sa.text("revoked_at IS NULL")
    op.create_index(
        "api_keys_name",
        "api_keys",
        ["name"],
        unique=True,
        sqlite_where=not_revoked,
        postgresql_where=not_revoked,
    )
    op.create_table(
        "api_key_secrets",
        sa.Column("digest", sa.LargeBinary(32), primary_key=True),
        sa.Column("key_id", sa.String(32), sa.ForeignKey("api_keys.id"), nullable=False),
        sa.Column("hint", sa.String(32), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("valid_until", sa.BigInteger),
    )
    op.create_index("ix_api_key_secrets_key_id", "api_key_secrets", ["key_id"])
    versions = op.create_table(
        "store_versions",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(versions, [{"name": "keys", "value": 0}])


def downgrade() -> None:
    op.drop_table("store_versions")
    op.drop_table("api_key_secrets")
    op.drop_table("api_keys")
