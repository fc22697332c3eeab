"""The catalog: facts in SQL, seen through a few small faces of one database."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from headwater.errors import PurgedError
    from headwater.model.naming import Name
    from headwater.model.records import (
        ArtifactRecord,
        Direction,
        EdgeRecord,
        Event,
        Location,
        LogEdge,
        Publication,
        Published,
        Query,
        RunOpening,
        RunRecord,
        RunState,
        SealedPack,
        UseEdge,
        VersionRecord,
    )


class PackCatalog(Protocol):
    """Which packs exist, what lies in them, and who relies on them. All on the catalog's own clock."""

    def open_lease(self, owner: str) -> str:
        """A writer's lease on bytes, 30 minutes; return its id."""

    def renew_leases(self, leases: Collection[str]) -> None:
        """Extend leases to 30 minutes from now; StateError if one has lapsed."""

    def close_lease(self, lease: str) -> None:
        """Give up the lease and its holds; idempotent."""

    def reserve(self, pack_ids: Sequence[str], lease: str) -> list[str]:
        """Make rows in state `uploading`; return the keys to PUT them under."""

    def seal(self, packs: Sequence[SealedPack], lease: str) -> None:
        """The packs are durable: index their blobs, mark them live, hold them for the lease."""

    def hold_blobs(self, names: Collection[bytes], lease: str) -> dict[bytes, str]:
        """Name → id of a live pack that holds it, now held by the lease (condemned ones are revived).

        What is not in the answer is not there: send it.
        """

    def hold_proofs(self, names: Collection[bytes], lease: str) -> dict[bytes, frozenset[str]]:
        """Pages and chunk lists all of whose packs are live: name → packs, now held."""

    def locate(self, names: Collection[bytes]) -> dict[bytes, Location]:
        """Where to read blobs: live packs first, then condemned ones; absent names are left out."""

    def packs(self, state: str | None = None) -> Iterator[tuple[str, str, str, int]]:
        """(pack id, key, state, size) of every pack, for upkeep."""

    def purged(self, name: bytes) -> PurgedError | None:
        """What to say of a blob that was removed on purpose; None of any other."""

    def rows(self, pack_id: str) -> Iterator[Any]:
        """The `BlobRow`s of one pack, by offset."""


class VersionCatalog(Protocol):
    """Artifacts, versions, aliases, tags, and their history."""

    def commit(self, publication: Publication) -> Published:
        """Make a version (or draft), or find that an equal one is there, in one transaction.

        Raises:
            ConflictError: code facts `lost_packs`: packs that are no longer live, send their blobs again.
            StateError: The run is ended, fenced or unknown; the lease lapsed.
            InvalidInputError: The artifact has another type.
        """

    def publish(self, version_ids: Sequence[str], aliases: Mapping[str, Sequence[str]], actor: str) -> list[Published]:
        """Publish drafts, all or none. One already published is returned as it is; a discarded one is a StateError."""

    def discard(self, version_ids: Sequence[str], actor: str) -> None:
        """Give drafts up; idempotent; a published one is a StateError."""

    def find(
        self, name: Name, *, group: str | None = None, at: datetime | None = None, record: bool = True
    ) -> VersionRecord:
        """The version a full name means (section 3: group first), as of `at`.

        Raises:
            ArtifactNotFoundError, VersionNotFoundError
            StateError: That number was deleted; says when and by whom.
        """

    def get(self, version_id: str) -> VersionRecord:
        """The version with that id, deleted and drafts included; VersionNotFoundError."""

    def edit(self, version_id: str, base: VersionRecord, changes: Mapping[str, Any], actor: str) -> VersionRecord:
        """Apply `changes` (metadata, description, tags, aliases: whole new values of what changed).

        Raises:
            ConflictError: Somebody changed the same field since `base`; nothing is changed.
        """

    def set_alias(
        self, artifact: Name, alias: str, to: str | None, *, expect: str | None, actor: str, run_id: str | None = None
    ) -> None:
        """Point an alias at version id `to` (None removes it) if it is at `expect` ("" = nowhere, None = wherever)."""

    def delete(self, version_id: str, *, delete_aliases: bool, actor: str) -> VersionRecord:
        """Leave a tombstone; StateError while an alias other than latest points at it, unless `delete_aliases`."""

    def edit_artifact(self, artifact: Name, changes: Mapping[str, Any], actor: str) -> ArtifactRecord:
        """Change description or tags of an artifact."""

    def artifact(self, artifact: Name) -> ArtifactRecord:
        """ArtifactNotFoundError if there is none."""

    def artifacts(self, query: Query) -> list[ArtifactRecord]:
        """Artifacts, partitions folded unless `query.partition` is given."""

    def partitions(self, artifact: Name) -> list[ArtifactRecord]:
        """The partitions of an artifact, by key."""

    def versions(self, query: Query, *, drafts: bool = False, deleted: bool = False) -> list[VersionRecord]:
        """Versions that match, newest first unless ordered."""

    def history(self, artifact: Name, version_id: str | None = None) -> list[Event]:
        """Every change, oldest first."""

    def sweep_drafts(self, actor: str) -> int:
        """Discard drafts past their time to live; return how many."""


