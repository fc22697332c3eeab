"""The one transaction that makes a version: numbered once, its packs checked, its edges drawn, its run closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headwater.catalog import facts, packs, runs
from headwater.catalog.changes import STATE, Change
from headwater.catalog.rows import SECOND, dump, event, load, merged, names, sorted_names, version_by_key
from headwater.errors import ConflictError, InvalidInputError, RunNotFoundError, StateError, VersionNotFoundError
from headwater.model.naming import LATEST
from headwater.model.records import DEFAULT_TYPE, ENDED, LogKind, Publication, Published

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from headwater.catalog.engine import Row, Tx


def commit(tx: Tx, p: Publication) -> Published:
    """`VersionCatalog.commit`, inside a transaction.

    Locks in the order run, artifact, events: the order of every writer.
    """
    run = _run(tx, p)
    artifact = ensure_artifact(tx, p)
    done = _done_before(tx, p.version_id)
    if done is not None:
        return done
    if run is not None:
        _check_run(tx, run, p)
    packs.check_lease(tx, p.lease)
    packs.seal(tx, p.seals, None)
    twin = None if p.draft else _twin(tx, artifact.id, p, run)
    key = _create(tx, p, artifact, run) if twin is None else _reproduce(tx, p, twin, run)
    if run is not None and p.finish is not None:
        runs.end(tx, run, p.finish)
    return Published(version=version_by_key(tx, key), kind="created" if twin is None else "reproduced")


def _done_before(tx: Tx, version_id: str) -> Published | None:
    """What an earlier try of the same commit made, whose answer was lost."""
    row = tx.row(
        "SELECT id, became FROM versions WHERE uid = :uid"
        " UNION ALL SELECT version, version FROM reproductions WHERE uid = :uid",
        uid=version_id,
    )
    if row is None:
        return None
    return Published(version=version_by_key(tx, row[1] or row[0]), kind="reproduced" if row[1] else "created")


# ------------------------------------------------------------------- the run
def _run(tx: Tx, p: Publication) -> Row | None:
    if p.run_id is None:
        return None
    row = runs.locked(tx, p.run_id)
    if row is None:
        raise RunNotFoundError(id=p.run_id)
    return row


def _check_run(tx: Tx, run: Row, p: Publication) -> None:
    runs.refuse_fenced(run, p.fence)
    if run.state in ENDED and run.state != "lost":
        raise StateError(what=f"run {run.uid} has ended ({run.state}), it logs nothing more", run=run.uid)
    if run.state == "lost" or run.lease_until < tx.now:
        runs.come_back(tx, run)


# -------------------------------------------------------------- the artifact
def ensure_artifact(tx: Tx, p: Publication) -> Row:
    """The artifact (partition) the publication is for, made if new, locked.

    Raises:
        InvalidInputError: It has another type.
    """
    whole = _ensured(tx, p, "", p.type or DEFAULT_TYPE)  # the artifact itself first: it fixes its partitions' type
    if p.type not in (None, whole.type):
        raise InvalidInputError(
            what=f"{p.project}/{p.artifact} has the type {whole.type!r}, not {p.type!r}",
            fix="log under another name, or with its type",
        )
    return _ensured(tx, p, p.partition, whole.type) if p.partition else whole


def _ensured(tx: Tx, p: Publication, partition: str, kind: str) -> Row:
    row = _artifact(tx, p, partition)
    if row is None:
        _insert_artifact(tx, p, partition, kind)
        row = _artifact(tx, p, partition)
    assert row is not None
    return row


def _artifact(tx: Tx, p: Publication, partition: str) -> Row | None:
    """The row, locked if it is the one whose versions are numbered."""
    lock = tx.dialect.for_update if partition == p.partition else ""
    return tx.row(
        "SELECT id, type, next_number, updated_at FROM artifacts"
        f" WHERE project = :project AND name = :name AND partition = :partition{lock}",
        project=p.project, name=p.artifact, partition=partition,
    )  # fmt: skip


def _insert_artifact(tx: Tx, p: Publication, partition: str, kind: str) -> None:
    tx.run(
        "INSERT INTO artifacts (uid, project, name, partition, type, created_at, updated_at)"
        " VALUES (:uid, :project, :name, :partition, :type, :now, :now) ON CONFLICT DO NOTHING",
        uid=tx.ulid(), project=p.project, name=p.artifact, partition=partition, type=kind, now=tx.now,
    )  # fmt: skip


def _twin(tx: Tx, artifact: int, p: Publication, run: Row | None) -> Row | None:
    return newest_twin(tx, artifact, p.root, _codec(p)) or _earlier_attempts(tx, artifact, p, run)


def newest_twin(tx: Tx, artifact: int, root: bytes, codec: str | None) -> Row | None:
    """The artifact's newest version, if it has this content, and it is the same kind of value."""
    newest = tx.row(
        f"{STATE} WHERE v.artifact = :artifact AND v.state = 'published' ORDER BY v.number DESC LIMIT 1",
        artifact=artifact,
    )  # fmt: skip
    return newest if newest is not None and (bytes(newest.root), newest.codec) == (root, codec) else None


