"""Drafts that several writers extend."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "joins",
        sa.Column("id", KEY, nullable=False),
        sa.Column("artifact", KEY, nullable=False),
        sa.Column("grp", TEXT, nullable=False),
        sa.Column("version", KEY, nullable=False),
        sa.Column("expected", KEY, nullable=True),
        sa.Column("revision", KEY, server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(["artifact"], ["artifacts.id"], name="fk_joins_artifact"),
        sa.ForeignKeyConstraint(["version"], ["versions.id"], name="fk_joins_version"),
        sa.PrimaryKeyConstraint("id", name="pk_joins"),
        sa.UniqueConstraint("artifact", "grp", name="uq_joins_artifact_grp"),
    )
    op.create_index("ix_joins_version", "joins", ["version"], unique=False)
    op.create_table(
        "join_parts",
        sa.Column("joint", KEY, autoincrement=False, nullable=False),
        sa.Column("writer", TEXT, nullable=False),
        sa.Column("version", KEY, nullable=False),
        sa.Column("attempt", KEY, nullable=False),
        sa.Column("fence", KEY, nullable=False),
        sa.Column("at", KEY, nullable=False),
        sa.ForeignKeyConstraint(["joint"], ["joins.id"], name="fk_join_parts_joint"),
        sa.ForeignKeyConstraint(["version"], ["versions.id"], name="fk_join_parts_version"),
        sa.PrimaryKeyConstraint("joint", "writer", name="pk_join_parts"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_join_parts_version", "join_parts", ["version"], unique=False)
