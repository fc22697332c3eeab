"""What the catalog remembers, as plain frozen values.

Times are aware UTC datetimes. Ids are text: ULIDs for versions, events and
packs; UUIDs for runs. Sizes are bytes. `None` means unknown, never zero.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

VersionState = Literal["draft", "published", "deleted", "discarded"]
RunState = Literal["running", "finished", "failed", "cancelled", "skipped", "cached", "lost"]
LogKind = Literal["created", "reproduced"]
BlobKind = Literal["data", "chunks", "page", "root"]
Direction = Literal["upstream", "downstream"]

ENDED: frozenset[RunState] = frozenset(("finished", "failed", "cancelled", "skipped", "cached", "lost"))

DEFAULT_TYPE = "dataset"
"""Of an artifact whose first version is logged without a type."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A value: equal by content, JSON by `msgspec.to_builtins`."""


class VersionRecord(Record, frozen=True, kw_only=True):
    """One version of an artifact, as the catalog knows it."""

    id: str
    project: str
    artifact: str
    partition: str = ""
    type: str
    number: int | None
    """None while it is a draft."""
    state: VersionState
    digest: str
    """Of the manifest's root, public form."""
    n_entries: int
    stored_size: int
    """Bytes of stored entries, before deduplication and compression."""
    referenced_size: int | None
    """Bytes of references; None if the size of any is unknown."""
    codec: dict[str, Any] | None = None
    """How to load the value again: `{"name": …, "options": …}`; None for plain files."""
    aliases: tuple[str, ...] = ()
    """Sorted; `latest` included where it holds."""
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = {}
    description: str = ""
    revision: int = 0
    """Counts the edits of metadata, description, tags; what `save()` compares."""
    created_at: datetime
    created_by: str
    run_id: str | None = None
    """The run with the `created` log edge."""
    published_at: datetime | None = None
    expires_at: datetime | None = None
    """Of a draft: when anybody may discard it."""
    deleted_at: datetime | None = None


class ArtifactRecord(Record, frozen=True, kw_only=True):
    """An artifact (one partition of it, where it has partitions)."""

    id: str
    project: str
    name: str
    partition: str = ""
    type: str
    description: str = ""
    tags: tuple[str, ...] = ()
    n_versions: int
    """Published and not deleted."""
    n_partitions: int = 0
    latest: int | None
    created_at: datetime
    updated_at: datetime


class RunRecord(Record, frozen=True, kw_only=True):
    """One attempt at executing a step."""

    id: str
    key: str
    attempt: int
    project: str
    name: str
    group: str | None = None
    parent: str | None = None
    """Run id."""
    state: RunState
    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    links: dict[str, str] = {}
    """Label → URL or command, to the orchestrator's page and the like."""
    code: dict[str, Any] = {}
    """Git commit, dirty flag, Python and package versions."""
    actor: str
    host: str = ""
    pid: int = 0
    error: str | None = None
    fence: int = 0
    """Raised when another executor takes this attempt over; older ones are refused."""
    started_at: datetime
    finished_at: datetime | None = None
    lease_until: datetime | None = None
    cached_from: str | None = None
    """Of a `cached` run: the id of the run whose versions it reuses."""


class UseEdge(Record, frozen=True, kw_only=True):
    """A run used a version."""

    run_id: str
    version: VersionRecord
    role: str | None
    asked: str
    """The name the user wrote, e.g. `mnist:latest`."""
    at: datetime


class LogEdge(Record, frozen=True, kw_only=True):
    """A run logged a version."""

    run_id: str
    version: VersionRecord
    role: str | None
    kind: LogKind
    at: datetime


class Event(Record, frozen=True, kw_only=True):
    """One line of the append-only feed, and of an artifact's history."""

    cursor: int
    """Strictly rising; no event appears later below one already seen."""
    at: datetime
    kind: str
    """`version.published`, `version.deleted`, `alias.set`, `alias.removed`, `tag.added`, `tag.removed`,
    `metadata.changed`, `description.changed`, `draft.discarded`, `run.started`, `run.ended`, …"""
    project: str
    artifact: str | None = None
    partition: str = ""
    version_id: str | None = None
    number: int | None = None
    run_id: str | None = None
    actor: str
    details: dict[str, Any] = {}
    """E.g. `{"alias": "prod", "old": "v3", "new": "v4"}`."""