def _codec(p: Publication) -> str | None:
    return None if p.codec is None else dump(p.codec, "the codec's options")


def _earlier_attempts(tx: Tx, artifact: int, p: Publication, run: Row | None) -> Row | None:
    """What an earlier attempt under the same key logged to this artifact, if it has this content, as such a value."""
    if run is None or (run.attempt <= 1 and not run.fence):
        return None
    return tx.row(
        f"{STATE} JOIN logs l ON l.version = v.id JOIN runs r ON r.id = l.run"
        " WHERE r.key = :key AND (r.attempt < :attempt OR (r.id = :run AND l.fence < :fence))"
        " AND v.artifact = :artifact AND v.root = :root AND coalesce(v.codec, '') = :codec AND v.state = 'published'"
        " ORDER BY v.number DESC LIMIT 1",
        key=run.key, attempt=run.attempt, run=run.id, fence=run.fence, artifact=artifact, root=p.root,
        codec=_codec(p) or "",
    )  # fmt: skip


# --------------------------------------------------------------- a new version
def _create(tx: Tx, p: Publication, artifact: Row, run: Row | None) -> int:
    prove(tx, p)
    at = max(tx.now, artifact.updated_at)  # a clock that jumped back does not reorder an artifact's versions
    key = insert_version(tx, p, artifact.id, run, at)
    facts.put(tx, "version_facts", key, [*facts.leaves("metadata", p.metadata), *facts.tag_leaves(sorted(set(p.tags)))])
    _derive(tx, p, key, run)
    if run is not None:
        log(tx, run, key, p.role, kind="created", at=at)
    if not p.draft:
        number(tx, key, artifact, p.actor, p.aliases)
    return key


def insert_version(tx: Tx, p: Publication, artifact: int, run: Row | None, at: int) -> int:
    """Add the version's row, as a draft; its key."""
    key: int = tx.value(
        "INSERT INTO versions (uid, artifact, state, root, n_entries, stored_size, referenced_size, codec, metadata,"
        " description, tags, created_at, created_by, run, expires_at, pending_aliases) VALUES (:uid, :artifact,"
        " 'draft', :root, :n, :stored, :referenced, :codec, :metadata, :description, :tags, :at, :actor, :run,"
        " :expires, :aliases) RETURNING id",
        uid=p.version_id, artifact=artifact, root=p.root, n=p.n_entries, stored=p.stored_size,
        referenced=p.referenced_size, codec=_codec(p),
        metadata=dump(p.metadata, "metadata"), description=p.description, tags=sorted_names(p.tags), at=at,
        actor=p.actor, run=None if run is None else run.id, aliases=sorted_names(p.aliases) if p.draft else "[]",
        expires=tx.now + p.draft_ttl_seconds * SECOND if p.draft else None,
    )  # fmt: skip
    return key


