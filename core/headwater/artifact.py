"""`Artifact`: what the next version shall contain.

Adding is cheap and asks little: a directory is walked when the artifact is
logged (so a million files take no memory), but what can be known to be wrong
is refused at once. Only references are asked for when they are added, because
an error that comes after hours of work comes too late.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple, Self

from headwater.contents import Contents, Draft, spooled
from headwater.errors import AccessError, InvalidInputError, NotFoundError, StorageError
from headwater.model.entries import Entry, ReferenceEntry, StoredEntry
from headwater.model.naming import SCHEME, check_part, check_partition, check_path, parse_name
from headwater.model.patterns import Ignore
from headwater.model.values import to_object
from headwater.references import MAX_OBJECTS, Asked, find_references, record_bare
from headwater.store.intake import Given, Item
from headwater.store.reading import local_file, local_folder

if TYPE_CHECKING:
    from os import PathLike

    from typing_extensions import Buffer

    from headwater.model.manifest import ReadPage, Root
    from headwater.ports import Progress
    from headwater.store.statcache import StatCache


class Planned(NamedTuple):
    """One path of the next version, before it is logged."""

    path: str
    size: int | None
    """Bytes; None where a reference's source did not say."""
    source: str | None
    """The file or URI it comes from; None for bytes, and for entries of another version."""


