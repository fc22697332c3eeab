"""Rows of the database as records, and JSON as it is kept."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from headwater.errors import InvalidInputError
from headwater.model.naming import LATEST
from headwater.model.records import ArtifactRecord, RunRecord, VersionRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from headwater.catalog.engine import Row, Tx

SECOND = 1_000_000
"""Times are kept in microseconds."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

VERSION = (
    "v.id, v.uid, a.project, a.name, a.partition, a.type, v.number, v.state, v.root, v.n_entries, v.stored_size,"
    " v.referenced_size, v.codec, v.tags, v.metadata, v.description, v.revision, v.created_at, v.created_by,"
    " r.uid AS run_uid, v.published_at, v.expires_at, v.deleted_at,"
    " (SELECT max(n.number) FROM versions n WHERE n.artifact = v.artifact AND n.state = 'published') AS newest"
)
"""What `version_record` needs, selected FROM `VERSIONS`."""
VERSIONS = "versions v JOIN artifacts a ON a.id = v.artifact LEFT JOIN runs r ON r.id = v.run"

RUN = (
    "r.id, r.uid, r.key, r.attempt, r.project, r.name, r.grp, r.parent, r.state, r.config, r.summary, r.links, r.code,"
    " r.actor, r.host, r.pid, r.error, r.fence, r.started_at, r.finished_at, r.lease_until, r.cached_from"
)
"""What `run_record` needs, selected FROM `runs r`."""


def moment(microseconds: int) -> datetime:
    """A stored time as an aware datetime."""
    return _EPOCH + timedelta(microseconds=microseconds)


def maybe_moment(microseconds: int | None) -> datetime | None:
    """As `moment`; None stays None."""
    return None if microseconds is None else _EPOCH + timedelta(microseconds=microseconds)


def microseconds(time: datetime) -> int:
    """A time as it is stored; a naive one is taken as UTC."""
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    return (aware - _EPOCH) // _MICROSECOND


def dump(value: Any, what: str = "a value") -> str:
    """JSON text of `value`; NaN and infinities are kept as Python's json writes them.

    Raises:
        InvalidInputError: Something in it is no JSON value.
    """
    try:
        return json.dumps(value, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(what=f"{what} holds something that is not JSON: {error}") from None


def load(text: str) -> dict[str, Any]:
    """The mapping that `dump` wrote."""
    if text == "{}":
        return {}
    value: dict[str, Any] = json.loads(text)
    return value


def names(text: str) -> tuple[str, ...]:
    """The list of names that `dump` wrote."""
    return () if text == "[]" else tuple(json.loads(text))


def version_records(tx: Tx, rows: Sequence[Row]) -> list[VersionRecord]:
    """Rows of `VERSION` as records, with their aliases."""
    aliases = aliases_of(tx, [row[0] for row in rows])
    return [version_record(row, aliases.get(row[0], ())) for row in rows]


def version_record(row: Row, aliases: Sequence[str]) -> VersionRecord:
    """One row of `VERSION`, and the aliases stored for it."""
    (_, uid, project, artifact, partition, kind, number, state, root, n_entries, stored, referenced, codec, tags,
     metadata, description, revision, created_at, created_by, run, published_at, expires_at, deleted_at,
     newest) = row  # fmt: skip
    if number is not None and number == newest and state == "published":
        aliases = sorted([*aliases, LATEST])
    return VersionRecord(
        id=uid, project=project, artifact=artifact, partition=partition, type=kind, number=number, state=state,
        digest=f"blake3:{root.hex()}", n_entries=n_entries, stored_size=stored, referenced_size=referenced,
        codec=None if codec is None else load(codec), aliases=tuple(aliases), tags=names(tags),
        metadata=load(metadata), description=description, revision=revision, created_at=moment(created_at),
        created_by=created_by, run_id=run, published_at=maybe_moment(published_at),
        expires_at=maybe_moment(expires_at), deleted_at=maybe_moment(deleted_at),
    )  # fmt: skip


def aliases_of(tx: Tx, versions: Sequence[int]) -> dict[int, list[str]]:
    """Stored aliases by version key, sorted (`latest` is not stored)."""
    found: dict[int, list[str]] = {}
    for version, alias in tx.rows_having(
        "SELECT version, alias FROM aliases WHERE {having} ORDER BY alias", "version", versions
    ):
        found.setdefault(version, []).append(alias)
    return found


def version_by_key(tx: Tx, key: int) -> VersionRecord:
    """The version with that integer key, which must exist."""
    return version_records(tx, tx.rows(f"SELECT {VERSION} FROM {VERSIONS} WHERE v.id = :key", key=key))[0]


def run_record(row: Row, now: int) -> RunRecord:
    """One row of `RUN`; a running one whose lease lapsed shows as lost."""
    (_, uid, key, attempt, project, name, group, parent, state, config, summary, links, code, actor, host, pid, error,
     fence, started_at, finished_at, lease_until, cached_from) = row  # fmt: skip
    if state == "running" and lease_until < now:
        state = "lost"
    return RunRecord(
        id=uid, key=key, attempt=attempt, project=project, name=name, group=group, parent=parent, state=state,
        config=load(config), summary=load(summary), links=load(links), code=load(code), actor=actor, host=host,
        pid=pid, error=error, fence=fence, started_at=moment(started_at), finished_at=maybe_moment(finished_at),
        lease_until=moment(lease_until), cached_from=cached_from,
    )  # fmt: skip


def artifact_record(row: Row) -> ArtifactRecord:
    """One row of (uid, project, name, partition, type, description, tags, n, partitions, latest, created, updated)."""
    uid, project, name, partition, kind, description, tags, n, partitions, latest, created_at, updated_at = row
    return ArtifactRecord(
        id=uid, project=project, name=name, partition=partition, type=kind, description=description, tags=names(tags),
        n_versions=int(n or 0), n_partitions=int(partitions or 0), latest=latest, created_at=moment(created_at),
        updated_at=moment(updated_at),
    )  # fmt: skip


def event(  # noqa: PLR0913  the columns of a table
    kind: str, *, project: str, actor: str, artifact: int | None = None, version: int | None = None,
    run: str | None = None, label: str = "", **details: Any,
) -> dict[str, Any]:  # fmt: skip
    """One line for the feed; its cursor and time are given when the transaction ends."""
    return {
        "kind": kind, "project": project, "artifact": artifact, "version": version, "run": run, "actor": actor,
        "label": label, "details": dump(details, "an event"),
    }  # fmt: skip


def number_name(number: int | None) -> str | None:
    """`v3` for 3, as events write it."""
    return None if number is None else f"v{number}"


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """`old` with the keys of `new` put over it."""
    return {**old, **new}


def sorted_names(values: Iterable[str]) -> str:
    """A set of names as JSON, sorted."""
    return dump(sorted(set(values)))
