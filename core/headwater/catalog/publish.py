"""Publishing drafts: all of them, or none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.catalog.changes import STATE, Change, lock_artifact_row
from headwater.catalog.commit import log, newest_twin, number, remember_for_group
from headwater.catalog.rows import event, load, merged, names, version_by_key
from headwater.errors import StateError, VersionNotFoundError
from headwater.model.naming import LATEST
from headwater.model.records import Published

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from headwater.catalog.engine import Row, Tx


def publish(tx: Tx, uids: Sequence[str], aliases: Mapping[str, Sequence[str]], actor: str) -> list[Published]:
    """`VersionCatalog.publish`, inside a transaction. Artifacts are locked in the order of their keys."""
    _lock(tx, uids)
    return [publish_one(tx, uid, aliases.get(uid, ()), actor) for uid in uids]


def _lock(tx: Tx, uids: Sequence[str]) -> None:
    runs_, artifacts = set(), set()
    for uid in uids:
        row = tx.row("SELECT artifact, run FROM versions WHERE uid = :uid", uid=uid)
        if row is None:
            raise VersionNotFoundError(name=uid)
        artifacts.add(row.artifact)
        runs_.add(row.run)
    for run in sorted(runs_ - {None}):
        tx.row(f"SELECT id FROM runs WHERE id = :id{tx.dialect.for_update}", id=run)
    for artifact in sorted(artifacts):
        lock_artifact_row(tx, artifact)


def publish_one(tx: Tx, uid: str, aliases: Sequence[str], actor: str) -> Published:
    """Publish one draft, whose artifact is locked; what is published stays as it is.

    Raises:
        StateError: It was discarded.
    """
    row = tx.row(f"{STATE} WHERE v.uid = :uid", uid=uid)
    assert row is not None
    if row.state == "published":
        return Published(version=version_by_key(tx, row.id), kind="created")
    if row.became is not None:
        return Published(version=version_by_key(tx, row.became), kind="reproduced")
    if row.state != "draft":
        raise StateError(what=f"draft {uid} of {row.project}/{row.name} was {row.state}", fix="log it again")
    wanted = {*aliases, *names(row.pending_aliases)} - {LATEST}
    twin = newest_twin(tx, row.artifact, bytes(row.root), row.codec)
    if twin is None:
        number(tx, row.id, lock_artifact_row(tx, row.artifact), actor, wanted)
        return Published(version=version_by_key(tx, row.id), kind="created")
    _become(tx, row, twin, wanted, actor)
    return Published(version=version_by_key(tx, twin.id), kind="reproduced")


def _become(tx: Tx, draft: Row, twin: Row, aliases: set[str], actor: str) -> None:
    """The draft is what `twin` is already: its edges become edges of `twin`."""
    tx.run(
        "UPDATE versions SET state = 'discarded', became = :twin, deleted_at = :now, deleted_by = :actor,"
        " expires_at = NULL WHERE id = :id",
        twin=twin.id, now=tx.now, actor=actor, id=draft.id,
    )  # fmt: skip
    _move_edges(tx, draft.id, twin.id)
    change = Change(tx, twin, actor, None)
    if load(draft.metadata):
        change.metadata(merged(load(twin.metadata), load(draft.metadata)))
    if draft.description:
        change.description(draft.description)
    if names(draft.tags):
        change.tags({*names(twin.tags), *names(draft.tags)})
    for alias in sorted(aliases):
        change.alias(alias)
    change.done()
    remember_for_group(tx, draft.grp, twin, aliases)
    tx.events.append(event(
        "version.reproduced", project=twin.project, actor=actor, artifact=twin.artifact, version=twin.id,
        digest=f"blake3:{bytes(twin.root).hex()}", type=twin.type, draft=draft.uid,
    ))  # fmt: skip


def _move_edges(tx: Tx, draft: int, twin: int) -> None:
    tx.run(
        "INSERT INTO uses (run, version, role, asked, at) SELECT run, CAST(:twin AS BIGINT), role, asked, at FROM uses"
        " WHERE version = :draft ON CONFLICT DO NOTHING",
        twin=twin, draft=draft,
    )  # fmt: skip
    tx.run("DELETE FROM uses WHERE version = :draft", draft=draft)
    tx.run(
        "INSERT INTO derivations (version, source) SELECT version, CAST(:twin AS BIGINT) FROM derivations"
        " WHERE source = :draft AND version <> :twin ON CONFLICT DO NOTHING",
        twin=twin, draft=draft,
    )  # fmt: skip
    tx.run("DELETE FROM derivations WHERE source = :draft OR version = :draft", draft=draft)
    for edge in tx.rows("SELECT run, role FROM logs WHERE version = :draft", draft=draft):
        maker = tx.row("SELECT id, fence FROM runs WHERE id = :id", id=edge.run)
        assert maker is not None
        log(tx, maker, twin, edge.role, kind="reproduced", at=tx.now)
    tx.run("DELETE FROM logs WHERE version = :draft", draft=draft)
