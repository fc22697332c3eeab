"""What an artifact shall contain, as it was said: files, bytes, entries, directories, and what was taken out again."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, NamedTuple

from headwater import disk
from headwater.errors import ConflictError, EntryNotFoundError, InvalidInputError, StorageError
from headwater.model.chunker import MIN_FILE
from headwater.model.entries import Entry, StoredEntry
from headwater.model.manifest import ReadPage, Root, select_pages
from headwater.model.pages import MIN_ENTRIES, decode_page, encode_page
from headwater.model.patterns import Ignore
from headwater.store.intake import Given, Item, Stream, conflict, leave_out, merge
from headwater.store.listing import single
from headwater.store.reading import digest_of
from headwater.store.statcache import StatCache
from headwater.store.walk import Walk

if TYPE_CHECKING:
    from typing_extensions import Buffer

INLINE = 16 << 20
"""Bytes of small contents kept in memory; what comes after goes to temporary files."""
KEPT = 256 << 20
"""Bytes of large contents kept in memory, or one that is larger; what comes after goes to temporary files."""
_MANY = 4_096
"""More entries than this from one call are kept on disk."""


class Tree(NamedTuple):
    """A directory to be walked."""

    source: str
    prefix: str
    ignore: Ignore


class Draft(NamedTuple):
    """The manifest that an artifact starts with."""

    root: Root
    read_page: ReadPage

    def below(self, path: str) -> Iterator[Entry]:
        """The entries at `path` and below it, in order."""
        for page in select_pages(self.root, path):
            for entry in self.read_page(page):
                if not path or entry.path == path or entry.path.startswith(path + "/"):
                    yield entry


Content = str | bytes | Entry
"""A file to be read, bytes, or an entry."""


class Contents:
    """Everything that was added and removed; knows nothing of stores."""

    def __init__(self) -> None:
        self.draft: Draft | None = None
        self.removed: list[str] = []
        """Paths taken out of the draft, with all below them."""
        self._single: dict[str, Content] = {}
        self._overwriting: set[str] = set()
        self._parents: Counter[str] = Counter()
        self._streams: list[tuple[Stream, Tree | None, Callable[[StatCache | None], Iterable[Item]]]] = []
        self._inline = self._kept = 0
        self._spool: Spool | None = None

    def copy(self) -> Contents:
        """The same contents; changes to one do not show in the other."""
        copy = Contents()
        copy.draft, copy.removed, copy._spool = self.draft, list(self.removed), self._spool
        copy._inline, copy._kept = self._inline, self._kept
        copy._single, copy._parents = dict(self._single), Counter(self._parents)
        copy._overwriting = set(self._overwriting)
        for stream, tree, start in self._streams:
            copy._append(tree, start, stream.overwrite)
            copy._streams[-1][0].without = list(stream.without)
        return copy

    # -- adding ------------------------------------------------------------------
    def add(self, path: str, content: Content, *, overwrite: bool) -> None:
        """Add one path.

        Raises:
            ConflictError: Something else has that path, or lies below it.
        """
        old = self._single.get(path)
        if old is not None and not overwrite and old != content and _measure(old) != _measure(content):
            raise conflict(path)
        if old is None:
            self._check_collision(path)
            self._parents.update(_parents(path))
        if overwrite:
            self._overwriting.add(path)
        if old is None or overwrite:
            self._single[path] = content

    def _check_collision(self, path: str) -> None:
        above = next((parent for parent in _parents(path) if parent in self._single), None)
        below = self._parents[path.removesuffix("/")]
        if above or below:
            other = above or f"{path}/…"
            raise ConflictError(what=f"{path!r} and {other!r} cannot both be: a file cannot hold another")

    def add_tree(self, source: str, prefix: str, ignore: Ignore, *, overwrite: bool) -> None:
        """Add a directory."""
        tree = Tree(source, prefix, ignore)
        self._append(tree, lambda cache: Walk(tree.source, tree.prefix, tree.ignore, cache), overwrite)

    def add_entries(self, entries: Iterator[Entry], *, overwrite: bool) -> None:
        """Add sorted entries, all or none; many of them are kept on disk.

        Raises:
            ConflictError: Something else has one of the paths.
        """
        start = list(islice(entries, _MANY + 1))
        if len(start) > _MANY:
            pages = self.spool().write_pages(start, entries)
            self._append(None, lambda _: pages.items(), overwrite)
            return
        trial = self.copy()
        for entry in start:
            trial.add(entry.path, entry, overwrite=overwrite)
        vars(self).update({name: vars(trial)[name] for name in ("_single", "_parents", "_overwriting")})

    def _append(self, tree: Tree | None, start: Callable[[StatCache | None], Iterable[Item]], overwrite: bool) -> None:  # noqa: FBT001
        self._streams.append((Stream(overwrite=overwrite), tree, start))

    def keep_bytes(self, data: Buffer | BinaryIO) -> bytes | str:
        """Take bytes or a readable object. What is in memory stays there, up to a limit; the rest goes to files.

        The content is what it is now: `bytes` are kept as they are, other buffers are copied.
        """
        reader = getattr(data, "read", None)
        if reader is None:
            try:
                view = memoryview(data).cast("B")  # type: ignore[arg-type]
            except TypeError:
                raise InvalidInputError(
                    what=f"add_bytes takes bytes or a binary file, not {type(data).__name__}",
                    fix="encode text: text.encode()",
                ) from None
            if len(view) >= MIN_FILE and self._may_keep(data, len(view)):
                self._kept += len(view)
                return data if type(data) is bytes else bytes(view)
            return self._hold(iter([bytes(view)] if len(view) < MIN_FILE else [view]))
        return self._hold(iter(lambda: _as_bytes(reader(MIN_FILE)), b""))

    def _may_keep(self, data: object, size: int) -> bool:
        """Whether large content may stay in memory: the first `bytes` may, they are there anyway."""
        return self._kept + size <= KEPT or (type(data) is bytes and not self._kept)

    def _hold(self, pieces: Iterator[Any]) -> bytes | str:
        first = next(pieces, b"")
        second = next(pieces, b"") if len(first) < MIN_FILE else b""
        if len(first) + len(second) < MIN_FILE and self._inline + len(first) + len(second) <= INLINE:
            rest = b"".join(pieces) if second else b""
            whole = bytes(first) + bytes(second) + rest
            if len(whole) < MIN_FILE:
                self._inline += len(whole)
                return whole
            first, second = whole, b""
        with spooled(self, "xb", None) as (file, source):
            for piece in (first, second):
                file.write(piece)
            for piece in pieces:
                file.write(piece)
        return source

    def spool(self) -> Spool:
        """Where temporary files go; made on first use."""
        self._spool = self._spool or Spool()
        return self._spool

    # -- removing ----------------------------------------------------------------
    def remove(self, path: str) -> None:
        """Take out `path` and what is below it.

        Raises:
            EntryNotFoundError
        """
        gone = [p for p in self._single if _is_below(p, path)]
        hit = bool(gone)
        for lost in gone:
            del self._single[lost]
            self._overwriting.discard(lost)
            self._parents.subtract(_parents(lost))
        for stream, _, start in self._streams:
            if any(_touches(item, path) for item in stream.of(start(None))):
                hit = True
                stream.without.append(path)
        if self.draft is not None and any(True for _ in self._old_below(path)):
            hit = True
            self.removed.append(path)
        if not hit:
            raise EntryNotFoundError(path=path, where="this artifact", fix="`entries()` lists what it holds")

    def _old_below(self, path: str) -> Iterator[Entry]:
        assert self.draft is not None
        found = self.draft.below(path)
        return (e for e in found if not any(_is_below(e.path, gone) for gone in self.removed))

    # -- looking -----------------------------------------------------------------
    def items(self, cache: StatCache | None) -> Iterator[Item]:
        """Everything added, merged, in path order."""
        parts: list[Iterable[Item]] = [stream.of(start(cache)) for stream, _, start in self._streams]
        if self._single:
            parts.append(self._singles(cache))
        return merge(parts) if len(parts) != 1 else iter(parts[0])

    def _singles(self, cache: StatCache | None) -> Iterator[Item]:
        for path in sorted(self._single):
            content = self._single[path]
            item: Item = single(content, path, cache) if isinstance(content, str) else Given(path, content)
            item.overwrite = path in self._overwriting
            yield item

    def preview(self) -> Iterator[Item]:
        """Everything the next version would contain, the draft's entries included."""
        if self.draft is None:
            return self.items(None)
        old: Stream = Stream()
        old.without = self.removed
        return merge([old.of(Given(e.path, e) for e in self.draft.below("")), self.items(None)])

    @property
    def only_tree(self) -> Tree | None:
        """The directory that is all there is; None if there is more, or less."""
        if self._single or self.draft is not None or len(self._streams) != 1 or self._streams[0][0].without:
            return None
        return self._streams[0][1]


