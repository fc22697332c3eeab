"""A version that several writers make together: each adds a part, the last one publishes the whole, once.

    finish():  the part becomes a draft of its run → compared with the parts of others → handed in
    the last:  all parts merged, page by page → one transaction that gives the draft its content and publishes it

Nobody waits and nobody is in charge: parts are handed in under a revision, so whoever
comes second compares with whoever came first. If the last writer dies between its
hand-in and the publication, any `finish()` or `publish()` of the group does it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import msgspec

from headwater.artifact import Artifact
from headwater.errors import ConflictError, InvalidInputError, StateError
from headwater.model.digest import Digest
from headwater.model.entries import Entry, StoredEntry
from headwater.model.naming import several
from headwater.publishing import Options, artifact_name, publish, version_ids
from headwater.version import Version

if TYPE_CHECKING:
    from headwater.home import Home
    from headwater.model.records import Publication, Published, RunRecord
    from headwater.ports.joining import JoinCatalog, Joint, Part


class Membership(NamedTuple):
    """Who joins."""

    home: Home
    run: RunRecord
    group: str | None
    writer: str
    expected: int | None


class Joined(Artifact):
    """One writer's part of a version, to be filled like any artifact; `with` hands it in when the block succeeds."""

    _who: Membership
    _options: Options
    _joint: str

    @property
    def version(self) -> Version[Any]:
        """The whole: a draft until it is published, under one id from the start. May be used by steps already."""
        self._require()
        return Version(_joins(self._who.home).look(self._joint).version, self._who.home)

    def finish(self) -> Version[Any]:
        """Hand the part in; the last one expected publishes the whole. Again with the same content: no change.

        Raises:
            ConflictError: Another writer has other content at a path (facts `writers`, `path`); the part is given up.
            StateError: The whole was published without this part, or discarded.
            SourceChangedError, IntegrityError, StorageError, AccessError: As when logging.
        """
        self._require()
        who, joins = self._who, _joins(self._who.home)
        joint = joins.look(self._joint)
        if joint.version.state == "draft":
            joint = self._hand_in(joins, joint)
        else:
            _require_contained(who, self, joint.version.digest)
        if joint.expected is not None and len(joint.parts) >= joint.expected and joint.version.state == "draft":
            return self._publish(())
        return Version(joint.version, who.home)

    def publish(self, *, aliases: Iterable[str] = ()) -> Version[Any]:
        """Hand this part in, unless it is empty, and publish the whole as it is then. Once published: no change.

        Raises:
            As `finish`.
        """
        self._require()
        if next(self.entries(), None) is not None:
            done = self.finish()
            if done.state != "draft":
                return done
        return self._publish(tuple(aliases))

    def discard(self) -> None:
        """Give the whole up, with every part.

        Raises:
            StateError: It is published.
        """
        self._require()
        joins, home = _joins(self._who.home), self._who.home
        joint = joins.look(self._joint)
        drafts = [joint.version.id, *(part.version_id for part in joint.parts)]
        home.catalog.versions.discard(drafts, home.actor)

    def __enter__(self) -> Self:
        self._require()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.finish()

    def _require(self) -> None:
        if "_who" not in vars(self):
            raise StateError(what=f"{self!r} belongs to no group", fix="get it from run.join_artifact(…)")

    def _hand_in(self, joins: JoinCatalog, joint: Joint) -> Joint:
        who = self._who
        made, _ = publish(who.home, self, self._options)
        mine = made.version
        try:
            while True:
                others = [part for part in joint.parts if part.writer != who.writer]
                for _ in _merged(who.home, [(who.writer, mine.digest), *_sources(others)]):
                    pass
                try:
                    return joins.enter(self._joint, who.writer, mine.id, joint.revision)
                except ConflictError as error:
                    if not error.facts.get("moved"):
                        raise
                joint = joins.look(self._joint)
        except (ConflictError, StateError):
            who.home.catalog.versions.discard([mine.id], who.home.actor)
            raise

    def _publish(self, aliases: tuple[str, ...]) -> Version[Any]:
        who, joins = self._who, _joins(self._who.home)
        while True:
            joint = joins.look(self._joint)
            if joint.version.state != "draft":
                return Version(joint.version, who.home)
            try:
                return Version(_publish_whole(who.home, joins, joint, aliases).version, who.home)
            except ConflictError as error:
                if not error.facts.get("moved"):
                    raise