def number(tx: Tx, key: int, locked: Row, actor: str, aliases: Iterable[str]) -> None:
    """Publish a version row under the next number of its artifact; `locked` is the artifact's row, just locked."""
    # Strictly rising within an artifact, whatever the clock does: looking back at a time has one answer.
    at = max(tx.now, locked.updated_at + min(locked.next_number, 1))
    tx.run(
        "UPDATE versions SET state = 'published', number = :number, published_at = :at, expires_at = NULL,"
        " pending_aliases = '[]' WHERE id = :id",
        number=locked.next_number, at=at, id=key,
    )  # fmt: skip
    tx.run("UPDATE artifacts SET next_number = next_number + 1, updated_at = :at WHERE id = :id", at=at, id=locked.id)
    row = tx.row(f"{STATE} WHERE v.id = :id", id=key)
    assert row is not None
    _announce(tx, row, "version.published", actor)
    change = Change(tx, row, actor, row.run_uid)
    for alias in sorted(set(aliases) - {LATEST}):
        change.alias(alias)
    remember_for_group(tx, row.grp, row, aliases)


def log(tx: Tx, run: Row, version: int, role: str | None, *, kind: LogKind, at: int) -> bool:
    """Draw a log edge; whether it is new."""
    return tx.run(
        "INSERT INTO logs (run, version, role, kind, fence, at) VALUES (:run, :version, :role, :kind, :fence, :at)"
        " ON CONFLICT DO NOTHING",
        run=run.id, version=version, role=role or "", kind=kind, fence=run.fence, at=at,
    ) > 0  # fmt: skip


def _derive(tx: Tx, p: Publication, key: int, run: Row | None) -> None:
    if p.derived_from is None:
        if run is not None:
            tx.run(
                "INSERT INTO derivations (version, source) SELECT DISTINCT CAST(:version AS BIGINT), version FROM uses"
                " WHERE run = :run ON CONFLICT DO NOTHING",
                version=key, run=run.id,
            )  # fmt: skip
        return
    for uid in sorted(set(p.derived_from)):
        source = tx.row("SELECT id, became FROM versions WHERE uid = :uid", uid=uid)
        if source is None:
            raise VersionNotFoundError(name=uid)
        tx.run("INSERT INTO derivations (version, source) VALUES (:version, :source) ON CONFLICT DO NOTHING",
               version=key, source=source[1] or source[0])  # fmt: skip


# ------------------------------------------------------- an equal version again
def _reproduce(tx: Tx, p: Publication, twin: Row, run: Row | None) -> int:
    """The version `twin` is what was logged: an edge, and what came with it as an edit."""
    newest = newest_twin(tx, twin.artifact, p.root, _codec(p)) is not None
    tx.run("INSERT INTO reproductions (uid, version) VALUES (:uid, :version)", uid=p.version_id, version=twin.id)
    if run is not None and log(tx, run, twin.id, p.role, kind="reproduced", at=tx.now):
        _announce(tx, twin, "version.reproduced", p.actor, run.uid)
    change = Change(tx, twin, p.actor, None if run is None else run.uid)
    if p.metadata:
        change.metadata(merged(load(twin.metadata), p.metadata))
    if p.description:
        change.description(p.description)
    if p.tags:
        change.tags({*names(twin.tags), *p.tags})
    for alias in sorted(set(p.aliases) - {LATEST}):
        if newest or not _was_here(tx, twin, alias):  # a retry does not take an alias back from who moved it on
            change.alias(alias)
    change.done()
    remember_for_group(tx, None if run is None else run.grp, twin, p.aliases)
    return int(twin.id)


def _was_here(tx: Tx, version: Row, alias: str) -> bool:
    return tx.value(
        "SELECT 1 FROM events WHERE version = :version AND kind = 'alias.set' AND label = :alias LIMIT 1",
        version=version.id, alias=alias,
    ) is not None  # fmt: skip