# -------------------------------------------------------------- temporary files
class Spool:
    """A temporary directory that goes with its owner, in the process that made it."""

    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="headwater-")
        self._count = 0
        weakref.finalize(self, _remove, self.folder, os.getpid())

    def next_path(self) -> str:
        """Where the next file goes."""
        self._count += 1
        return f"{self.folder}/{self._count}"

    def write_pages(self, start: list[Entry], rest: Iterator[Entry]) -> SpooledPages:
        """Keep sorted entries in a file; if `rest` fails, nothing is kept."""
        path = self.next_path()
        pages = SpooledPages(path, [], self)
        try:
            with disk.explained(path), Path(path).open("xb") as file:
                page = start
                while page:
                    data = encode_page(page)
                    pages.sizes.append(file.write(data))
                    page = list(islice(rest, MIN_ENTRIES))
        except BaseException:
            Path(path).unlink(missing_ok=True)
            raise
        return pages


class SpooledPages(NamedTuple):
    """Entries in a temporary file."""

    path: str
    sizes: list[int]
    spool: Spool

    def items(self) -> Iterator[Item]:
        """All of them, in order."""
        with disk.explained(self.path), Path(self.path).open("rb") as file:
            for size in self.sizes:
                for entry in decode_page(file.read(size)):
                    yield Given(entry.path, entry)


