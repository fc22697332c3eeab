"""The copy itself: runs first, then versions from the oldest on, each in one transaction once its bytes are there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from headwater.errors import ConflictError, InvalidInputError, StateError
from headwater.model.digest import Digest
from headwater.model.entries import ReferenceEntry
from headwater.model.graph import label
from headwater.model.naming import LATEST, Name
from headwater.model.records import Publication
from headwater.ports.arriving import Arrival
from headwater.publishing import ATTEMPTS
from headwater.upload.transfer import transfer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from headwater.home import Home
    from headwater.model.records import EdgeRecord, RunRecord, VersionRecord
    from headwater.ports import Progress
    from headwater.ports.arriving import ArrivalCatalog
    from headwater.upload import Uploaded

Upstream = Literal["content", "facts", "none"]


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """How versions are copied."""

    upstream: Upstream = "content"
    """What comes along of what they were made from: everything, tombstones that keep the lineage, or nothing."""
    aliases: bool = False
    """Whether aliases move to the copies, as they are at the source."""
    allow_file_references: bool = False
    """Whether references to `file://` may come along, though they may mean nothing where they go."""


class CopiedVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the mapping."""

    id: str
    source: str
    """`project/artifact:v3` as it is called there."""
    target: str
    """The same here."""
    outcome: Literal["copied", "known", "lineage"]
    """`known`: it was there already; `lineage`: only its facts were copied."""


class Copied(msgspec.Struct, kw_only=True):
    """What was done."""

    versions: list[CopiedVersion] = []
    runs: int = 0
    sent_bytes: int = 0
    sent_blobs: int = 0
    puts: int = 0


def copy_versions(
    source: Home, target: Home, version_ids: Sequence[str], wishes: Wishes, progress: Progress | None = None
) -> Copied:
    """Copy versions, the runs that logged them and what they were made from. Idempotent; resumable at any point.

    Only blobs that the target lacks are read and sent. Drafts are not copied.

    Args:
        source: Where they are.
        target: Where they shall be.
        version_ids: Which.
        wishes: How.
        progress: Told "versions", how many are done, of how many; and "sending" bytes.

    Raises:
        InvalidInputError: A version has `file://` references, which was not allowed; nothing was copied. An
            artifact has another type at the target.
        StateError: The two are one repository; a named version is a draft or deleted; one side is a server.
        IntegrityError, StorageError, AccessError: One of the stores failed; what was copied before stays.
    """
    _check_ends(source, target)
    plan = _Plan(source, target, version_ids, wishes)
    if not wishes.allow_file_references:
        for record in plan.to_send:
            _refuse_file_references(source, record)
    return _Copy(plan, progress).run()


def _check_ends(source: Home, target: Home) -> None:
    if source.repository_id == target.repository_id:
        raise StateError(what="both ends are the same repository", where=target.url)
    _arrivals(target)


def _arrivals(home: Home) -> ArrivalCatalog:
    arrivals: ArrivalCatalog | None = getattr(home.catalog, "arrivals", None)
    if arrivals is None:
        raise StateError(
            what="versions cannot be sent through a server", where=home.url, fix="connect to its database and store"
        )
    return arrivals


def _refuse_file_references(home: Home, record: VersionRecord) -> None:
    for page in home.blobs.read_root(Digest.parse(record.digest)).pages:
        if not page.n_references:
            continue
        for entry in home.blobs.read_page(page):
            if isinstance(entry, ReferenceEntry) and entry.uri.startswith("file:"):
                raise InvalidInputError(
                    what=f"{name_of(record)} refers to {entry.uri}, which may not be there for others",
                    fix="log it with its bytes, or allow it: --allow-file-references", path=entry.path,
                )  # fmt: skip


class _Plan:
    """What there is to copy, in order."""

    def __init__(self, source: Home, target: Home, version_ids: Sequence[str], wishes: Wishes) -> None:
        self.source, self.target, self.wishes = source, target, wishes
        named = [source.catalog.versions.get(version_id) for version_id in dict.fromkeys(version_ids)]
        for record in named:
            if record.state != "published":
                raise StateError(what=f"{name_of(record)} is {record.state} and cannot be copied")
        self.named = {record.id for record in named}
        ids = sorted(self.named)
        lineage = source.catalog.lineage
        reached = list(lineage.closure(ids, "upstream", all_edges=True)) if wishes.upstream != "none" else ids
        self.edges: EdgeRecord = lineage.edges(reached, "upstream", all_edges=True)
        versions, self.runs = lineage.nodes(reached, sorted({run for run, *_ in self.edges.logs}))
        standing = [record for record in versions if record.state in ("published", "deleted")]
        self.versions = sorted(standing, key=lambda v: (v.created_at, v.id))
        self.known = _arrivals(target).known([v.id for v in self.versions])

    def sends(self, record: VersionRecord) -> bool:
        """Whether its bytes are copied."""
        wanted = record.id in self.named or self.wishes.upstream == "content"
        return record.state == "published" and wanted and record.id not in self.known

    @property
    def to_send(self) -> Iterator[VersionRecord]:
        """The versions whose bytes are copied."""
        return filter(self.sends, self.versions)


