"""What a name means: inside a group, as of a time, or now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from headwater.catalog.changes import artifact_row
from headwater.catalog.rows import maybe_moment, microseconds, moment, version_by_key
from headwater.errors import StateError, VersionNotFoundError
from headwater.model.digest import Digest
from headwater.model.naming import LATEST

if TYPE_CHECKING:
    from datetime import datetime

    from headwater.catalog.engine import Database, Row, Tx
    from headwater.model.naming import Name
    from headwater.model.records import VersionRecord

_FACTS = "SELECT id, state, number, deleted_at, deleted_by FROM versions"


def find(db: Database, name: Name, group: str | None, at: datetime | None, *, record: bool) -> VersionRecord:
    """`VersionCatalog.find`: one read; the first time a group asks, one write."""
    when = None if at is None else microseconds(at)
    moving = name.number is None and name.digest is None
    if group is None or not moving or when is not None:
        return db.read(lambda tx: version_by_key(tx, _resolve(tx, name, artifact_row(tx, name).id, when)))
    found, known = db.read(lambda tx: _in_group(tx, name, group))
    if known or not record:
        return found
    return db.write(lambda tx: _remember(tx, name, group))


def _in_group(tx: Tx, name: Name, group: str) -> tuple[VersionRecord, bool]:
    """The version, and whether the group had that name already."""
    artifact = artifact_row(tx, name).id
    remembered = _remembered(tx, name, group, artifact)
    key = remembered if remembered is not None else _resolve(tx, name, artifact, None)
    return version_by_key(tx, key), remembered is not None


def _remembered(tx: Tx, name: Name, group: str, artifact: int) -> int | None:
    key: int | None = tx.value(
        "SELECT g.version FROM group_names g JOIN versions v ON v.id = g.version WHERE g.grp = :grp"
        " AND g.artifact = :artifact AND g.selector = :selector AND v.state = 'published'",
        grp=group, artifact=artifact, selector=name.alias or LATEST,
    )  # fmt: skip
    return key


def _remember(tx: Tx, name: Name, group: str) -> VersionRecord:
    artifact = artifact_row(tx, name).id
    key = _resolve(tx, name, artifact, None)
    tx.run(  # a name whose version was deleted is resolved anew
        "INSERT INTO group_names (grp, artifact, selector, version, how)"
        " VALUES (:grp, :artifact, :selector, :version, 'resolved')"
        " ON CONFLICT (grp, artifact, selector) DO UPDATE SET version = excluded.version"
        " WHERE (SELECT state FROM versions WHERE id = group_names.version) <> 'published'",
        grp=group, artifact=artifact, selector=name.alias or LATEST, version=key,
    )  # fmt: skip
    winner = _remembered(tx, name, group, artifact)
    return version_by_key(tx, winner if winner is not None else key)


def _resolve(tx: Tx, name: Name, artifact: int, at: int | None) -> int:
    if name.number is not None:
        row = tx.row(f"{_FACTS} WHERE artifact = :artifact AND number = :n", artifact=artifact, n=name.number)
    elif name.digest is not None:
        row = _by_digest(tx, artifact, Digest.parse(name.digest), at)
    elif name.alias in (None, LATEST):
        row = _newest(tx, artifact, at)
    else:
        row = _by_alias(tx, artifact, str(name.alias), at)
    if row is None:
        raise VersionNotFoundError(
            name=str(name), **_hint(tx, name), **({} if at is None else {"at": str(maybe_moment(at))})
        )
    if row.state == "deleted":
        when = moment(row.deleted_at)
        raise StateError(
            what=f"{name} is v{row.number}, which {row.deleted_by} deleted at {when:%Y-%m-%d %H:%M:%S} UTC",
            number=row.number, deleted_by=row.deleted_by, fix="use another version; its lineage is still there",
        )  # fmt: skip
    return int(row.id)


def _hint(tx: Tx, name: Name) -> dict[str, str]:
    """What to write instead, where somebody forgot the partition."""
    key = None if name.partition else tx.value(
        "SELECT max(partition) FROM artifacts WHERE project = :project AND name = :name AND partition <> ''",
        project=name.project or "", name=name.artifact,
    )  # fmt: skip
    return {} if key is None else {"fix": f"it has partitions: write {msgspec.structs.replace(name, partition=key)}"}


def _newest(tx: Tx, artifact: int, at: int | None) -> Row | None:
    if at is None:
        return tx.row(
            f"{_FACTS} WHERE artifact = :artifact AND state = 'published' ORDER BY number DESC LIMIT 1",
            artifact=artifact,
        )  # fmt: skip
    return tx.row(
        f"{_FACTS} WHERE artifact = :artifact AND number IS NOT NULL AND published_at <= :at"
        " AND (deleted_at IS NULL OR deleted_at > :at) ORDER BY number DESC LIMIT 1",
        artifact=artifact, at=at,
    )  # fmt: skip


def _by_digest(tx: Tx, artifact: int, root: bytes, at: int | None) -> Row | None:
    then = "" if at is None else " AND published_at <= :at AND (deleted_at IS NULL OR deleted_at > :at)"
    return tx.row(
        f"{_FACTS} WHERE artifact = :artifact AND root = :root AND number IS NOT NULL{then}"
        " ORDER BY CASE state WHEN 'published' THEN 0 ELSE 1 END, number DESC LIMIT 1",
        artifact=artifact, root=bytes(root), **({} if at is None else {"at": at}),
    )  # fmt: skip


def _by_alias(tx: Tx, artifact: int, alias: str, at: int | None) -> Row | None:
    if at is None:
        return tx.row(
            f"{_FACTS} WHERE id = (SELECT version FROM aliases WHERE artifact = :artifact AND alias = :alias)",
            artifact=artifact, alias=alias,
        )  # fmt: skip
    move = tx.row(
        "SELECT kind, version FROM events WHERE artifact = :artifact AND label = :alias"
        " AND kind IN ('alias.set', 'alias.removed') AND at <= :at ORDER BY cursor DESC LIMIT 1",
        artifact=artifact, alias=alias, at=at,
    )  # fmt: skip
    if move is None or move.kind == "alias.removed":
        return None
    return tx.row(f"{_FACTS} WHERE id = :id", id=move.version)