class BlobRow(Record, frozen=True, kw_only=True):
    """Where one blob lies inside a pack."""

    name: bytes
    """Digest of the raw bytes; for a chunk list the name that FORMAT.md derives."""
    offset: int
    stored: int
    """Length in the pack, bytes."""
    raw: int
    """Length before compression, bytes."""
    compression: int
    """0 none, 1 zstd."""
    kind: BlobKind = "data"


class Location(Record, frozen=True, kw_only=True):
    """A blob and the pack it lies in."""

    pack_id: str
    key: str
    """The pack's key in the object store."""
    row: BlobRow


class SealedPack(Record, frozen=True, kw_only=True):
    """A pack that is durable in the object store, with its index."""

    pack_id: str
    size: int
    rows: tuple[BlobRow, ...]


class PageUse(Record, frozen=True, kw_only=True):
    """One page (or chunk list) and every pack that holds something below it, itself included."""

    name: bytes
    packs: frozenset[str]


class Publication(Record, frozen=True, kw_only=True):
    """Everything one catalog transaction needs to make a version."""

    version_id: str
    project: str
    artifact: str
    partition: str = ""
    type: str | None = None
    """None: what the artifact's is, or `DEFAULT_TYPE` for a new one."""
    root: bytes
    """Raw digest of the manifest's root."""
    root_packs: frozenset[str]
    pages: tuple[PageUse, ...]
    """Every page of the manifest, new or not, so that the catalog knows what the root needs; packs may be left empty
    for pages that `hold_proofs` proves."""
    chunk_lists: tuple[PageUse, ...] = ()
    seals: tuple[SealedPack, ...] = ()
    """Packs to mark live in the same transaction."""
    lease: str
    n_entries: int
    stored_size: int
    referenced_size: int | None
    codec: dict[str, Any] | None = None
    metadata: dict[str, Any] = {}
    description: str = ""
    aliases: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    run_id: str | None = None
    fence: int = 0
    role: str | None = None
    derived_from: tuple[str, ...] | None = None
    """Version ids; None means every version the run has used so far."""
    draft: bool = False
    draft_ttl_seconds: int = 86_400
    finish: RunState | None = None
    """Also close the run with this state, in the same transaction."""
    actor: str


class Published(Record, frozen=True, kw_only=True):
    """What a publication made."""

    version: VersionRecord
    kind: LogKind
    """`reproduced` when an equal version was there already."""


class RunOpening(Record, frozen=True, kw_only=True):
    """Everything needed to open (or find again) a run."""

    id: str
    key: str
    attempt: int | None = None
    """None: one more than the highest under this key."""
    project: str
    name: str
    group: str | None = None
    parent: str | None = None
    config: dict[str, Any] = {}
    links: dict[str, str] = {}
    code: dict[str, Any] = {}
    actor: str
    host: str = ""
    pid: int = 0
    resume: bool = False
    """Take an existing run of this id over instead of starting it anew; the older executor is fenced."""


class EdgeRecord(Record, frozen=True, kw_only=True):
    """The edges of a piece of the lineage graph, sorted; nodes by id."""

    uses: tuple[tuple[str, str, str | None], ...] = ()
    """(run id, version id, role)."""
    logs: tuple[tuple[str, str, str | None, LogKind], ...] = ()
    """(run id, version id, role, kind)."""
    derivations: tuple[tuple[str, str], ...] = ()
    """(version id, id of the version it derives from)."""


class Query(Record, frozen=True, kw_only=True):
    """A question about artifacts, versions or runs; the same in Python, CLI and HTTP."""

    project: str | None = None
    type: str | None = None
    artifact: str | None = None
    partition: str | None = None
    group: str | None = None
    where: tuple[str, ...] = ()
    """Conditions such as `summary.val_acc>=0.9`, `tag=gold`, `created>2026-01-01`; all must hold."""
    order: str = ""
    """A field, descending with a leading `-`; nulls and NaN come last either way."""
    limit: int | None = None
    after: str | None = None
    """Opaque position for the next page."""
