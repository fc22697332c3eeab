"""The schema, once, for SQLite and PostgreSQL.

Integer keys inside, public text ids (`uid`) outside. Times are microseconds
since 1970 UTC, on the database's clock. JSON is kept as text, exactly as given,
and its leaves once more in the `*_facts` tables, typed and indexed, so that a
search means the same on every database and never parses JSON in SQL.

Text on PostgreSQL has collation "C": compared by code point, as in SQLite and Python.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects import postgresql

try:
    from sqlalchemy import Double
except ImportError:  # SQLAlchemy 1.4, beside Airflow 3.0, where the catalog is SQLite's
    from headwater.catalog.older import Double  # type: ignore[assignment]

SCHEMA = "0002"
"""The newest migration; what `create` makes."""
WRITER = 1
"""What this code writes; a catalog whose `min_writer` is higher refuses its commits."""
READER = 1
"""What this code reads; a catalog whose `min_reader` is higher is not opened."""

_KEY = BigInteger().with_variant(Integer, "sqlite")  # only INTEGER is a rowid in SQLite
_TEXT = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id() -> Column[int]:
    return Column("id", _KEY, primary_key=True)


def _uid() -> Column[str]:
    return Column("uid", _TEXT, nullable=False, unique=True)


def _text(name: str, default: str | None = None) -> Column[str]:
    return Column(name, _TEXT, nullable=False, server_default=None if default is None else text(f"'{default}'"))


def _maybe(name: str) -> Column[str]:
    return Column(name, _TEXT, nullable=True)


def _int(name: str, default: int | None = None) -> Column[int]:
    return Column(name, _KEY, nullable=False, server_default=None if default is None else text(str(default)))


def _maybe_int(name: str) -> Column[int]:
    return Column(name, _KEY, nullable=True)


def _name() -> Column[bytes]:
    return Column("name", LargeBinary, primary_key=True)


def _part(name: str, to: str) -> Column[int]:
    """A foreign key that is part of the primary key."""
    return Column(name, _KEY, ForeignKey(f"{to}.id"), primary_key=True, autoincrement=False)


def _link(name: str, to: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, _KEY, ForeignKey(f"{to}.id"), nullable=nullable)


settings = Table("settings", metadata, Column("key", _TEXT, primary_key=True), _text("value"))

artifacts = Table(
    "artifacts", metadata, _id(), _uid(),
    _text("project"), _text("name"), _text("partition", ""), _text("type"), _text("description", ""),
    _text("tags", "[]"), _int("next_number", 0), _int("created_at"), _int("updated_at"),
    UniqueConstraint("project", "name", "partition"),
)  # fmt: skip

artifact_tags = Table(
    "artifact_tags", metadata, _part("artifact", "artifacts"), Column("tag", _TEXT, primary_key=True),
    sqlite_with_rowid=False,
)  # fmt: skip

runs = Table(
    "runs", metadata, _id(), _uid(),
    _text("key"), _int("attempt"), _text("project"), _text("name"), _maybe("grp"), _maybe("parent"),
    _text("state"), _text("config", "{}"), _text("summary", "{}"), _text("links", "{}"), _text("code", "{}"),
    _text("actor"), _text("host", ""), _int("pid", 0), _maybe("error"), _int("fence", 0),
    _int("started_at"), _maybe_int("finished_at"), _int("lease_until"), _maybe("cached_from"),
    UniqueConstraint("key", "attempt"),
    Index(None, "grp"), Index(None, "project"), Index(None, "parent"),
)  # fmt: skip
# Few runs are running: what a sweep looks at stays small however long the history grows.
Index(
    "ix_runs_running", runs.c.lease_until,
    sqlite_where=text("state = 'running'"), postgresql_where=text("state = 'running'"),
)  # fmt: skip

versions = Table(
    "versions", metadata, _id(), _uid(),
    _link("artifact", "artifacts"), _maybe_int("number"), _text("state"),
    Column("root", LargeBinary, nullable=False),
    _int("n_entries"), _int("stored_size"), _maybe_int("referenced_size"), _maybe("codec"),
    _text("metadata", "{}"), _text("description", ""), _text("tags", "[]"), _int("revision", 0),
    _int("created_at"), _text("created_by"), _link("run", "runs", nullable=True), _maybe_int("published_at"),
    _maybe_int("expires_at"), _maybe_int("deleted_at"), _maybe("deleted_by"),
    _text("pending_aliases", "[]"),
    _link("became", "versions", nullable=True),  # of a draft that was published as an equal, older version
    UniqueConstraint("artifact", "number"),
    Index(None, "artifact", "root"), Index(None, "root"), Index(None, "run"),
)  # fmt: skip
Index(
    "ix_versions_newest", versions.c.artifact, versions.c.number,
    sqlite_where=text("state = 'published'"), postgresql_where=text("state = 'published'"),
)  # fmt: skip
Index(
    "ix_versions_drafts", versions.c.expires_at,
    sqlite_where=text("state = 'draft'"), postgresql_where=text("state = 'draft'"),
)  # fmt: skip

reproductions = Table(
    "reproductions", metadata, Column("uid", _TEXT, primary_key=True), _link("version", "versions"),
    sqlite_with_rowid=False,
)  # fmt: skip

aliases = Table(
    "aliases", metadata, _part("artifact", "artifacts"), Column("alias", _TEXT, primary_key=True),
    _link("version", "versions"), Index(None, "version"), sqlite_with_rowid=False,
)  # fmt: skip


def _facts(owner: str) -> Table:
    singular = owner.removesuffix("s")
    return Table(
        f"{singular}_facts", metadata, _part(singular, owner),
        Column("path", _TEXT, primary_key=True),
        Column("seq", Integer, primary_key=True, autoincrement=False),
        _text("kind"), Column("num", Double, nullable=True), _maybe("text"),
        Index(None, "path", "num"), Index(None, "path", "text"), sqlite_with_rowid=False,
    )  # fmt: skip


version_facts = _facts("versions")
run_facts = _facts("runs")

uses = Table(
    "uses", metadata, _part("run", "runs"), _part("version", "versions"),
    Column("role", _TEXT, primary_key=True), _text("asked"), _int("at"),
    Index(None, "version", "run"), sqlite_with_rowid=False,
)  # fmt: skip

logs = Table(
    "logs", metadata, _part("run", "runs"), _part("version", "versions"),
    Column("role", _TEXT, primary_key=True), _text("kind"), _int("fence", 0), _int("at"),
    Index(None, "version", "run"), sqlite_with_rowid=False,
)  # fmt: skip
Index(
    "uq_logs_created", logs.c.version, unique=True,
    sqlite_where=text("kind = 'created'"), postgresql_where=text("kind = 'created'"),
)  # fmt: skip

derivations = Table(
    "derivations", metadata, _part("version", "versions"), _part("source", "versions"),
    Index(None, "source", "version"), sqlite_with_rowid=False,
)  # fmt: skip

group_names = Table(
    "group_names", metadata, Column("grp", _TEXT, primary_key=True), _part("artifact", "artifacts"),
    Column("selector", _TEXT, primary_key=True), _link("version", "versions"), _text("how"),
    Index(None, "version"), sqlite_with_rowid=False,
)  # fmt: skip

joins = Table(
    "joins", metadata, _id(), _link("artifact", "artifacts"), _text("grp"), _link("version", "versions"),
    _maybe_int("expected"), _int("revision", 0), UniqueConstraint("artifact", "grp"), Index(None, "version"),
)  # fmt: skip

join_parts = Table(
    "join_parts", metadata, _part("joint", "joins"), Column("writer", _TEXT, primary_key=True),
    _link("version", "versions"), _int("attempt"), _int("fence"), _int("at"), Index(None, "version"),
    sqlite_with_rowid=False,
)  # fmt: skip

events = Table(
    "events", metadata,
    Column("cursor", _KEY, primary_key=True, autoincrement=False), _int("at"), _text("kind"), _text("project"),
    _link("artifact", "artifacts", nullable=True), _link("version", "versions", nullable=True),
    _maybe("run"), _text("actor"), _text("label", ""), _text("details", "{}"),
    Index(None, "artifact", "label", "cursor"), Index(None, "version", "cursor"),
)  # fmt: skip

consumers = Table(
    "consumers", metadata, Column("name", _TEXT, primary_key=True), _int("cursor"), _int("updated_at"),
)  # fmt: skip

packs = Table(
    "packs", metadata, _id(), _uid(), Column("key", _TEXT, nullable=False, unique=True), _text("state"),
    _int("size", 0), _int("created_at"), _maybe_int("changed_at"),
    Index(None, "state", "id"),
)  # fmt: skip

blobs = Table(
    "blobs", metadata, _name(), _part("pack", "packs"),
    _int("offset_"), _int("stored"), _int("raw"), Column("compression", SmallInteger, nullable=False), _text("kind"),
    Index(None, "pack"), sqlite_with_rowid=False,
)  # fmt: skip

proofs = Table(
    "proofs", metadata, _name(), _part("pack", "packs"), Index(None, "pack"), sqlite_with_rowid=False,
)  # fmt: skip

manifest = Table(
    "manifest", metadata, Column("root", LargeBinary, primary_key=True), Column("page", LargeBinary, primary_key=True),
    Index(None, "page"), sqlite_with_rowid=False,
)  # fmt: skip

leases = Table("leases", metadata, _id(), _uid(), _text("owner"), _int("until"))

holds = Table(
    "holds", metadata, _part("lease", "leases"), _part("pack", "packs"), Index(None, "pack"), sqlite_with_rowid=False,
)  # fmt: skip