# ---------------------------------------------------------------------- packs
def prove(tx: Tx, p: Publication) -> None:
    """Check that every pack the version needs is live, and record page → packs and root → pages.

    Collectors cannot run between this check and our commit (`Database.write`).

    Raises:
        ConflictError: Some are not; fact `lost_packs`.
    """
    claims = {bytes(use.name): use.packs for use in (*p.pages, *p.chunk_lists) if use.packs}
    claims[p.root] = p.root_packs
    proved = [bytes(use.name) for use in (*p.pages, *p.chunk_lists) if not use.packs]
    keys = _live(tx, {uid for wanted in claims.values() for uid in wanted})
    _check_proofs(tx, proved)
    stale = list(tx.rows_having(  # of a time when nobody needed the page; these claims are whole without them
        "SELECT p.name, p.pack FROM proofs p JOIN packs k ON k.id = p.pack WHERE k.state <> 'live' AND {having}",
        "p.name", list(claims),
    ))  # fmt: skip
    tx.run_many("DELETE FROM proofs WHERE name = :name AND pack = :pack",
                [{"name": row[0], "pack": row[1]} for row in stale])  # fmt: skip
    tx.run_many(
        "INSERT INTO proofs (name, pack) VALUES (:name, :pack) ON CONFLICT DO NOTHING",
        [{"name": name, "pack": keys[uid]} for name, wanted in claims.items() for uid in sorted(wanted)],
    )
    pages = {p.root, *(bytes(use.name) for use in p.pages)}
    tx.run_many(
        "INSERT INTO manifest (root, page) VALUES (:root, :page) ON CONFLICT DO NOTHING",
        [{"root": p.root, "page": page} for page in sorted(pages)],
    )


def _live(tx: Tx, uids: set[str]) -> dict[str, int]:
    rows = list(tx.rows_having("SELECT uid, id FROM packs WHERE state = 'live' AND {having}", "uid", sorted(uids)))
    keys = {row[0]: int(row[1]) for row in rows}
    if len(keys) < len(uids):
        raise _lost(uids - keys.keys())
    return keys


def _check_proofs(tx: Tx, proved: Sequence[bytes]) -> None:
    if len(packs.whole_proofs(tx, proved, ("live",))) < len(set(proved)):
        lost = {row[0] for row in tx.rows_having(
            "SELECT p.uid FROM proofs t JOIN packs p ON p.id = t.pack WHERE p.state <> 'live' AND {having}",
            "t.name", list(proved),
        )}  # fmt: skip
        raise _lost(lost)


def _lost(uids: Iterable[str]) -> ConflictError:
    return ConflictError(
        what="packs this version needs were collected meanwhile", lost_packs=sorted(uids), fix="send their blobs again"
    )


# ---------------------------------------------------------------------- groups
def remember_for_group(tx: Tx, group: str | None, version: Row, aliases: Iterable[str]) -> None:
    """Inside a run's group, `latest` and the aliases set now mean this version from here on."""
    if group is None:
        return
    tx.run_many(
        "INSERT INTO group_names (grp, artifact, selector, version, how)"
        " VALUES (:grp, :artifact, :selector, :version, 'published')"
        " ON CONFLICT (grp, artifact, selector) DO UPDATE SET version = excluded.version, how = excluded.how",
        [
            {"grp": group, "artifact": version.artifact, "selector": selector, "version": version.id}
            for selector in sorted({LATEST, *aliases})
        ],
    )


def _announce(tx: Tx, version: Row, kind: str, actor: str, run: str | None = None) -> None:
    details: Mapping[str, Any] = {"digest": f"blake3:{bytes(version.root).hex()}", "type": version.type}
    tx.events.append(event(
        kind, project=version.project, actor=actor, artifact=version.artifact, version=version.id,
        run=run or version.run_uid, **details,
    ))  # fmt: skip