def _remove(folder: str, pid: int) -> None:
    if os.getpid() == pid:  # a forked child must not take its parent's files away
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def spooled(contents: Contents, mode: str, encoding: str | None) -> Iterator[tuple[IO[Any], str]]:
    """A new temporary file to write, and its path; removed if the block fails."""
    path = contents.spool().next_path()
    text = {} if "b" in mode else {"encoding": encoding, "newline": ""}
    try:
        with Path(path).open(mode, **text) as file:  # type: ignore[call-overload]
            yield file, path
    except BaseException as error:
        Path(path).unlink(missing_ok=True)
        if isinstance(error, OSError) and not isinstance(error, StorageError) and error.filename in (None, path):
            raise disk.explain(error, path) from error
        raise


# --------------------------------------------------------------------- questions
def _as_bytes(piece: Any) -> bytes:
    if not isinstance(piece, bytes | bytearray | memoryview):
        raise InvalidInputError(what="the file-like object gives text, not bytes", fix="open it in binary mode")
    return bytes(piece)


def _parents(path: str) -> list[str]:
    parts = path.removesuffix("/").split("/")[:-1]
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]


def _is_below(path: str, top: str) -> bool:
    return path == top or path.startswith(top + "/")


def _touches(item: Item, path: str) -> bool:
    return sum(map(len, leave_out(item, [path]))) < len(item)


def _measure(content: Content) -> object:
    """Equal for equal content; reads a file."""
    if isinstance(content, str):
        return digest_of(content)
    entry = Given("-", content).entry()
    return (entry.size, bytes(entry.digest)) if isinstance(entry, StoredEntry) else (entry.uri, entry.pin)