def join(who: Membership, name: str, describe: Mapping[str, Any]) -> Joined:
    """See `Run.join_artifact`."""
    if not who.group:
        raise InvalidInputError(what=f"nobody can join {name} without a group", fix="add group=…")
    if who.expected is not None and who.expected < 1:
        raise InvalidInputError(what=f"expect_writers is a number from 1, not {who.expected}")
    given = dict(describe)
    options = Options(
        project=who.run.project, aliases=several(given.pop("aliases", ()), "aliases"),
        tags=several(given.pop("tags", ()), "tags"),
        role=given.pop("role", None), draft=True,
        derived_from=version_ids(who.home, given.pop("derived_from", None), who.run.project, who.group),
        run_id=who.run.id, fence=who.run.fence,
    )  # fmt: skip
    unknown = given.keys() - {"type", "metadata", "description", "partition"}
    if unknown:
        raise InvalidInputError(what=f"join_artifact() knows no argument {min(unknown)!r}")
    part = Joined(name, **given)
    part._who, part._options = who, options  # noqa: SLF001  # made here, of this module's own class
    part._joint = _open(who, part).version.id  # noqa: SLF001
    return part


def _open(who: Membership, part: Joined) -> Joint:
    joins, name = _joins(who.home), artifact_name(part, who.run.project)
    found = joins.open(name, str(who.group), None, who.expected)
    if found is not None:
        return found
    blank = Artifact(f"{name.project}/{name.artifact}", part.type, partition=name.partition or None)
    draft, _ = publish(who.home, blank, Options(draft=True))
    found = joins.open(name, str(who.group), draft.version.id, who.expected)
    assert found is not None
    if found.version.id != draft.version.id:  # somebody else was first
        who.home.catalog.versions.discard([draft.version.id], who.home.actor)
    return found


def _joins(home: Home) -> JoinCatalog:
    joins: JoinCatalog | None = getattr(home.catalog, "joins", None)
    if joins is None:
        raise StateError(
            what="versions cannot be made together through a server", where=home.url, fix="connect to the database"
        )
    return joins


def _publish_whole(home: Home, joins: JoinCatalog, joint: Joint, aliases: tuple[str, ...]) -> Published:
    record = joint.version
    whole = Artifact(f"{record.project}/{record.artifact}", record.type, partition=record.partition or None)
    whole.contents.add_entries(_without_marks(_merged(home, _sources(joint.parts))), overwrite=False)

    def commit(publication: Publication) -> Published:
        return joins.publish(msgspec.structs.replace(publication, version_id=record.id), joint.revision)

    return publish(home, whole, Options(aliases=aliases), commit=commit)[0]


# --------------------------------------------------------------------- merging
def _sources(parts: Iterable[Part]) -> list[tuple[str, str]]:
    return [(part.writer, part.digest) for part in parts]


def _merged(home: Home, sources: list[tuple[str, str]]) -> Iterator[Entry]:
    """The entries of manifests, given as (writer, digest), in path order, equal ones once. Reads page by page.

    Raises:
        ConflictError: Two writers have different content at one path; facts `writers`, `path`.
    """
    streams = [_tagged(writer, home, digest) for writer, digest in sources]
    above: list[tuple[Entry, str]] = []
    """Entries that `path` begins with, as text: a file among them may be where `path` wants a directory."""
    for entry, writer in heapq.merge(*streams, key=lambda found: found[0].path):
        while above and not entry.path.startswith(above[-1][0].path):
            above.pop()
        if above and above[-1][0].path == entry.path:
            if _content(above[-1][0]) != _content(entry):
                raise _clash(above[-1][1], writer, entry.path)
            continue
        for other, who in above:
            if entry.path.startswith(other.path + "/"):
                raise _clash(who, writer, entry.path)
        above.append((entry, writer))
        yield entry


def _without_marks(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Leave out marks of empty directories that another part has filled."""
    held: Entry | None = None
    for entry in entries:
        if held is not None and not (held.path.endswith("/") and entry.path.startswith(held.path)):
            yield held
        held = entry
    if held is not None:
        yield held


def _tagged(writer: str, home: Home, digest: str) -> Iterator[tuple[Entry, str]]:
    for page in home.blobs.read_root(Digest.parse(digest)).pages:
        for entry in home.blobs.read_page(page):
            yield entry, writer


def _content(entry: Entry) -> object:
    return (entry.size, bytes(entry.digest), entry.executable) if isinstance(entry, StoredEntry) else entry


def _clash(one: str, other: str, path: str) -> ConflictError:
    return ConflictError(
        what=f"writers {one} and {other} have different content at {path!r}", writers=[one, other], path=path,
        fix="let each writer add paths of its own",
    )  # fmt: skip


def _require_contained(who: Membership, part: Joined, whole: str) -> None:
    """A retry after the publication: fine if the whole has all of its content.

    Raises:
        StateError: It has not.
    """
    made, _ = publish(who.home, part, Options(project=who.run.project, draft=True))
    try:
        sources = [("the published version", whole), (who.writer, made.version.digest)]
        together = sum(1 for _ in _without_marks(_merged(who.home, sources)))
        if together != who.home.blobs.read_root(Digest.parse(whole)).n_entries:
            raise StateError(what=f"{part.name} was published without the part of {who.writer}", published=True,
                             fix="join under another group")  # fmt: skip
    finally:
        who.home.catalog.versions.discard([made.version.id], who.home.actor)
