"""The changes a published version still takes: metadata, description, tags, aliases. Each is in the history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headwater.catalog import facts
from headwater.catalog.rows import dump, event, load, names, number_name, sorted_names
from headwater.errors import ArtifactNotFoundError, VersionNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from headwater.catalog.engine import Row, Tx
    from headwater.model.naming import Name

STATE = (
    "SELECT v.id, v.uid, v.number, v.state, v.root, v.codec, v.artifact, v.metadata, v.tags, v.description, v.revision,"
    " v.became, v.run, v.pending_aliases, v.deleted_at, v.deleted_by, v.published_at, a.project, a.name,"
    " a.partition, a.type, maker.uid AS run_uid, maker.grp"
    " FROM versions v JOIN artifacts a ON a.id = v.artifact LEFT JOIN runs maker ON maker.id = v.run"
)
"""What the functions here need to know of a version."""


class Change:
    """Edits to one version by one actor within a transaction; each does nothing if nothing differs.

    Args:
        tx: The transaction.
        version: A row of `STATE`, whose artifact is locked.
        actor: Who.
        run: In which run, if any.
    """

    def __init__(self, tx: Tx, version: Row, actor: str, run: str | None = None) -> None:
        self._tx, self._version, self._actor, self._run = tx, version, actor, run
        self._touched = False

    def metadata(self, new: Mapping[str, Any]) -> None:
        """Exchange the whole metadata; the event holds the keys that differ."""
        old, new = load(self._version.metadata), dict(new)
        if dump(old) == dump(new, "metadata"):
            return
        keys = [key for key in {**old, **new} if (key in old) != (key in new) or dump(old[key]) != dump(new[key])]
        self._set("metadata", dump(new))
        facts.replace(self._tx, "version_facts", self._version.id, "metadata", list(facts.leaves("metadata", new)))
        before, after = ({key: side[key] for key in keys if key in side} for side in (old, new))
        self._note("metadata.changed", old=before, new=after)

    def description(self, new: str) -> None:
        """Exchange the description."""
        if new != self._version.description:
            self._set("description", new)
            self._note("description.changed", old=self._version.description, new=new)

    def tags(self, new: Iterable[str]) -> None:
        """Exchange the set of tags; one event per tag that came or went."""
        old, wanted = set(names(self._version.tags)), set(new)
        if old == wanted:
            return
        self._set("tags", sorted_names(wanted))
        facts.replace(self._tx, "version_facts", self._version.id, "tag", facts.tag_leaves(sorted(wanted)))
        for tag in sorted(wanted - old):
            self._note("tag.added", label=tag, tag=tag)
        for tag in sorted(old - wanted):
            self._note("tag.removed", label=tag, tag=tag)

    def alias(self, alias: str) -> None:
        """Move an alias here from wherever it is."""
        before = holder(self._tx, self._version.artifact, alias)
        if before is None or before.id != self._version.id:
            place_alias(self._tx, self._version, alias, self._actor, run=self._run, before=before)

    def remove_alias(self, alias: str) -> None:
        """Take an alias away, if it is here."""
        before = holder(self._tx, self._version.artifact, alias)
        if before is not None and before.id == self._version.id:
            drop_alias(self._tx, before, alias, self._actor, self._run)

    def done(self) -> None:
        """Count one edit, if anything changed."""
        if self._touched:
            self._tx.run("UPDATE versions SET revision = revision + 1 WHERE id = :id", id=self._version.id)

    def _set(self, column: str, value: str) -> None:
        self._tx.run(f"UPDATE versions SET {column} = :value WHERE id = :id", value=value, id=self._version.id)
        self._touched = True

    def _note(self, kind: str, label: str = "", **details: Any) -> None:
        v = self._version
        self._tx.events.append(event(
            kind, project=v.project, actor=self._actor, artifact=v.artifact, version=v.id, run=self._run, label=label,
            **details,
        ))  # fmt: skip


def holder(tx: Tx, artifact: int, alias: str) -> Row | None:
    """The version (a row of `STATE`) an alias is on."""
    return tx.row(
        f"{STATE} JOIN aliases x ON x.version = v.id WHERE x.artifact = :artifact AND x.alias = :alias",
        artifact=artifact, alias=alias,
    )  # fmt: skip


def place_alias(tx: Tx, version: Row, alias: str, actor: str, *, run: str | None, before: Row | None) -> None:
    """Put the alias on `version`; its artifact is locked, `before` is where it was."""
    tx.run(
        "INSERT INTO aliases (artifact, alias, version) VALUES (:artifact, :alias, :version)"
        " ON CONFLICT (artifact, alias) DO UPDATE SET version = excluded.version",
        artifact=version.artifact, alias=alias, version=version.id,
    )  # fmt: skip
    tx.events.append(event(
        "alias.set", project=version.project, actor=actor, artifact=version.artifact, version=version.id, run=run,
        label=alias, alias=alias, old=number_name(before.number) if before else None,
        new=number_name(version.number), old_id=before.uid if before else None, new_id=version.uid,
    ))  # fmt: skip


def drop_alias(tx: Tx, before: Row, alias: str, actor: str, run: str | None = None) -> None:
    """Remove the alias from the version it is on; its artifact is locked."""
    tx.run("DELETE FROM aliases WHERE artifact = :artifact AND alias = :alias", artifact=before.artifact, alias=alias)
    tx.events.append(event(
        "alias.removed", project=before.project, actor=actor, artifact=before.artifact, version=before.id, run=run,
        label=alias, alias=alias, old=number_name(before.number), new=None, old_id=before.uid, new_id=None,
    ))  # fmt: skip


def locked_version(tx: Tx, uid: str) -> Row:
    """The version's row, its artifact locked; a draft that became an older version gives that one.

    Raises:
        VersionNotFoundError
    """
    artifact = tx.value("SELECT artifact FROM versions WHERE uid = :uid", uid=uid)
    if artifact is None:
        raise VersionNotFoundError(name=uid)
    lock_artifact_row(tx, artifact)
    row = tx.row(f"{STATE} WHERE v.uid = :uid", uid=uid)
    if row is not None and row.became is not None:
        row = tx.row(f"{STATE} WHERE v.id = :id", id=row.became)
    assert row is not None
    return row


def lock_artifact_row(tx: Tx, artifact: int) -> Row:
    """(id, next_number, updated_at) of an artifact, locked until the transaction ends."""
    row = tx.row(
        f"SELECT id, next_number, updated_at FROM artifacts WHERE id = :id{tx.dialect.for_update}", id=artifact
    )
    assert row is not None
    return row


def artifact_row(tx: Tx, name: Name) -> Row:
    """(id, uid, project, name, partition, type, description, tags, next_number, updated_at) of an artifact.

    Raises:
        ArtifactNotFoundError
    """
    row = tx.row(
        "SELECT id, uid, project, name, partition, type, description, tags, next_number, updated_at FROM artifacts"
        " WHERE project = :project AND name = :name AND partition = :partition",
        project=name.project or "", name=name.artifact, partition=name.partition,
    )  # fmt: skip
    if row is None:
        raise ArtifactNotFoundError(name=name.bare)
    return row
