"""A repository: a store and a catalog at one URL, and the verbs that need no run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from headwater.artifact import Artifact
from headwater.artifactinfo import ArtifactInfo
from headwater.checking import CheckReport, check
from headwater.errors import InvalidInputError, NotFoundError, StateError
from headwater.lookup import find_version, instant
from headwater.model.naming import LATEST, Name, check_alias, parse_name, several
from headwater.model.records import Query
from headwater.model.values import mask_text
from headwater.publishing import Options, version_ids
from headwater.publishing import publish as publish_artifact
from headwater.run import Run, open_run
from headwater.runspec import run_id, spec_of
from headwater.version import Version

if TYPE_CHECKING:
    from datetime import datetime

    from headwater.home import Home
    from headwater.model.records import Event, RunState
    from headwater.ports import Progress


class Repository:
    """An open repository. Safe between threads; after a fork each process makes its own connections.

    `str(repo)` is its URL without credentials.
    """

    def __init__(self, home: Home) -> None:
        self.home = home

    @property
    def id(self) -> str:
        """Stable, whatever URL reaches it."""
        return self.home.repository_id

    def __str__(self) -> str:
        return self.home.url

    def __repr__(self) -> str:
        return f"<Repository {self}>"

    def close(self) -> None:
        """Give up connections and the lease on bytes; idempotent."""
        self.home.leases.close()
        self.home.catalog.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- versions ----------------------------------------------------------------
    def version(self, name: str, *, at: datetime | str | None = None, group: str | None = None) -> Version[Any]:
        """The version a name means.

        Args:
            name: `project/artifact:alias`, `:v3`, `@blake3:…`, or the `headwater://` form.
            at: What the name meant then; an aware datetime or ISO text (UTC if it says no zone).
            group: Inside a group a name is the newest version the group published, else what it first resolved to.

        Raises:
            InvalidInputError: Not a name.
            ArtifactNotFoundError, VersionNotFoundError
            StateError: That version was deleted; or names are pinned and this one is not in the lock.
        """
        return Version(find_version(self.home, name, at=instant(at), group=group), self.home)

    def version_by_id(self, version_id: str) -> Version[Any]:
        """The version with that id, drafts and tombstones included.

        Raises:
            VersionNotFoundError
        """
        return Version(self.home.catalog.versions.get(version_id), self.home)

    def exists(self, name: str) -> bool:
        """Whether the name means a version now."""
        try:
            self.version(name)
        except NotFoundError:
            return False
        return True

    def versions(
        self,
        artifact: str | None = None,
        *,
        project: str | None = None,
        type: str | None = None,
        where: Sequence[str] = (),
        order: str = "",
        limit: int | None = None,
    ) -> list[Version[Any]]:
        """Published versions that match, newest first unless ordered.

        Args:
            artifact: Name of one artifact (with its partition, if any).
            project: Of the artifacts; the current one if neither is given.
            type: Of the artifacts.
            where: Conditions such as `metadata.rows>1000`, `tag=gold`, `alias=prod`, and of the run that made it
                `config.lr<0.1`, `summary.val_acc>0.9`; all must hold.
            order: A field, descending with a leading `-`: `versions(type="model", order="-summary.val_acc", limit=1)`
                is the model of the best run.
            limit: Most to return.

        Raises:
            InvalidInputError: A condition that does not parse; says where.
        """
        name = parse_name(artifact).within(project or self.home.project) if artifact else None
        query = Query(
            project=name.project if name else project or self.home.project,
            artifact=name.artifact if name else None,
            partition=name.partition if name else None,
            type=type,
            where=several(where, "where"),
            order=order,
            limit=limit,
        )
        return [Version(record, self.home) for record in self.home.catalog.versions.versions(query)]

    def log_artifact(
        self,
        artifact: Artifact,
        *,
        aliases: Sequence[str] = (),
        tags: Sequence[str] = (),
        derived_from: Sequence[Version[Any] | str] | None = None,
        publish: bool = True,
        progress: Progress | None = None,
    ) -> Version[Any]:
        """Log without a run, as an import by hand: the history says who, lineage shows no producer.

        Raises:
            InvalidInputError: Not an `Artifact`.
            As `Run.log_artifact`.
        """
        if not isinstance(artifact, Artifact):
            fix = "add it to an Artifact, or log it in a run: run.log_artifact(…)"  # type: ignore[unreachable]
            kind = type(artifact).__qualname__
            raise InvalidInputError(what=f"without a run an Artifact is logged, not a value of type {kind}", fix=fix)
        options = Options(
            aliases=several(aliases, "aliases"),
            tags=several(tags, "tags"),
            draft=not publish,
            derived_from=version_ids(self.home, derived_from),
        )
        return Version(publish_artifact(self.home, artifact, options, progress)[0].version, self.home)

    def check(self, version: str | Version[Any], *, prefix: str = "", progress: Progress | None = None) -> CheckReport:
        """Compare a version's references with the world, in bulk, before a job reads them.

        Args:
            version: A version, or the name of one.
            prefix: Only references below this path.
            progress: Told `check`, references done, and None.

        Raises:
            InvalidInputError, ArtifactNotFoundError, VersionNotFoundError, StateError
        """
        found = self.version(version) if isinstance(version, str) else version
        return check(found, prefix=prefix, progress=progress)

    def publish_all(
        self, drafts: Sequence[Version[Any]], aliases: Mapping[str, Sequence[str]] | None = None
    ) -> list[Version[Any]]:
        """Publish several drafts, all or none; `aliases` by draft id.

        Raises:
            StateError: One of them was discarded; none is published.
        """
        given = {vid: [check_alias(a) for a in names] for vid, names in (aliases or {}).items()}
        made = self.home.catalog.versions.publish([d.id for d in drafts], given, self.home.actor)
        return [Version(published.version, self.home) for published in made]

    # -- aliases -----------------------------------------------------------------
    def set_alias(self, name: str, to: str | Version[Any] | None, *, expect: str | Version[Any] | None = None) -> None:
        """Point the alias in `name` at another version of the same artifact; None removes it.

        Args:
            name: `project/artifact:alias`.
            to: A version, or `v12`, an alias, or a digest of that artifact.
            expect: Only if the alias is there now; `""`: only if it is nowhere.

        Raises:
            ConflictError: The alias is elsewhere than expected; nothing was changed.
            InvalidInputError: `latest`, or no alias in the name.
            VersionNotFoundError
        """
        parsed = parse_name(name).within(self.home.project)
        if parsed.alias is None or parsed.alias == LATEST:
            raise InvalidInputError(
                what=f"{name!r} names no alias that can be set",
                fix="write project/artifact:alias; latest moves by itself",
            )
        wanted = "" if expect == "" else self._sibling_id(parsed, expect)
        self.home.catalog.versions.set_alias(
            parsed, parsed.alias, self._sibling_id(parsed, to), expect=wanted, actor=self.home.actor
        )

    def _sibling_id(self, name: Name, which: str | Version[Any] | None) -> str | None:
        if which is None or isinstance(which, Version):
            return which.id if which is not None else None
        if not isinstance(which, str):
            raise InvalidInputError(what=f"an alias points to a version, 'v12', an alias or a digest, not to {which!r}")
        joined = parse_name(f"{name.bare}{'@' if which.startswith('blake3:') else ':'}{which}")
        return self.home.catalog.versions.find(joined, record=False).id

    def rollback_alias(self, name: str) -> Version[Any]:
        """Point the alias back to where it was before its last move; return that version.

        Raises:
            StateError: It never was elsewhere, or that version is deleted.
        """
        parsed = parse_name(name).within(self.home.project)
        if parsed.alias in (None, LATEST):
            raise InvalidInputError(
                what=f"{name!r} names no alias that can be rolled back", fix="write project/artifact:alias"
            )
        moves = [
            e.details
            for e in self.home.catalog.versions.history(parsed)
            if e.kind in ("alias.set", "alias.removed") and e.details.get("alias") == parsed.alias
        ]
        before = moves[-1].get("old") if moves else None
        if not before:
            raise StateError(
                what=f"{name} was nowhere before its last move", fix="set it: set_alias, or `headwater alias set`"
            )
        self.set_alias(name, before, expect=moves[-1].get("new") or "")
        return self.version(name)

    # -- finding things ----------------------------------------------------------
    def artifacts(
        self,
        *,
        project: str | None = None,
        type: str | None = None,
        where: Sequence[str] = (),
        order: str = "",
        limit: int | None = None,
        all_projects: bool = False,
    ) -> list[ArtifactInfo]:
        """Artifacts of a project (the current one by default), partitions folded, by name unless ordered."""
        scope = None if all_projects else project or self.home.project
        query = Query(project=scope, type=type, where=several(where, "where"), order=order, limit=limit)
        return [ArtifactInfo(record, self.home) for record in self.home.catalog.versions.artifacts(query)]

    def artifact(self, name: str) -> ArtifactInfo:
        """One artifact: its versions, partitions, description, tags.

        Raises:
            ArtifactNotFoundError
        """
        parsed = parse_name(name).within(self.home.project)
        return ArtifactInfo(self.home.catalog.versions.artifact(parsed), self.home)

    def run(self, id_or_key: str) -> Run:
        """A run by its id, or the newest attempt under a key, to look at or to add facts to.

        Raises:
            RunNotFoundError
        """
        return Run(self.home.catalog.runs.get(id_or_key), self.home)

    def close_run(
        self, key: str, state: RunState, *, attempt: int | None = None, error: BaseException | str | None = None
    ) -> Run | None:
        """End a run from any process by its key: the newest attempt, or the one given. Idempotent.

        A run that was never opened stays so (None): nothing was recorded, and nothing is invented.

        Raises:
            StateError: It has ended in another state.
        """
        try:
            found = self.run(key if attempt is None else run_id(self.id, key, attempt))
        except NotFoundError:
            return None
        found.finish(state, error)
        return found

    def close_group(self, group: str, state: RunState, *, error: BaseException | str | None = None) -> list[Run]:
        """End every run of a group that still runs, as when the orchestrator's run has ended; return them."""
        text = None if error is None else mask_text(str(error))
        return [Run(record, self.home) for record in self.home.catalog.runs.close_group(group, state, text)]

    def start_run(self, name: str, **arguments: Any) -> Run:
        """Open a run here; the arguments are those of `headwater.start_run`.

        Raises:
            InvalidInputError, StateError: As `headwater.start_run`.
        """
        return open_run(self.home, spec_of(name, arguments))

    def runs(
        self,
        *,
        project: str | None = None,
        group: str | None = None,
        where: Sequence[str] = (),
        order: str = "",
        limit: int | None = None,
        all_projects: bool = False,
    ) -> list[Run]:
        """Runs that match, newest first unless ordered; nulls and NaN come last.

        Args:
            project: The current one by default.
            group: Only this group's.
            where: Conditions such as `summary.val_acc>=0.9`, `state=finished`, `config.lr<0.01`; all must hold.
            order: A field, descending with a leading `-`, e.g. `-summary.val_acc`.
            limit: Most to return.
            all_projects: Search all of them.

        Raises:
            InvalidInputError: A condition that does not parse; says where.
        """
        scope = None if all_projects else project or self.home.project
        query = Query(project=scope, group=group, where=several(where, "where"), order=order, limit=limit)
        return [Run(record, self.home) for record in self.home.catalog.runs.list(query)]

    # -- the feed ----------------------------------------------------------------
    def events(
        self,
        *,
        after: int | None = None,
        consumer: str | None = None,
        kinds: Sequence[str] = (),
        project: str | None = None,
        artifact: str | None = None,
        limit: int = 1000,
    ) -> Events:
        """What happened, oldest first: after a cursor, or after what a named consumer has acknowledged.

        At least once: a consumer sees an event again until it calls `ack`. Cursors are durable and shared by name.
        """
        if (after is None) == (consumer is None):
            raise InvalidInputError(what="events() needs after= or consumer=, one of them")
        feed = self.home.catalog.events
        cursor = after if after is not None else feed.consumer(str(consumer))
        found = feed.after(cursor, limit, kinds=kinds, project=project, artifact=artifact)
        return Events(found, cursor, lambda c: feed.acknowledge(_named(consumer), c))

    def sweep(self) -> int:
        """Close runs whose lease lapsed as `lost`, and discard drafts past their time; return how many of both."""
        return len(self.home.catalog.runs.sweep()) + self.home.catalog.versions.sweep_drafts(self.home.actor)


def _named(consumer: str | None) -> str:
    if consumer is None:
        raise StateError(what="these events were read for nobody", fix='name who reads: repo.events(consumer="…")')
    return consumer


class Events(Sequence["Event"]):
    """A stretch of the feed, with the means to acknowledge it."""

    def __init__(self, found: Sequence[Event], cursor: int, acknowledge: Callable[[int], object]) -> None:
        self._found = list(found)
        self._acknowledge = acknowledge
        self.cursor = self._found[-1].cursor if self._found else cursor
        """Where to go on: `repo.events(after=cursor)`."""

    def __len__(self) -> int:
        return len(self._found)

    def __getitem__(self, index: Any) -> Any:
        return self._found[index]

    def ack(self, event: Event | None = None) -> None:
        """Everything up to `event` (default: all of these) was handled; durable when this returns."""
        self._acknowledge(event.cursor if event is not None else self.cursor)