class RunCatalog(Protocol):
    """Runs and the two edges."""

    def open(self, opening: RunOpening) -> RunRecord:
        """Open the run, or find it again; earlier running attempts of its key are closed as `lost`.

        Raises:
            StateError: The run is ended and `resume` was not asked for.
        """

    def get(self, id_or_key: str) -> RunRecord:
        """By id, or the newest attempt under a key; RunNotFoundError. Lapsed leases show as `lost`."""

    def attempts(self, key: str) -> Sequence[RunRecord]:
        """Every attempt under a key, oldest first."""

    def renew(self, run_ids: Mapping[str, int]) -> dict[str, RunRecord]:
        """Extend the 3-minute leases of run id → fence; a `lost` run returns; those fenced or ended are left out."""

    def pause(self, run_id: str, seconds: float, *, fence: int | None = None) -> RunRecord:
        """Make the lease that long, as nobody renews it meanwhile; whoever opens the run again goes on with it.

        Raises:
            StateError: The run has ended, or another executor has taken it over already.
        """

    def close(
        self,
        run_id: str,
        state: RunState,
        *,
        fence: int | None = None,
        error: str | None = None,
        cached_from: str | None = None,
    ) -> RunRecord:
        """End a run; its open drafts are discarded unless `finished`. Idempotent; StateError for a fenced caller."""

    def close_group(self, group: str, state: RunState, error: str | None = None) -> Sequence[RunRecord]:
        """End every running run of a group."""

    def update(
        self,
        run_id: str,
        *,
        config: Mapping[str, Any] | None = None,
        summary: Mapping[str, Any] | None = None,
        links: Mapping[str, str] | None = None,
        code: Mapping[str, Any] | None = None,
    ) -> RunRecord:
        """Merge keys into a run's facts, ended or not."""

    def record_uses(self, run_id: str, uses: Sequence[tuple[str, str | None, str]]) -> None:
        """(version id, role, asked name); idempotent; a run that ended `finished` is a StateError."""

    def list(self, query: Query) -> Sequence[RunRecord]:
        """Runs that match, newest first unless ordered."""

    def used(self, run_id: str) -> Sequence[UseEdge]: ...
    def logged(self, run_id: str) -> Sequence[LogEdge]: ...
    def users(self, version_id: str, query: Query) -> Sequence[tuple[RunRecord, str | None]]: ...
    def loggers(self, version_id: str) -> Sequence[tuple[RunRecord, str | None, str]]: ...

    def sweep(self) -> Sequence[RunRecord]:
        """Mark every running run whose lease lapsed as `lost`, discarding its drafts; return them."""


