"""A version: one immutable manifest under an artifact, and everything one can ask of it.

A `Version` is also the *handle* that one step gives the next: it pickles, and
writes as JSON, as a few ids and names without URL or credentials, and opens
again with the connection of the process that reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Generic, Literal, Self, overload

from typing_extensions import TypeVar

from headwater.errors import EntryNotFoundError
from headwater.handle import Handle
from headwater.lookup import find_version
from headwater.model.digest import Digest
from headwater.model.graph import Graph
from headwater.model.naming import check_alias, several
from headwater.model.records import Direction, Query

if TYPE_CHECKING:
    from headwater.artifact import Artifact
    from headwater.diff import Diff
    from headwater.download import CheckedOut, Download, VerifyReport
    from headwater.home import Home
    from headwater.model.manifest import Entry, Root
    from headwater.model.records import LogEdge, RunRecord, RunState, UseEdge
    from headwater.ports import Progress

T = TypeVar("T", covariant=True, default=Any)  # noqa: PLC0105  # readers of hover texts know `T`
A = TypeVar("A")


class Version(Handle, Generic[T]):
    """One version of an artifact; `T` is what `load()` returns.

    Reading attributes costs nothing after the first; the facts that can be edited
    (aliases, tags, metadata, description) are edited in place and sent by `save()`.
    """

    _wanted: Any = None

    # -- content -----------------------------------------------------------------
    @property
    def root(self) -> Root:
        """Its manifest's list of pages. One small read."""
        return self.readable().blobs.read_root(Digest.parse(self.digest))

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        """Its entries in path order, streamed page by page; with `prefix` only that path and what is below it.

        Raises:
            EntryNotFoundError: Nothing has that prefix; names what may be meant. As soon as the first is asked for.
        """
        from headwater.model.manifest import absent, entries_below

        root, read_page, path, entry = self.root, self.home.blobs.read_page, prefix.rstrip("/"), None
        for entry in entries_below(root, read_page, path):
            yield entry
        if entry is None and path:
            raise absent(root, read_page, path, str(self))

    def entry(self, path: str) -> Entry:
        """The entry at `path`.

        Raises:
            EntryNotFoundError
        """
        found = next((e for e in self.entries(path) if e.path == path), None)
        if found is None:
            raise EntryNotFoundError(path=path, where=str(self), fix="it is a directory: `entries(prefix)` lists it")
        return found

    @overload
    def load(self, *, allow_pickle: bool = False) -> T: ...
    @overload
    def load(self, as_: type[A], *, allow_pickle: bool = False) -> A: ...
    def load(self, as_: Any = None, *, allow_pickle: bool = False) -> Any:
        """The value again, by the codec recorded when it was logged; as type `as_` where the codec can.

        Without a recorded codec (plain files) the value is the `Path` of the shared read-only tree.

        Raises:
            InvalidInputError: The codec is unknown here, cannot give `as_`, or unpickles and `allow_pickle` is false.
            IntegrityError, AccessError, StorageError: The bytes could not be had.
        """
        from headwater.conversion import load_value

        if as_ is Version:
            return self
        return load_value(self, self._wanted if as_ is None else as_, allow_pickle=allow_pickle)

    def typed(self, as_: type[A]) -> Version[A]:
        """A handle of this version whose `load()` gives an `as_`; in this process, it does not travel."""
        handle: Version[A] = Version(self.record, self.home)
        handle._wanted = as_
        return handle

    def download(self, root: str | Path | None = None, *, progress: Progress | None = None) -> Path:
        """All of it as files: a shared read-only tree, or with `root` a private copy there.

        Verified, resumable, parallel; files already right are not fetched again.

        Raises:
            ConflictError: A file at `root` is not ours and differs; raised before the first change.
            IntegrityError, AccessError, StorageError, ReferenceMissingError
        """
        from headwater.download import shared_tree

        home = self.reading()
        if root is None:
            return shared_tree(home, Digest.parse(self.digest), progress=progress)
        return self.fetch(root, progress=progress).path

    def fetch(
        self,
        root: str | Path,
        *,
        prefix: str | None = None,
        glob: str | None = None,
        references: Literal["copy", "in-place", "skip"] = "copy",
        allow_missing_references: bool = False,
        progress: Progress | None = None,
    ) -> Download:
        """Files below `root`: all, those below `prefix`, or those that match `glob`; says what was skipped.

        Args:
            root: Made if absent.
            prefix: A path inside the version: it and everything below it.
            glob: A pattern over whole paths; `**` crosses directories.
            references: Copy the bytes here, leave `file://` ones in place as symbolic links, or skip them.
            allow_missing_references: List references that cannot be had in `Download.skipped` instead of raising.
            progress: Told stage, bytes done, bytes in all.

        Raises:
            NotFoundError: Nothing has that prefix, or matches; nothing was changed.
            As `download`.
        """
        from headwater.download import fetch

        return fetch(
            self.reading(),
            Digest.parse(self.digest),
            Path(root),
            prefix=prefix,
            glob=glob,
            references=references,
            allow_missing_references=allow_missing_references,
            progress=progress,
        )

    def checkout(self, root: str | Path, *, dry_run: bool = False, progress: Progress | None = None) -> CheckedOut:
        """Make the directory `root` exactly this version; files Headwater did not place there are never touched.

        Raises:
            ConflictError: A file that would be replaced or removed was changed by somebody; raised before any change.
        """
        from headwater.download import checkout

        return checkout(self.reading(), Digest.parse(self.digest), Path(root), dry_run=dry_run, progress=progress)

    def verify(self, root: str | Path) -> VerifyReport:
        """Compare the directory `root` with this version, by content; changes nothing."""
        from headwater.download import verify_tree

        return verify_tree(self.reading(), Digest.parse(self.digest), Path(root))

    def open(self, path: str) -> BinaryIO:
        """One entry as a seekable binary file; only the chunks that are read are fetched, each verified.

        Raises:
            EntryNotFoundError
        """
        from headwater.download import open_entry

        return open_entry(self.reading(), self.entry(path))

    def diff(self, other: Version[Any] | str, *, lineage: bool = False) -> Diff:
        """What changed from this version to `other`; reads only the manifest pages that differ.

        Args:
            other: A version, or the name of one.
            lineage: Compare also inputs, config and code of the two runs that made them.
        """
        from headwater.diff import diff_versions

        return diff_versions(self, other if isinstance(other, Version) else self._sibling(other), lineage=lineage)

    def new_draft(self) -> Artifact:
        """An `Artifact` that starts with this version's entries, type, description and metadata; one small read."""
        from headwater.artifact import Artifact

        return Artifact.from_version(self)

    # -- edits -------------------------------------------------------------------
    def publish(self, *, aliases: tuple[str, ...] | list[str] = ()) -> Version[T]:
        """Publish this draft; once published, publishing again changes nothing.

        Raises:
            StateError: It was discarded.
        """
        names = {self.id: [check_alias(a) for a in several(aliases, "aliases")]}
        return Version(self.home.catalog.versions.publish([self.id], names, self.home.actor)[0].version, self.home)

    def discard(self) -> None:
        """Give this draft up; idempotent.

        Raises:
            StateError: It is published: delete it instead.
        """
        self.home.catalog.versions.discard([self.id], self.home.actor)
        self.reload()

    def delete(self, *, delete_aliases: bool = False) -> None:
        """Leave a tombstone that keeps number, edges and facts; the bytes go when collection finds them unreachable.

        Raises:
            StateError: An alias other than latest points at it, and `delete_aliases` is false.
        """
        self._adopt(self.home.catalog.versions.delete(self.id, delete_aliases=delete_aliases, actor=self.home.actor))

    # -- lineage -----------------------------------------------------------------
    @overload
    def logged_by(self, all: Literal[False] = False) -> RunInfo | None: ...  # noqa: FBT002  # prescribed spelling
    @overload
    def logged_by(self, all: Literal[True]) -> list[RunInfo]: ...
    def logged_by(self, all: bool = False) -> RunInfo | list[RunInfo] | None:  # noqa: FBT001, FBT002
        """The run that created it (None for one made by hand); with `all` also those that reproduced it."""
        runs = self.home.catalog.runs.loggers(self.id)
        if all:
            return [RunInfo(run, self.home) for run, _, _ in runs]
        return next((RunInfo(run, self.home) for run, _, kind in runs if kind == "created"), None)

    def used_by(self, *, limit: int | None = None) -> list[RunInfo]:
        """The runs that used it, newest first."""
        return [RunInfo(run, self.home) for run, _ in self.home.catalog.runs.users(self.id, Query(limit=limit))]

    def upstream(self, depth: int | None = None, *, all_edges: bool = False) -> Graph:
        """What it was made from, transitively, and by which runs; one query.

        Args:
            depth: Most steps back; None for all.
            all_edges: Follow also what runs used that only reproduced a version.
        """
        return self._closure("upstream", depth, all_edges=all_edges)

    def downstream(self, depth: int | None = None, *, all_edges: bool = False) -> Graph:
        """What was made from it, transitively; one query."""
        return self._closure("downstream", depth, all_edges=all_edges)

    def _closure(self, direction: Direction, depth: int | None, *, all_edges: bool) -> Graph:
        lineage = self.home.catalog.lineage
        reached = lineage.closure([self.id], direction, depth=depth, all_edges=all_edges)
        return Graph(
            reached, (self.id,), direction,
            edges=lambda: lineage.edges(reached, direction, all_edges=all_edges), nodes=lineage.nodes,
        )  # fmt: skip

    # -- inside ------------------------------------------------------------------
    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """Pydantic reads a name or a handle, and writes `headwater://project/artifact:v3`."""
        from headwater.pydantic_schema import version_schema

        return version_schema(cls)

    @classmethod
    def __get_pydantic_json_schema__(cls, _: Any, __: Any) -> dict[str, Any]:
        """In forms it is a line of text."""
        from headwater.pydantic_schema import TEXT_SCHEMA

        return dict(TEXT_SCHEMA)

    def _sibling(self, text: str) -> Version[Any]:
        return Version(find_version(self.home, text, project=self.project), self.home)


