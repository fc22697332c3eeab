"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "artifacts",
        sa.Column("id", KEY, nullable=False),
        sa.Column("uid", TEXT, nullable=False),
        sa.Column("project", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("partition", TEXT, server_default=sa.text("''"), nullable=False),
        sa.Column("type", TEXT, nullable=False),
        sa.Column("description", TEXT, server_default=sa.text("''"), nullable=False),
        sa.Column("tags", TEXT, server_default=sa.text("'[]'"), nullable=False),
        sa.Column("next_number", KEY, server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", KEY, nullable=False),
        sa.Column("updated_at", KEY, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_artifacts"),
        sa.UniqueConstraint("project", "name", "partition", name="uq_artifacts_project_name_partition"),
        sa.UniqueConstraint("uid", name="uq_artifacts_uid"),
    )
    op.create_table(
        "consumers",
        sa.Column("name", TEXT, nullable=False),
        sa.Column("cursor", KEY, nullable=False),
        sa.Column("updated_at", KEY, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_consumers"),
    )
    op.create_table(
        "leases",
        sa.Column("id", KEY, nullable=False),
        sa.Column("uid", TEXT, nullable=False),
        sa.Column("owner", TEXT, nullable=False),
        sa.Column("until", KEY, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_leases"),
        sa.UniqueConstraint("uid", name="uq_leases_uid"),
    )
    op.create_table(
        "manifest",
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("page", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("root", "page", name="pk_manifest"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_manifest_page", "manifest", ["page"], unique=False)
    op.create_table(
        "packs",
        sa.Column("id", KEY, nullable=False),
        sa.Column("uid", TEXT, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("size", KEY, server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", KEY, nullable=False),
        sa.Column("changed_at", KEY, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_packs"),
        sa.UniqueConstraint("key", name="uq_packs_key"),
        sa.UniqueConstraint("uid", name="uq_packs_uid"),
    )
    op.create_index("ix_packs_state_id", "packs", ["state", "id"], unique=False)
    op.create_table(
        "runs",
        sa.Column("id", KEY, nullable=False),
        sa.Column("uid", TEXT, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("attempt", KEY, nullable=False),
        sa.Column("project", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("grp", TEXT, nullable=True),
        sa.Column("parent", TEXT, nullable=True),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("config", TEXT, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("summary", TEXT, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("links", TEXT, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("code", TEXT, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("actor", TEXT, nullable=False),
        sa.Column("host", TEXT, server_default=sa.text("''"), nullable=False),
        sa.Column("pid", KEY, server_default=sa.text("0"), nullable=False),
        sa.Column("error", TEXT, nullable=True),
        sa.Column("fence", KEY, server_default=sa.text("0"), nullable=False),
        sa.Column("started_at", KEY, nullable=False),
        sa.Column("finished_at", KEY, nullable=True),
        sa.Column("lease_until", KEY, nullable=False),
        sa.Column("cached_from", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sa.UniqueConstraint("key", "attempt", name="uq_runs_key_attempt"),
        sa.UniqueConstraint("uid", name="uq_runs_uid"),
    )
    op.create_index("ix_runs_grp", "runs", ["grp"], unique=False)
    op.create_index("ix_runs_parent", "runs", ["parent"], unique=False)
    op.create_index("ix_runs_project", "runs", ["project"], unique=False)
    op.create_index(
        "ix_runs_running",
        "runs",
        ["lease_until"],
        unique=False,
        sqlite_where=sa.text("state = 'running'"),
        postgresql_where=sa.text("state = 'running'"),
    )
    op.create_table(
        "settings",
        sa.Column("key", TEXT, nullable=False),
        sa.Column("value", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_settings"),
    )
    op.create_table(
        "artifact_tags",
        sa.Column("artifact", KEY, autoincrement=False, nullable=False),
        sa.Column("tag", TEXT, nullable=False),
        sa.ForeignKeyConstraint(["artifact"], ["artifacts.id"], name="fk_artifact_tags_artifact"),
        sa.PrimaryKeyConstraint("artifact", "tag", name="pk_artifact_tags"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "blobs",
        sa.Column("name", sa.LargeBinary(), nullable=False),
        sa.Column("pack", KEY, autoincrement=False, nullable=False),
        sa.Column("offset_", KEY, nullable=False),
        sa.Column("stored", KEY, nullable=False),
        sa.Column("raw", KEY, nullable=False),
        sa.Column("compression", sa.SmallInteger(), nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.ForeignKeyConstraint(["pack"], ["packs.id"], name="fk_blobs_pack"),
        sa.PrimaryKeyConstraint("name", "pack", name="pk_blobs"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_blobs_pack", "blobs", ["pack"], unique=False)
    op.create_table(
        "holds",
        sa.Column("lease", KEY, autoincrement=False, nullable=False),
        sa.Column("pack", KEY, autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["lease"], ["leases.id"], name="fk_holds_lease"),
        sa.ForeignKeyConstraint(["pack"], ["packs.id"], name="fk_holds_pack"),
        sa.PrimaryKeyConstraint("lease", "pack", name="pk_holds"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_holds_pack", "holds", ["pack"], unique=False)
    op.create_table(
        "proofs",
        sa.Column("name", sa.LargeBinary(), nullable=False),
        sa.Column("pack", KEY, autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["pack"], ["packs.id"], name="fk_proofs_pack"),
        sa.PrimaryKeyConstraint("name", "pack", name="pk_proofs"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_proofs_pack", "proofs", ["pack"], unique=False)
    op.create_table(
        "run_facts",
        sa.Column("run", KEY, autoincrement=False, nullable=False),
        sa.Column("path", TEXT, nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("num", sa.Double(), nullable=True),
        sa.Column("text", TEXT, nullable=True),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name="fk_run_facts_run"),
        sa.PrimaryKeyConstraint("run", "path", "seq", name="pk_run_facts"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_run_facts_path_num", "run_facts", ["path", "num"], unique=False)
    op.create_index("ix_run_facts_path_text", "run_facts", ["path", "text"], unique=False)
    op.create_table(
        "versions",
        sa.Column("id", KEY, nullable=False),
        sa.Column("uid", TEXT, nullable=False),
        sa.Column("artifact", KEY, nullable=False),
        sa.Column("number", KEY, nullable=True),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("n_entries", KEY, nullable=False),
        sa.Column("stored_size", KEY, nullable=False),
        sa.Column("referenced_size", KEY, nullable=True),
        sa.Column("codec", TEXT, nullable=True),
        sa.Column("metadata", TEXT, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("description", TEXT, server_default=sa.text("''"), nullable=False),
        sa.Column("tags", TEXT, server_default=sa.text("'[]'"), nullable=False),
        sa.Column("revision", KEY, server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", KEY, nullable=False),
        sa.Column("created_by", TEXT, nullable=False),
        sa.Column("run", KEY, nullable=True),
        sa.Column("published_at", KEY, nullable=True),
        sa.Column("expires_at", KEY, nullable=True),
        sa.Column("deleted_at", KEY, nullable=True),
        sa.Column("deleted_by", TEXT, nullable=True),
        sa.Column("pending_aliases", TEXT, server_default=sa.text("'[]'"), nullable=False),
        sa.Column("became", KEY, nullable=True),
        sa.ForeignKeyConstraint(["artifact"], ["artifacts.id"], name="fk_versions_artifact"),
        sa.ForeignKeyConstraint(["became"], ["versions.id"], name="fk_versions_became"),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name="fk_versions_run"),
        sa.PrimaryKeyConstraint("id", name="pk_versions"),
        sa.UniqueConstraint("artifact", "number", name="uq_versions_artifact_number"),
        sa.UniqueConstraint("uid", name="uq_versions_uid"),
    )
    op.create_index("ix_versions_artifact_root", "versions", ["artifact", "root"], unique=False)
    op.create_index(
        "ix_versions_drafts",
        "versions",
        ["expires_at"],
        unique=False,
        sqlite_where=sa.text("state = 'draft'"),
        postgresql_where=sa.text("state = 'draft'"),
    )
    op.create_index(
        "ix_versions_newest",
        "versions",
        ["artifact", "number"],
        unique=False,
        sqlite_where=sa.text("state = 'published'"),
        postgresql_where=sa.text("state = 'published'"),
    )
    op.create_index("ix_versions_root", "versions", ["root"], unique=False)
    op.create_index("ix_versions_run", "versions", ["run"], unique=False)
    op.create_table(
        "aliases",
        sa.Column("artifact", KEY, autoincrement=False, nullable=False),
        sa.Column("alias", TEXT, nullable=False),
        sa.Column("version", KEY, nullable=False),
        sa.ForeignKeyConstraint(["artifact"], ["artifacts.id"], name="fk_aliases_artifact"),
        sa.ForeignKeyConstraint(["version"], ["versions.id"], name="fk_aliases_version"),
        sa.PrimaryKeyConstraint("artifact", "alias", name="pk_aliases"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_aliases_version", "aliases", ["version"], unique=False)
    op.create_table(
        "derivations",
        sa.Column("version", KEY, autoincrement=False, nullable=False),
        sa.Column("source", KEY, autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["source"], ["versions.id"], name="fk_derivations_source"),
        sa.ForeignKeyConstraint(["version"], ["versions.id"], name="fk_derivations_version"),
        sa.PrimaryKeyConstraint("version", "source", name="pk_derivations"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_derivations_source_version", "derivations", ["source", "version"], unique=False)
    op.create_table(
        "events",
        sa.Column("cursor", KEY, autoincrement=False, nullable=False),
        sa.Column("at", KEY, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("project", TEXT, nullable=False),
        sa.Column("artifact", KEY, nullable=True),
        sa.Column("version", KEY, nullable=True),
        sa.Column("run", TEXT, nullable=True),
        sa.Column("actor", TEXT, nullable=False),
        sa.Column("label", TEXT, server_default=sa.text("''"), nullable=False),
        sa.Column("details", TEXT, server_default=sa.text("'{}'"), nullable=False),
        sa.ForeignKeyConstraint(["artifact"], ["artifacts.id"], name="fk_events_artifact"),
        sa.ForeignKeyConstraint(["version"], ["versions.id"], name="fk_events_version"),
        sa.PrimaryKeyConstraint("cursor", name="pk_events"),
    )
    op.create_index("ix_events_artifact_label_cursor", "events", ["artifact", "label", "cursor"], unique=False)
    op.create_index("ix_events_version_cursor", "events", ["version", "cursor"], unique=False)
    op.create_table(
        "group_names",
        sa.Column("grp", TEXT, nullable=False),
        sa.Column("artifact", KEY, autoincrement=False, nullable=False),
        sa.Column("selector", TEXT, nullable=False),
        sa.Column("version", KEY, nullable=False),
        sa.Column("how", TEXT, nullable=False),
        sa.ForeignKeyConstraint(["artifact"], ["artifacts.id"], name="fk_group_names_artifact"),
        sa.ForeignKeyConstraint(["version"], ["versions.id"], name="fk_group_names_version"),
        sa.PrimaryKeyConstraint("grp", "artifact", "selector", name="pk_group_names"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_group_names_version", "group_names", ["version"], unique=False)
    op.create_table(
        "logs",
        sa.Column("run", KEY, autoincrement=False, nullable=False),
        sa.Column("version", KEY, autoincrement=False, nullable=False),
        sa.Column("role", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("fence", KEY, server_default=sa.text("0"), nullable=False),
        sa.Column("at", KEY, nullable=False),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name="fk_logs_run"),
        sa.ForeignKeyConstraint(["version"], ["versions.id"], name="fk_logs_version"),
        sa.PrimaryKeyConstraint("run", "version", "role", name="pk_logs"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_logs_version_run", "logs", ["version", "run"], unique=False)
    op.create_index(
        "uq_logs_created",
        "logs",
        ["version"],
        unique=True,
        sqlite_where=sa.text("kind = 'created'"),
        postgresql_where=sa.text("kind = 'created'"),
    )
    op.create_table(
        "reproductions",
        sa.Column("uid", TEXT, nullable=False),
        sa.Column("version", KEY, nullable=False),
        sa.ForeignKeyConstraint(["version"], ["versions.id"], name="fk_reproductions_version"),
        sa.PrimaryKeyConstraint("uid", name="pk_reproductions"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "uses",
        sa.Column("run", KEY, autoincrement=False, nullable=False),
        sa.Column("version", KEY, autoincrement=False, nullable=False),
        sa.Column("role", TEXT, nullable=False),
        sa.Column("asked", TEXT, nullable=False),
        sa.Column("at", KEY, nullable=False),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name="fk_uses_run"),
        sa.ForeignKeyConstraint(["version"], ["versions.id"], name="fk_uses_version"),
        sa.PrimaryKeyConstraint("run", "version", "role", name="pk_uses"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_uses_version_run", "uses", ["version", "run"], unique=False)
    op.create_table(
        "version_facts",
        sa.Column("version", KEY, autoincrement=False, nullable=False),
        sa.Column("path", TEXT, nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("num", sa.Double(), nullable=True),
        sa.Column("text", TEXT, nullable=True),
        sa.ForeignKeyConstraint(["version"], ["versions.id"], name="fk_version_facts_version"),
        sa.PrimaryKeyConstraint("version", "path", "seq", name="pk_version_facts"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_version_facts_path_num", "version_facts", ["path", "num"], unique=False)
    op.create_index("ix_version_facts_path_text", "version_facts", ["path", "text"], unique=False)