class LineageCatalog(Protocol):
    """The graph: first which versions are in it, then, for who looks, its edges and its nodes."""

    def closure(
        self,
        version_ids: Sequence[str],
        direction: Direction,
        *,
        depth: int | None = None,
        all_edges: bool = False,
        limit: int | None = None,
    ) -> Sequence[str]:
        """Ids of everything upstream or downstream, the starting versions included; one recursive query.

        Follows `created` derivations; with `all_edges` also what reproducing runs used.
        """

    def edges(self, version_ids: Sequence[str], direction: Direction, *, all_edges: bool = False) -> EdgeRecord:
        """The edges among these versions: upstream through the runs that made them, downstream through their users."""

    def nodes(
        self, version_ids: Sequence[str], run_ids: Sequence[str]
    ) -> tuple[Sequence[VersionRecord], Sequence[RunRecord]]:
        """The records of versions and runs, in any order; ids that do not exist are left out."""


class EventCatalog(Protocol):
    """The append-only feed."""

    def after(
        self,
        cursor: int,
        limit: int = 1000,
        *,
        kinds: Collection[str] = (),
        project: str | None = None,
        artifact: str | None = None,
    ) -> list[Event]: ...

    def head(self) -> int:
        """The cursor of the newest event, 0 if none."""

    def consumer(self, name: str) -> int:
        """The acknowledged cursor of a named consumer, 0 if new."""

    def acknowledge(self, name: str, cursor: int) -> None:
        """Everything up to `cursor` was handled; never moves back."""


class Catalog(Protocol):
    """Facts in SQL: five small faces of one database."""

    @property
    def repository_id(self) -> str: ...
    @property
    def packs(self) -> PackCatalog: ...
    @property
    def versions(self) -> VersionCatalog: ...
    @property
    def runs(self) -> RunCatalog: ...
    @property
    def lineage(self) -> LineageCatalog: ...
    @property
    def events(self) -> EventCatalog: ...
    def setting(self, key: str) -> str | None: ...
    def set_setting(self, key: str, value: str) -> None: ...
    def close(self) -> None: ...


class CollectorCatalog(Protocol):
    """What clean-up asks of the catalog. All ages are on the catalog's own clock.

    Statements that take something away never overlap a writer's transaction, and come in short batches.
    """

    def condemn(self, *, min_age_seconds: float = 86_400, dry_run: bool = False) -> Iterator[tuple[str, int]]:
        """(pack id, size) of packs that nothing references and nobody holds, old enough, condemned as they come.

        References are those of published versions, drafts, and deleted versions that a running run uses.
        """

    def recheck(
        self, *, grace_seconds: float = 86_400, condemned_before: int | None = None
    ) -> Iterator[tuple[str, str, int]]:
        """Bring condemned packs that are needed again back to life; make those condemned long enough `deleting`.

        With `condemned_before` (microseconds) only those condemned by then: the newest backup may need the others.
        Yields (pack id, key, size) of the latter, durable as `deleting`: their objects may be deleted now.
        """

    def deleting(self) -> Sequence[tuple[str, str]]:
        """(pack id, key) of packs whose objects are to be deleted, also those an interrupted collector left."""

    def gone(self, pack_ids: Collection[str]) -> None:
        """Their objects are deleted: forget what lay in them; idempotent; packs in other states are left alone."""

    def bury(self, keys: Collection[str]) -> list[str]:
        """Of these pack keys, those no row knew, now known as `gone`: a late writer of one conflicts."""

    def pages_in(self, pack_id: str) -> Sequence[bytes]:
        """Pages and roots of standing versions that have something in this pack."""

    def repoint(self, moves: Sequence[tuple[str, Collection[str], Collection[bytes]]]) -> None:
        """For each (old, new, pages): what these pages had in pack `old` is now in the live packs `new`.

        Pages not named stay where they are. Each move by itself, in this order; several in one transaction.

        Raises:
            ConflictError: One of `new` is not live.
        """

    def forget(self) -> int:
        """Drop lapsed leases with their holds, and the page lists of versions that are gone for good; how many rows."""
