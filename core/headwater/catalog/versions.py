"""Artifacts and versions: made, found, edited, deleted, and their history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headwater.catalog import commit, names, publish
from headwater.catalog.changes import (
    STATE,
    Change,
    artifact_row,
    drop_alias,
    holder,
    lock_artifact_row,
    locked_version,
    place_alias,
)
from headwater.catalog.drafts import discard_expired, discard_named
from headwater.catalog.edges import followed
from headwater.catalog.edits import edit_artifact, edit_version
from headwater.catalog.events import SELECT as EVENT
from headwater.catalog.events import event_record
from headwater.catalog.packs import Packs
from headwater.catalog.rows import artifact_record, event, number_name, version_by_key
from headwater.catalog.search import ARTIFACT, find_artifacts, find_versions
from headwater.errors import ConflictError, InvalidInputError, StateError
from headwater.model.naming import LATEST, check_alias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from headwater.catalog.engine import Database, Tx
    from headwater.model.naming import Name
    from headwater.model.records import ArtifactRecord, Event, Publication, Published, Query, VersionRecord


class Versions:
    """`ports.VersionCatalog` in SQL."""

    def __init__(self, database: Database, packs: Packs) -> None:
        self._db = database
        self._packs = packs

    # ------------------------------------------------------------------ making
    def commit(self, publication: Publication) -> Published:
        for alias in publication.aliases:
            check_alias(alias)
        self._packs.index_early(publication.seals)
        return self._db.write(lambda tx: commit.commit(tx, publication))

    def publish(self, version_ids: Sequence[str], aliases: Mapping[str, Sequence[str]], actor: str) -> list[Published]:
        for wanted in aliases.values():
            for alias in wanted:
                check_alias(alias)
        return self._db.write(lambda tx: publish.publish(tx, version_ids, aliases, actor))

    def discard(self, version_ids: Sequence[str], actor: str) -> None:
        self._db.write(lambda tx: discard_named(tx, version_ids, actor))

    def sweep_drafts(self, actor: str) -> int:
        """Looks before it writes, so that asking often costs nothing."""
        overdue = "SELECT 1 FROM versions WHERE state = 'draft' AND expires_at < :now LIMIT 1"
        if not self._db.read(lambda tx: tx.value(overdue, now=tx.now)):
            return 0
        return self._db.write(lambda tx: discard_expired(tx, actor))

    # ----------------------------------------------------------------- finding
    def find(
        self, name: Name, *, group: str | None = None, at: datetime | None = None, record: bool = True
    ) -> VersionRecord:
        return names.find(self._db, name, group, at, record=record)

    def get(self, version_id: str) -> VersionRecord:
        return self._db.read(lambda tx: version_by_key(tx, followed(tx, version_id)))

    def artifact(self, artifact: Name) -> ArtifactRecord:
        def work(tx: Tx) -> ArtifactRecord:
            row = artifact_row(tx, artifact)
            return artifact_record(tx.rows(f"SELECT {ARTIFACT} FROM artifacts a WHERE a.id = :id", id=row.id)[0])

        return self._db.read(work)

    def artifacts(self, query: Query) -> list[ArtifactRecord]:
        return self._db.read(lambda tx: find_artifacts(tx, query))

    def partitions(self, artifact: Name) -> list[ArtifactRecord]:
        def work(tx: Tx) -> list[ArtifactRecord]:
            row = artifact_row(tx, artifact)
            return [artifact_record(found) for found in tx.rows(
                f"SELECT {ARTIFACT} FROM artifacts a WHERE a.project = :project AND a.name = :name"
                " AND a.partition <> '' ORDER BY a.partition",
                project=row.project, name=row.name,
            )]  # fmt: skip

        return self._db.read(work)

    def versions(self, query: Query, *, drafts: bool = False, deleted: bool = False) -> list[VersionRecord]:
        return self._db.read(lambda tx: find_versions(tx, query, drafts=drafts, deleted=deleted))

    def history(self, artifact: Name, version_id: str | None = None) -> list[Event]:
        def work(tx: Tx) -> list[Event]:
            row = artifact_row(tx, artifact)
            only = "" if version_id is None else " AND e.version = :version"
            values = {"artifact": row.id} | ({} if version_id is None else {"version": followed(tx, version_id)})
            found = tx.rows(f"{EVENT} WHERE e.artifact = :artifact{only} ORDER BY e.cursor", **values)
            return [event_record(line) for line in found]

        return self._db.read(work)

    # ---------------------------------------------------------------- changing
    def edit(self, version_id: str, base: VersionRecord, changes: Mapping[str, Any], actor: str) -> VersionRecord:
        return self._db.write(lambda tx: edit_version(tx, version_id, base, changes, actor))

    def edit_artifact(self, artifact: Name, changes: Mapping[str, Any], actor: str) -> ArtifactRecord:
        self._db.write(lambda tx: edit_artifact(tx, artifact, changes, actor))
        return self.artifact(artifact)

    def set_alias(
        self, artifact: Name, alias: str, to: str | None, *, expect: str | None, actor: str, run_id: str | None = None
    ) -> None:
        check_alias(alias)
        if alias == LATEST:
            raise InvalidInputError(what="latest cannot be set: it is the newest version", fix="choose another alias")

        def work(tx: Tx) -> None:
            row = lock_artifact_row(tx, artifact_row(tx, artifact).id)
            before = holder(tx, row.id, alias)
            if expect is not None and (before.uid if before else "") != expect:
                raise _elsewhere(artifact, alias, before)
            if to is None:
                if before is not None:
                    drop_alias(tx, before, alias, actor, run_id)
                return
            target = tx.row(f"{STATE} WHERE v.id = :id", id=followed(tx, to))
            if target is None or target.artifact != row.id or target.state != "published":
                raise StateError(
                    what=f"{alias} cannot be set to version {to}, which is no published version of {artifact.bare}"
                )
            if before is None or before.id != target.id:
                place_alias(tx, target, alias, actor, run=run_id, before=before)

        self._db.write(work, idempotent=expect is None)

    def delete(self, version_id: str, *, delete_aliases: bool, actor: str) -> VersionRecord:
        return self._db.write(lambda tx: delete_version(tx, version_id, delete_aliases=delete_aliases, actor=actor))


def _elsewhere(artifact: Name, alias: str, before: Any) -> ConflictError:
    there = number_name(before.number) if before else "nowhere"
    return ConflictError(
        what=f"{artifact.bare}:{alias} is {there}, not where it was expected", current=there,
        current_id=before.uid if before else "", fix="look again, then decide",
    )  # fmt: skip


def delete_version(
    tx: Tx, version_id: str, *, delete_aliases: bool, actor: str, why: str | None = None
) -> VersionRecord:
    """`VersionCatalog.delete` inside a transaction; `why` goes into the history."""
    row = locked_version(tx, version_id)
    if row.state == "draft":
        discard_named(tx, [row.uid], actor)
    if row.state != "published":
        return version_by_key(tx, row.id)
    held = [found[0] for found in tx.rows("SELECT alias FROM aliases WHERE version = :v ORDER BY alias", v=row.id)]
    if held and not delete_aliases:
        raise StateError(
            what=f"v{row.number} of {row.project}/{row.name} is {', '.join(held)}", aliases=held,
            fix="move its aliases first, or delete them with it (delete_aliases=True, --delete-aliases)",
        )  # fmt: skip
    change = Change(tx, row, actor)
    for alias in held:
        change.remove_alias(alias)
    locked = lock_artifact_row(tx, row.artifact)
    at = max(tx.now, locked.updated_at + 1)
    tx.run("UPDATE versions SET state = 'deleted', deleted_at = :at, deleted_by = :actor WHERE id = :id",
           at=at, actor=actor, id=row.id)  # fmt: skip
    tx.run("UPDATE artifacts SET updated_at = :at WHERE id = :id", at=at, id=row.artifact)
    tx.run("DELETE FROM group_names WHERE version = :id", id=row.id)
    tx.events.append(event(
        "version.deleted", project=row.project, actor=actor, artifact=row.artifact, version=row.id,
        number=number_name(row.number), digest=f"blake3:{bytes(row.root).hex()}", **({"why": why} if why else {}),
    ))  # fmt: skip
    return version_by_key(tx, row.id)