class Artifact:
    """Builds the next version of one artifact. Not thread-safe; may be logged more than once.

    The same path twice is fine with the same content; other content is a ConflictError unless the later
    `add_…` says `overwrite=True`. Paths are relative, `/`-separated, and never normalised.

    Args:
        name: `artifact` or `project/artifact`, optionally with a `[partition]`.
        type: What kind of thing it is; None: what the artifact is already, `dataset` for a new one.
        description: Of the version.
        metadata: JSON values of the version; NumPy scalars are fine.
        partition: Key of the partition the version belongs to.

    Raises:
        InvalidInputError: A name that cannot be, metadata that is not JSON.
    """

    def __init__(
        self,
        name: str,
        type: str | None = None,
        *,
        description: str = "",
        metadata: Mapping[str, Any] | None = None,
        partition: str | None = None,
    ) -> None:
        parsed = parse_name(name)
        if parsed.alias or parsed.digest or parsed.number is not None:
            raise InvalidInputError(what=f"{name!r} names a version", fix="leave out what follows the artifact's name")
        self.name = name
        self.type = None if type is None else check_part(type, "type")
        self.description = description
        self.metadata: dict[str, Any] = to_object(metadata, f"metadata of {name}")
        self.partition = None if partition is None else check_partition(partition)
        self.codec: dict[str, Any] | None = None
        self._contents = Contents()

    @classmethod
    def from_version(cls, version: Any) -> Self:
        """An artifact that starts with a version's entries, type, description and metadata; no bytes move.

        Costs one small read; logging it costs what its changes cost.
        """
        record = version.record
        artifact = cls(
            f"{record.project}/{record.artifact}", record.type, description=version.description,
            metadata=version.metadata, partition=record.partition or None,
        )  # fmt: skip
        artifact.codec = record.codec
        artifact.contents.draft = Draft(version.root, version.home.blobs.read_page)
        return artifact

    def described(self, **facts: Any) -> Self:
        """A copy with the same content and other facts: name, type, description, metadata, partition."""
        given = {"name": self.name, "type": self.type, "description": self.description, "metadata": self.metadata,
                 "partition": self.partition, **facts}  # fmt: skip
        copy = type(self)(given.pop("name"), given.pop("type"), **given)
        copy.codec = self.codec
        copy._contents = self._contents.copy()  # noqa: SLF001  # of its own class
        return copy

    # -- adding ------------------------------------------------------------------
    def add_file(self, path: str | PathLike[str], name: str | None = None, *, overwrite: bool = False) -> Self:
        """Add one file; it is read when the artifact is logged. A symbolic link means its target.

        Args:
            path: The file.
            name: Its path in the version; the file's own name if None.
            overwrite: Replace what has that path.

        Raises:
            NotFoundError, AccessError: There is no such file, or it cannot be looked at.
            InvalidInputError: Not a regular file, or no valid path.
            ConflictError: Something else has that path, or lies below it.
        """
        source = local_file(path)
        where = source.rpartition("/")[2] if name is None else name
        self._changing().add(_file_path(where), source, overwrite=overwrite)
        return self

    def add_dir(
        self,
        path: str | PathLike[str],
        name: str | None = None,
        *,
        ignore: str | list[str] | tuple[str, ...] = (),
        overwrite: bool = False,
    ) -> Self:
        """Add everything below a directory; it is walked when the artifact is logged.

        Symbolic links are followed while they stay inside `path`; one that leaves it, leads nowhere or back up
        is an error then, and so are sockets, pipes and devices. Empty directories are entries. Of the mode, the
        owner's executable bit is kept.

        Args:
            path: The directory.
            name: Directory in the version to put it in; None: the top.
            ignore: Patterns of what to leave out, as in a `.gitignore`.
            overwrite: Replace what has the same paths.

        Raises:
            NotFoundError, AccessError: There is no such directory, or it cannot be looked at.
            InvalidInputError: Not a directory, no valid path, or a pattern that cannot be.
        """
        source = local_folder(path)
        prefix = "" if name in (None, "", ".") else _file_path(str(name).removesuffix("/")) + "/"
        self._changing().add_tree(source, prefix, Ignore(ignore), overwrite=overwrite)
        return self

    def add_bytes(self, data: Buffer | BinaryIO, name: str, *, overwrite: bool = False) -> Self:
        """Add bytes, or what a binary file-like object gives from its position to its end (read at once).

        Raises:
            InvalidInputError: Text instead of bytes, or no valid path.
            ConflictError: Something else has that path, or lies below it.
        """
        path = _file_path(name)
        contents = self._changing()
        contents.add(path, contents.keep_bytes(data), overwrite=overwrite)
        return self

    @contextlib.contextmanager
    def new_file(
        self, name: str, mode: Literal["w", "wb", "x", "xb"] = "w", *, encoding: str = "utf-8", overwrite: bool = False
    ) -> Iterator[IO[Any]]:
        """Write a file of the version: `with artifact.new_file("notes.txt") as f: f.write(…)`.

        Streams to a temporary file, which goes with the artifact. If the block fails, nothing is added.

        Raises:
            InvalidInputError: No valid path or mode.
            ConflictError: Something else has that path, or lies below it.
        """
        path = _file_path(name)
        if mode not in ("w", "wb", "x", "xb"):
            raise InvalidInputError(what=f"mode {mode!r} does not write a new file", fix="use w, wb, x or xb")
        contents = self._changing()
        with spooled(contents, mode.replace("w", "x"), encoding) as (file, source):
            yield file
        contents.add(path, source, overwrite=overwrite)

    def add_reference(  # noqa: PLR0913 - the design's spelling, and how far it is
        self,
        uri: str | Entry,
        name: str | None = None,
        *,
        pin: bool | Literal["digest"] = True,
        max_objects: int = MAX_OBJECTS,
        on_unavailable: Literal["raise", "record"] = "raise",
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> Self:
        """Point at bytes that stay where they are: an object, everything under a prefix, or an entry of a version.

        The source is asked at once. On any error nothing is added. An entry of another version of this
        repository is added as what it is (bytes we keep, or its own reference): no bytes move, no chains form.

        Args:
            uri: What to point at. A URI that no source knows is recorded as it is, *unverified*; it needs a name.
            name: The path of a single object, or the directory for what is under a prefix.
            pin: True: what the source tells without reading; "digest": read once and prove; False: record the bare URI.
            max_objects: Most objects to add; more is an error that names this limit.
            on_unavailable: "record" the bare URI, unverified and with a warning, if the source cannot be asked or
                has nothing, instead of raising.
            overwrite: Replace what has the same paths.
            progress: Told `references`, objects found so far, and None.

        Raises:
            ReferenceMissingError: Nothing is there.
            AccessError, CredentialsError, StorageError: The source could not be asked.
            InvalidInputError: The URI, the name or the limit is wrong, there are more objects, or two of them cannot
                be files beside each other.
            ConflictError: Something else has one of the paths.
        """
        if isinstance(uri, StoredEntry | ReferenceEntry):
            self._add_entry(uri, name, overwrite)
            return self
        if uri.startswith(SCHEME):
            raise InvalidInputError(
                what=f"{uri} is kept by Headwater, not elsewhere",
                fix="add_reference(version.entry(path)) moves no bytes",
            )
        if on_unavailable not in ("raise", "record"):
            raise InvalidInputError(what=f"on_unavailable is 'raise' or 'record', not {on_unavailable!r}")
        found = Asked(lambda: find_references(uri, name, pin=pin, max_objects=max_objects), progress)
        try:
            self._contents.add_entries(iter(found), overwrite=overwrite)
        except (NotFoundError, AccessError, StorageError) as error:
            if on_unavailable == "raise" or error is not found.refused:
                raise
            warnings.warn(f"recorded unverified, as nothing proves it: {error}", UserWarning, stacklevel=2)
            self._contents.add_entries(record_bare(uri, name), overwrite=overwrite)
        self._changing()
        return self

    def _add_entry(self, entry: Entry, name: str | None, overwrite: bool) -> None:  # noqa: FBT001
        path = check_path(entry.path if name is None else name)
        if path.endswith("/") != entry.path.endswith("/"):
            raise InvalidInputError(what=f"{entry.path!r} cannot become {path!r}: only an empty directory ends in '/'")
        moved: Entry
        if isinstance(entry, StoredEntry):
            moved = StoredEntry(path, entry.size, entry.digest, entry.executable)
        else:
            moved = ReferenceEntry(path, entry.size, entry.uri, entry.pin)
        self._changing().add(path, moved, overwrite=overwrite)

    def remove(self, path: str) -> Self:
        """Take out one path, or a directory with all that is below it (as it is now; later additions stay).

        Raises:
            EntryNotFoundError: Nothing has that path.
            InvalidInputError: Not a valid path.
        """
        self._changing().remove(check_path(path).removesuffix("/"))
        return self

    # -- looking -----------------------------------------------------------------
    def entries(self) -> Iterator[Planned]:
        """What would be logged now, in path order, streamed; directories are walked, no file is read.

        Raises:
            ConflictError: Two contents for one path.
            InvalidInputError, AccessError, StorageError: As when it is logged.
        """
        for item in self._contents.preview():
            if isinstance(item, Given):
                content = item.content
                entry = None if isinstance(content, bytes) else content
                size = len(content) if isinstance(content, bytes) else content.size
                yield Planned(item.first, size, entry.uri if isinstance(entry, ReferenceEntry) else None)
            else:
                for at, path in enumerate(item.paths, item.low):
                    yield Planned(path, item.listing.stats[at][2], item.listing.file(at))

    def __repr__(self) -> str:
        return f"<Artifact {self.name}{f' ({self.type})' if self.type else ''}>"

    # -- for the journey down ----------------------------------------------------
    @property
    def draft(self) -> tuple[Root, ReadPage] | None:
        """The manifest this artifact starts with, and how to read its pages; None for one that starts empty."""
        return self._contents.draft and (self._contents.draft.root, self._contents.draft.read_page)

    @property
    def contents(self) -> Contents:
        """What was added and removed."""
        return self._contents

    def items(self, cache: StatCache | None) -> Iterator[Item]:
        """What was added, merged, in path order; with what the cache knows of it."""
        return self._contents.items(cache)

    def _changing(self) -> Contents:
        self.codec = None  # other files: the value's codec would not find what it wrote
        return self._contents


def _file_path(name: str) -> str:
    if check_path(name).endswith("/"):
        raise InvalidInputError(what=f"{name!r} ends in '/', so it cannot be a file's path")
    return name