class RunInfo:
    """A run as the catalog knows it; `Run` is the one that acts. Equal by id.

    Attributes:
        home: The repository it lives in.
        record: Everything the catalog knows, as it was when loaded; `config` and `summary` of it.
    """

    def __init__(self, record: RunRecord, home: Home) -> None:
        self.home = home
        self._adopt(record)

    def _adopt(self, record: RunRecord) -> None:
        self.record = record
        self.config: dict[str, Any] = dict(record.config)
        self.summary: dict[str, Any] = dict(record.summary)

    @property
    def id(self) -> str:
        """Derived from repository, key and attempt."""
        return self.record.id

    @property
    def key(self) -> str:
        """The stable identity of the step's execution; attempts share it."""
        return self.record.key

    @property
    def attempt(self) -> int:
        """1 for the first."""
        return self.record.attempt

    @property
    def name(self) -> str:
        """What people call it."""
        return self.record.name

    @property
    def project(self) -> str:
        """Where names without a project live for it."""
        return self.record.project

    @property
    def group(self) -> str | None:
        """One orchestrator run."""
        return self.record.group

    @property
    def parent(self) -> str | None:
        """Id of the run it ran inside."""
        return self.record.parent

    @property
    def state(self) -> RunState:
        """running, finished, failed, cancelled, skipped, cached or lost."""
        return self.record.state

    def used_artifacts(self) -> list[Version[Any]]:
        """The versions it used, in the order it used them."""
        return [Version(edge.version, self.home) for edge in self.uses()]

    def logged_artifacts(self) -> list[Version[Any]]:
        """The versions it logged, created or reproduced, in order."""
        return [Version(edge.version, self.home) for edge in self.logs()]

    def uses(self) -> Sequence[UseEdge]:
        """The use edges with role, asked name and time."""
        return self.home.catalog.runs.used(self.id)

    def logs(self) -> Sequence[LogEdge]:
        """The log edges with role, kind and time."""
        return self.home.catalog.runs.logged(self.id)

    def attempts(self) -> list[RunInfo]:
        """Every attempt under its key, oldest first."""
        return [RunInfo(record, self.home) for record in self.home.catalog.runs.attempts(self.key)]

    def reload(self) -> Self:
        """Read its facts again, dropping config and summary that were not sent; return itself."""
        self._adopt(self.home.catalog.runs.get(self.id))
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RunInfo) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} attempt {self.attempt}: {self.state} ({self.id})>"
