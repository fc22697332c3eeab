"""Drafts that several writers extend: who handed in what, and the one moment of publication.

A joint draft is a draft version like any other. Each part is a draft too, of the run
that made it: so collection spares its bytes, and a run that fails takes its part along.
Every change locks the artifact's row, so that there is one order of parts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headwater.catalog import facts, packs
from headwater.catalog.changes import artifact_row, lock_artifact_row
from headwater.catalog.commit import prove
from headwater.catalog.publish import publish_one
from headwater.catalog.rows import SECOND, dump, load, merged, names, sorted_names, version_by_key
from headwater.errors import ArtifactNotFoundError, ConflictError, StateError, VersionNotFoundError
from headwater.ports.joining import Joint, Part

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headwater.catalog.engine import Database, Row, Tx
    from headwater.model.naming import Name
    from headwater.model.records import Publication, Published

TTL = 86_400 * SECOND
"""How long a joint draft and its parts outlive the last writer that joined or handed in; longer while a run of the
group is running."""

_JOINT = (
    "SELECT j.id, j.artifact, j.expected, j.revision, v.id AS version, v.uid, v.state, v.became, a.project, a.name"
    " FROM joins j JOIN versions v ON v.id = j.version JOIN artifacts a ON a.id = j.artifact"
)
_PARTS = (
    "SELECT p.writer, p.attempt, p.fence, v.id, v.uid, v.root, v.run, v.metadata, v.description, v.tags,"
    " v.pending_aliases FROM join_parts p JOIN versions v ON v.id = p.version"
    " WHERE p.joint = :joint AND v.state = 'draft' ORDER BY p.at, p.writer"
)


class Joins:
    """`ports.joining.JoinCatalog` in SQL."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def open(self, artifact: Name, group: str, draft_id: str | None, expected: int | None) -> Joint | None:
        return self._db.write(lambda tx: _open(tx, artifact, group, draft_id, expected))

    def look(self, version_id: str) -> Joint:
        return self._db.read(lambda tx: _joint(tx, _found(tx, version_id)))

    def enter(self, version_id: str, writer: str, part_id: str, revision: int) -> Joint:
        return self._db.write(lambda tx: _enter(tx, version_id, writer, part_id, revision))

    def publish(self, publication: Publication, revision: int) -> Published:
        return self._db.write(lambda tx: _publish(tx, publication, revision))


def _found(tx: Tx, uid: str) -> Row:
    row = tx.row(f"{_JOINT} WHERE v.uid = :uid", uid=uid)
    if row is None:
        raise VersionNotFoundError(name=uid)
    return row


def _locked(tx: Tx, uid: str) -> Row:
    lock_artifact_row(tx, _found(tx, uid).artifact)
    return _found(tx, uid)


def _joint(tx: Tx, row: Row) -> Joint:
    parts = tuple(
        Part(found.writer, found.uid, f"blake3:{bytes(found.root).hex()}", names(found.pending_aliases))
        for found in tx.rows(_PARTS, joint=row.id)
    )
    return Joint(version_by_key(tx, row.became or row.version), row.expected, row.revision, parts)


def _open(tx: Tx, artifact: Name, group: str, draft_id: str | None, expected: int | None) -> Joint | None:
    try:
        key = lock_artifact_row(tx, artifact_row(tx, artifact).id).id
    except ArtifactNotFoundError:
        return None
    row = _of_group(tx, key, group)
    if row is None or (row.state == "discarded" and row.became is None):
        if draft_id is None:
            return None
        row = _begin(tx, key, group, draft_id, row)
    if expected is not None and row.state == "draft":
        if row.expected not in (None, expected):
            raise ConflictError(
                what=f"{artifact.bare} of group {group} expects {row.expected} writers, not {expected}",
                fix="let all writers say the same number",
            )
        tx.run("UPDATE joins SET expected = :expected WHERE id = :id", expected=expected, id=row.id)
    _renew(tx, row)
    return _joint(tx, _found(tx, row.uid))


def _of_group(tx: Tx, artifact: int, group: str) -> Row | None:
    return tx.row(f"{_JOINT} WHERE j.artifact = :artifact AND j.grp = :grp", artifact=artifact, grp=group)


def _begin(tx: Tx, artifact: int, group: str, draft_id: str, before: Row | None) -> Row:
    if before is not None:
        tx.run("DELETE FROM join_parts WHERE joint = :id", id=before.id)
        tx.run("DELETE FROM joins WHERE id = :id", id=before.id)
    # The draft is the group's, not of the run that happened to come first: that may fail, and others go on.
    tx.run("DELETE FROM logs WHERE version = (SELECT id FROM versions WHERE uid = :uid)", uid=draft_id)
    tx.run("UPDATE versions SET run = NULL WHERE uid = :uid", uid=draft_id)
    tx.run(
        "INSERT INTO joins (artifact, grp, version) SELECT CAST(:artifact AS BIGINT), CAST(:grp AS TEXT), id"
        " FROM versions WHERE uid = :uid",
        artifact=artifact, grp=group, uid=draft_id,
    )  # fmt: skip
    row = _of_group(tx, artifact, group)
    assert row is not None
    return row


def _renew(tx: Tx, row: Row) -> None:
    tx.run(
        "UPDATE versions SET expires_at = :until WHERE state = 'draft' AND (id = :version OR id IN"
        " (SELECT version FROM join_parts WHERE joint = :joint))",
        until=tx.now + TTL, version=row.version, joint=row.id,
    )  # fmt: skip


