"""The JSON documents that `--json` prints: one shape per thing, fields are only ever added.

version    name artifact version number project partition id type state digest entries size stored_size
           referenced_size aliases tags metadata description codec run created_at created_by
artifact   name project partition type versions partitions latest description tags created_at updated_at
run        id key attempt project name group parent state config summary links code actor host error
           cached_from started_at finished_at
event      at kind artifact partition version run actor details cursor
entry      path size digest executable        or        path size uri pin strength

Times are RFC 3339 in UTC, sizes bytes, unknown is null.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headwater.artifactinfo import ArtifactInfo
    from headwater.model.records import Event, RunRecord
    from headwater.version import Version


def version_json(version: Version[Any]) -> dict[str, Any]:
    """A version with its facts."""
    record = version.record
    return {
        "name": str(version),
        "artifact": record.artifact,
        "version": version.version,
        "number": record.number,
        "project": record.project,
        "partition": record.partition,
        "id": record.id,
        "type": record.type,
        "state": record.state,
        "digest": record.digest,
        "entries": record.n_entries,
        "size": version.size,
        "stored_size": record.stored_size,
        "referenced_size": record.referenced_size,
        "aliases": list(version.aliases),
        "tags": list(version.tags),
        "metadata": version.metadata,
        "description": version.description,
        "codec": record.codec,
        "run": record.run_id,
        "created_at": time_json(record.created_at),
        "created_by": record.created_by,
    }


def artifact_json(info: ArtifactInfo) -> dict[str, Any]:
    """An artifact, or one partition of it."""
    record = info.record
    return {
        "name": info.name,
        "project": record.project,
        "partition": record.partition,
        "type": record.type,
        "versions": record.n_versions,
        "partitions": record.n_partitions,
        "latest": None if record.latest is None else f"v{record.latest}",
        "description": record.description,
        "tags": list(record.tags),
        "created_at": time_json(record.created_at),
        "updated_at": time_json(record.updated_at),
    }


def run_json(record: RunRecord) -> dict[str, Any]:
    """A run with its facts, without its edges."""
    kept = ("id", "key", "attempt", "project", "name", "group", "parent", "state", "config", "summary", "links",
            "code", "actor", "host", "error", "cached_from")  # fmt: skip
    return {
        **{field: getattr(record, field) for field in kept},
        "started_at": time_json(record.started_at),
        "finished_at": time_json(record.finished_at),
    }


def event_json(event: Event) -> dict[str, Any]:
    """One line of the history."""
    return {
        "at": time_json(event.at),
        "kind": event.kind,
        "artifact": f"{event.project}/{event.artifact}" if event.artifact else None,
        "partition": event.partition,
        "version": None if event.number is None else f"v{event.number}",
        "run": event.run_id,
        "actor": event.actor,
        "details": event.details,
        "cursor": event.cursor,
    }


def time_json(at: datetime | None) -> str | None:
    """RFC 3339 with `Z`."""
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")