class _Copy:
    """One call of `copy_versions`."""

    def __init__(self, plan: _Plan, progress: Progress | None) -> None:
        self._plan, self._progress = plan, progress
        self._source, self._target = plan.source, plan.target
        self._arrivals = _arrivals(plan.target)
        self._done = Copied(versions=[])
        self._logs: dict[str, list[tuple[str, str | None, str]]] = {}
        for run, version, role, kind in plan.edges.logs:
            self._logs.setdefault(version, []).append((run, role, kind))
        self._sources: dict[str, list[str]] = {}
        for version, origin in plan.edges.derivations:
            self._sources.setdefault(version, []).append(origin)

    def run(self) -> Copied:
        for run in sorted(self._plan.runs, key=lambda r: (r.started_at, r.id)):
            self._run(run)
        for at, record in enumerate(self._plan.versions):
            if self._progress is not None:
                self._progress("versions", at, len(self._plan.versions))
            self._version(record)
        for run in self._plan.runs:
            edges = self._source.catalog.runs.used(run.id)
            if edges:
                self._arrivals.uses(edges)
        if self._progress is not None:
            self._progress("versions", len(self._plan.versions), len(self._plan.versions))
        return self._done

    def _run(self, run: RunRecord) -> None:
        self._arrivals.run(run, self._source.repository_id, self._target.actor)
        environment = f"environment:{run.code.get('environment')}"
        packages = self._source.catalog.setting(environment)
        if packages is not None and self._target.catalog.setting(environment) is None:
            self._target.catalog.set_setting(environment, packages)
        self._done.runs += 1

    def _version(self, record: VersionRecord) -> None:
        known = self._plan.known.get(record.id)
        if known is not None:
            made, outcome = known, "known"
        elif self._plan.sends(record):
            made, outcome = self._send(record), "copied"
        else:
            made, outcome = self._arrivals.version(self._arrival(record), None, self._target.actor), "lineage"
        if self._plan.wishes.aliases and made.state == "published":
            self._move_aliases(record, made)
        self._done.versions.append(
            CopiedVersion(id=record.id, source=name_of(record), target=name_of(made), outcome=outcome)  # type: ignore[arg-type]
        )

    def _arrival(self, record: VersionRecord) -> Arrival:
        logs, sources = self._logs.get(record.id, []), self._sources.get(record.id, [])
        return Arrival(record, self._source.repository_id, logs, sources)

    def _send(self, record: VersionRecord) -> VersionRecord:
        """As publishing: if collection took a pack between look-up and commit, its bytes are sent again."""
        root = Digest.parse(record.digest)
        for attempt in range(ATTEMPTS):
            with self._target.leases.borrow() as lease:
                sent = transfer(root, self._source.blobs, self._target, lease, progress=self._progress)
                try:
                    arrived = _publication(record, sent, lease, self._target.actor)
                    made = self._arrivals.version(self._arrival(record), arrived, self._target.actor)
                except ConflictError as error:
                    if "lost_packs" not in error.facts or attempt == ATTEMPTS - 1:
                        raise
                    continue
                except StateError as error:
                    if error.facts.get("lapsed_lease") != lease or attempt == ATTEMPTS - 1:
                        raise
                    self._target.leases.lapsed(lease)
                    continue
            self._done.sent_bytes += sent.sent_bytes
            self._done.sent_blobs += sent.sent_blobs
            self._done.puts += sent.n_puts
            return made
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _move_aliases(self, record: VersionRecord, made: VersionRecord) -> None:
        name = Name(project=made.project, artifact=made.artifact, partition=made.partition)
        for alias in record.aliases:
            if alias != LATEST and alias not in made.aliases:
                self._target.catalog.versions.set_alias(
                    name, alias, made.id, expect=None, actor=self._target.actor
                )  # fmt: skip


def _publication(record: VersionRecord, sent: Uploaded, lease: str, actor: str) -> Publication:
    facts: dict[str, Any] = {
        name: getattr(record, name)
        for name in ("project", "artifact", "partition", "type", "codec", "metadata", "description", "tags")
    }
    return Publication(
        version_id=record.id, root=bytes(sent.root), root_packs=sent.root_packs, pages=sent.pages,
        chunk_lists=sent.chunk_lists, seals=sent.seals, lease=lease, n_entries=sent.n_entries,
        stored_size=sent.stored_size, referenced_size=sent.referenced_size, actor=actor, **facts,
    )  # fmt: skip


def name_of(record: VersionRecord) -> str:
    """`project/artifact[partition]:v3`."""
    return f"{record.project}/{label(record)}"