def _enter(tx: Tx, uid: str, writer: str, part_id: str, revision: int) -> Joint:
    row = _locked(tx, uid)
    old = next((part for part in tx.rows(_PARTS, joint=row.id) if part.writer == writer), None)
    if old is not None and old.uid == part_id:  # an answer was lost: it is in
        return _joint(tx, row)
    _refuse_closed(row)
    if row.revision != revision:
        raise _moved(row)
    part = tx.row("SELECT v.id, v.root, v.state, r.attempt, r.fence FROM versions v LEFT JOIN runs r ON r.id = v.run"
                  " WHERE v.uid = :uid", uid=part_id)  # fmt: skip
    if part is None or part.state != "draft":
        raise StateError(what=f"the part of {writer} is gone: its run has ended or its time passed", fix="log it again")
    attempt, fence = part.attempt or 0, part.fence or 0
    if old is not None:
        if bytes(old.root) != bytes(part.root) and (attempt, fence) <= (old.attempt, old.fence):
            raise ConflictError(
                what=f"writer {writer} has handed in another part of {row.project}/{row.name} already", writer=writer,
                fix="give each process a name of its own: join_artifact(…, writer=…)",
            )  # fmt: skip
        _let_go(tx, old.id, None)
    tx.run(
        "INSERT INTO join_parts (joint, writer, version, attempt, fence, at) VALUES (:joint, :writer, :version,"
        " :attempt, :fence, :now) ON CONFLICT (joint, writer) DO UPDATE SET version = excluded.version,"
        " attempt = excluded.attempt, fence = excluded.fence, at = excluded.at",
        joint=row.id, writer=writer, version=part.id, attempt=attempt, fence=fence, now=tx.now,
    )  # fmt: skip
    tx.run("UPDATE joins SET revision = revision + 1 WHERE id = :id", id=row.id)
    _renew(tx, row)
    return _joint(tx, _found(tx, uid))


def _refuse_closed(row: Row) -> None:
    name = f"{row.project}/{row.name}"
    if row.state == "published" or row.became is not None:
        raise StateError(what=f"the joint version of {name} is published, it takes no more parts", published=True)
    if row.state != "draft":
        raise StateError(what=f"the joint draft of {name} was {row.state}", fix="join again: that begins a new one")


def _moved(row: Row) -> ConflictError:
    return ConflictError(what=f"another writer has handed in its part of {row.project}/{row.name}", moved=True,
                         revision=row.revision)  # fmt: skip


def _publish(tx: Tx, p: Publication, revision: int) -> Published:
    row = _locked(tx, p.version_id)
    if row.state != "draft":
        return publish_one(tx, row.uid, (), p.actor)
    if row.revision != revision:
        raise _moved(row)
    packs.check_lease(tx, p.lease)
    packs.seal(tx, p.seals, None)
    prove(tx, p)
    parts = tx.rows(_PARTS, joint=row.id)
    _fill(tx, row.version, p, parts)
    _draw_edges(tx, row.version, parts)
    wanted = {*p.aliases, *(alias for part in parts for alias in names(part.pending_aliases))}
    made = publish_one(tx, row.uid, sorted(wanted), p.actor)
    final = tx.row("SELECT id, became FROM versions WHERE uid = :uid", uid=row.uid)
    assert final is not None
    for part in parts:
        _let_go(tx, part.id, final.became or final.id)
    return made


def _fill(tx: Tx, version: int, p: Publication, parts: Sequence[Row]) -> None:
    """Content and facts: later parts' metadata over earlier ones', all tags."""
    metadata: dict[str, Any] = {}
    description, tags = p.description, set(p.tags)
    for part in parts:
        metadata = merged(metadata, load(part.metadata))
        description = part.description or description
        tags |= set(names(part.tags))
    metadata = merged(metadata, p.metadata)
    tx.run(
        "UPDATE versions SET root = :root, n_entries = :n, stored_size = :stored, referenced_size = :referenced,"
        " metadata = :metadata, description = :description, tags = :tags, run = :run WHERE id = :id",
        root=p.root, n=p.n_entries, stored=p.stored_size, referenced=p.referenced_size,
        metadata=dump(metadata, "metadata"), description=description, tags=sorted_names(tags),
        run=next((part.run for part in parts if part.run is not None), None), id=version,
    )  # fmt: skip
    tx.run("DELETE FROM version_facts WHERE version = :id", id=version)
    facts.put(tx, "version_facts", version, [*facts.leaves("metadata", metadata), *facts.tag_leaves(sorted(tags))])


def _draw_edges(tx: Tx, version: int, parts: Sequence[Row]) -> None:
    """Every writer's run logged it; the first one's edge is the `created` one. It derives from what any part does."""
    kind = "created"
    for part in parts:
        drawn = tx.run(
            "INSERT INTO logs (run, version, role, kind, fence, at) SELECT run, CAST(:version AS BIGINT), role,"
            " CAST(:kind AS TEXT), fence, at FROM logs WHERE version = :part ON CONFLICT DO NOTHING",
            version=version, kind=kind, part=part.id,
        )  # fmt: skip
        kind = "reproduced" if drawn else kind
        tx.run(
            "INSERT INTO derivations (version, source) SELECT CAST(:version AS BIGINT), source FROM derivations"
            " WHERE version = :part AND source <> :version ON CONFLICT DO NOTHING",
            version=version, part=part.id,
        )  # fmt: skip


def _let_go(tx: Tx, part: int, became: int | None) -> None:
    """A part whose content is elsewhere now: no longer a draft, no edges of its own."""
    tx.run("UPDATE versions SET state = 'discarded', became = :became, deleted_at = :now, expires_at = NULL"
           " WHERE id = :id", became=became, now=tx.now, id=part)  # fmt: skip
    tx.run("DELETE FROM logs WHERE version = :id", id=part)
    tx.run("DELETE FROM derivations WHERE version = :id", id=part)
