"""Filling a target from a manifest: judge everything first, then remove, then bring, then remember.

Nothing is changed before all of it is known to be allowed. Entries are walked
page by page, as often as needed; what is kept in between is a few bytes per
entry that must be brought, so a million of them fit.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from headwater.download.borrowed import BorrowedFiles, Copies, References, Skipped, Unreadable, content_of, link_text
from headwater.download.crew import REMOTE_WORKERS, Crew, crew_for
from headwater.download.firstread import FirstReads
from headwater.download.judging import Judge, Judged, State
from headwater.download.placed import Placed, Row, open_placed
from headwater.download.ranged import FOLDER as UNFINISHED
from headwater.download.selection import Selection, key_of
from headwater.download.stored import StoredFiles
from headwater.download.target import Target, probe_folding, refuse_collisions
from headwater.errors import ConflictError
from headwater.model.manifest import Entry, ReferenceEntry, StoredEntry

if TYPE_CHECKING:
    from headwater.ports import ObjectStore, Progress
    from headwater.store.blobs import BlobStore
    from headwater.store.cache import FileCache

_SOME: Final = 512
"""Entries judged by one job."""
_SHOWN: Final = 5
"""Paths named in a conflict's line; all are in its facts."""


class Home(Protocol):
    """What a download needs of an open repository."""

    @property
    def blobs(self) -> BlobStore: ...
    @property
    def objects(self) -> ObjectStore: ...
    @property
    def cache(self) -> FileCache | None: ...
    @property
    def copies(self) -> FileCache | None: ...
    @property
    def folder(self) -> Path: ...


@dataclass(kw_only=True)
class Wishes:
    """How a target is to be filled."""

    references: References = "copy"
    tolerant: bool = False
    """Skip references that cannot be had."""
    exact: bool = False
    """Also remove what earlier calls placed and this manifest does not have."""
    everything_is_ours: bool = False
    """The target belongs to Headwater alone: whatever is in the way goes."""
    link: bool = False
    dry_run: bool = False
    progress: Progress | None = None


@dataclass
class Filled:
    """What was done, or would be."""

    placed: list[str] = field(default_factory=list)
    """Only where `exact` was wished: a million paths take 75 MB."""
    removed: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


def fill(home: Home, selection: Selection, target: Path, wishes: Wishes) -> Filled:
    """Make the selected entries exist below `target`.

    Raises:
        ConflictError: Something there is not ours to replace; raised before the first change. Facts: paths.
        IntegrityError, StorageError, AccessError, ReferenceMissingError: What could not be brought; the files
            placed by then are complete, and the next call goes on from there.
    """
    if wishes.dry_run and not target.is_dir():
        return Filled(placed=list(selection.paths()))
    with (
        Target(target, create=not wishes.dry_run) as place,
        open_placed(home.folder, place.root) as placed,
        crew_for(home.objects.url) as crew,
    ):
        return _Filling(home, selection, place, placed, (crew, wishes)).run()


class _Filling:
    """One call: its parts, and what it has found out."""

    def __init__(
        self, home: Home, selection: Selection, target: Target, placed: Placed, how: tuple[Crew, Wishes]
    ) -> None:
        self._home, self._selection, self._target, self._placed = home, selection, target, placed
        self._crew, self._wishes = how
        self._first = FirstReads(home.folder)
        self._judge = Judge(target, everything_is_ours=self._wishes.everything_is_ours)
        self._is_empty = False
        """Whether there is nothing to judge."""
        self._wanted: list[array[int]] = []
        """Per page of the selection: which of its entries must be brought."""
        self._modes: list[StoredEntry] = []
        self._settled: list[tuple[str, bytes, bytes, os.stat_result]] = []
        self._conflicts: list[str] = []
        self._removals: dict[str, None] = {}
        self._folders: list[str] = []
        self._gone: list[str] = []
        self._total = self._bytes = 0
        self._done: list[tuple[str, bytes, bytes, os.stat_result]] = []
        """Placed and not yet recorded."""
        self._filled = Filled()

    def run(self) -> Filled:
        if not self._wishes.dry_run:
            self._target.begin()
            fold = probe_folding(self._target.root)
            if fold:
                refuse_collisions(self._selection.paths(), fold)
        self._is_empty = self._target.is_empty()
        if self._wishes.exact:
            self._judge_leftovers()
        self._judge_entries()
        self._refuse_conflicts()
        self._filled.removed = list(self._removals)
        if not self._wishes.dry_run:
            self._change()
        return self._filled

    # -- judging -----------------------------------------------------------------
    def _judge_leftovers(self) -> None:
        """What earlier calls placed and nobody wants any more."""
        wanted, path = self._selection.paths(), ""
        current = next(wanted, None)
        for row in self._placed.all():
            path = row.path
            while current is not None and current < path:
                current = next(wanted, None)
            if current == path:
                continue
            if path.endswith("/"):
                self._folders.append(path)
                continue
            judged = self._judge.is_ours(path, row)
            if judged.state is State.OURS:
                self._removals[path] = None
            elif judged.state is State.ABSENT:
                self._gone.append(path)
            else:
                self._conflicts.append(path)

    def _judge_entries(self) -> None:
        for page in self._selection:
            # a reference's row may sort beside an empty directory's: ask without the trailing slash too
            rows = self._placed.between(page[0].path.rstrip("/"), page[-1].path)
            wanted = array("L")
            parts = [range(at, min(at + _SOME, len(page))) for at in range(0, len(page), _SOME)]
            judging = self._crew.run(partial(self._judge_some, page, part, rows) for part in parts)
            for part, judged in zip(parts, judging):
                for at, found in zip(part, judged):
                    if self._take(page[at], found, rows.get(page[at].path)):
                        wanted.append(at)
            self._wanted.append(wanted)

    def _judge_some(self, page: list[Entry], part: range, rows: dict[str, Row]) -> list[Judged]:
        if self._is_empty:
            return [Judged(State.ABSENT)] * len(part)
        return [self._judge_one(page[at], rows.get(page[at].path)) for at in part]

    def _judge_one(self, entry: Entry, row: Row | None) -> Judged:
        stored = isinstance(entry, StoredEntry)
        if not stored and self._wishes.references == "skip":
            return Judged(State.ABSENT)
        link = None
        if not stored and self._wishes.references == "in-place" and isinstance(entry, ReferenceEntry):
            link = _text_or_none(entry)
        return self._judge.entry(entry, content_of(entry, self._first), row, link)

    def _take(self, entry: Entry, judged: Judged, row: Row | None) -> bool:
        """Note the judgement; whether the entry must be brought."""
        if judged.state is State.RIGHT:
            if row is not None and not judged.settled and judged.content is not None and judged.info is not None:
                self._settled.append((entry.path, key_of(entry), judged.content, judged.info))
            return False
        if judged.state is State.MODE and isinstance(entry, StoredEntry):
            self._modes.append(entry)
            return False
        in_the_way = judged.state is State.FOREIGN and not self._is_being_removed(entry.path)
        if in_the_way or (judged.state is State.FOLDER and not self._will_be_empty(entry.path)):
            self._conflicts.append(entry.path)
        self._total += entry.size or 0
        if self._wishes.exact and not (isinstance(entry, ReferenceEntry) and self._wishes.references == "skip"):
            self._filled.placed.append(entry.path)
        return True

    def _is_being_removed(self, path: str) -> bool:
        """Whether what blocks `path` is a file above it that this call removes."""
        if not self._removals:
            return False
        ends = [at for at, c in enumerate(path) if c == "/"]
        return any(path[:end] in self._removals for end in ends)

    def _will_be_empty(self, path: str) -> bool:
        """Whether this call removes every file of the directory that is where a file should be."""
        if self._wishes.everything_is_ours:
            return True
        ours = all(f"{path}/{found}" in self._removals for found in walk_files(self._target.root / path))
        return ours and f"{path}/" in self._folders

    def _refuse_conflicts(self) -> None:
        if not self._conflicts:
            return
        paths = sorted(set(self._conflicts))
        shown = ", ".join(repr(path) for path in paths[:_SHOWN]) + (", …" if len(paths) > _SHOWN else "")
        raise ConflictError(
            what=f"{len(paths)} of the files there were not placed by Headwater, or were changed since: {shown}",
            where=str(self._target.root), fix="move them away, or choose another directory; nothing was changed",
            paths=paths,
        )  # fmt: skip

    # -- changing ----------------------------------------------------------------
    def _change(self) -> None:
        for some in _slices((e.path, content_of(e, self._first)) for e in self._to_bring()):
            self._placed.plan(some)
        self._placed.done(self._settled)
        self._clear()
        try:
            self._bring()
        finally:
            self._remember()
        for entry in self._modes:
            info = self._target.set_executable(entry.path, executable=entry.executable)
            self._done.append((entry.path, entry.digest, entry.digest, info))
        self._remember()

    def _clear(self) -> None:
        for path in self._removals:
            self._target.remove(path)
        self._placed.forget([*self._removals, *self._gone])
        if self._wishes.exact:
            gone = [folder for folder in reversed(self._folders) if self._target.remove_folder(folder)]
            self._placed.forget(gone)

    def _bring(self) -> None:
        files = StoredFiles(self._home, self._target, self._report, link=self._wishes.link)
        stored = (e for e in self._to_bring() if isinstance(e, StoredEntry) and not self._made_folder(e))
        try:
            for finish in self._crew.run(files.jobs(stored)):
                finish()
                self._keep_up()
        finally:
            files.close()
        self._bring_references()
        self._note_skipped()

    def _bring_references(self) -> None:
        copies = Copies(self._home.copies, self._home.folder / UNFINISHED, self._advance)
        borrowed = BorrowedFiles(self._target, self._report, self._first, copies, tolerant=self._wishes.tolerant)
        references = (e for e in self._to_bring() if isinstance(e, ReferenceEntry))
        try:
            # wherever our packs are, references are mostly far away
            with Crew(REMOTE_WORKERS) as crew:
                for skipped in crew.run(borrowed.jobs(references, self._wishes.references)):
                    if skipped is not None:
                        self._filled.skipped.append(skipped)
                    self._keep_up()
        finally:
            borrowed.close()

    def _advance(self, size: int) -> None:
        self._bytes += size

    def _note_skipped(self) -> None:
        missing = {skipped.path for skipped in self._filled.skipped}
        if missing:
            self._filled.placed = [path for path in self._filled.placed if path not in missing]

    def _to_bring(self) -> Iterator[Entry]:
        for page, wanted in zip(self._selection, self._wanted):
            for at in wanted:
                yield page[at]

    def _made_folder(self, entry: StoredEntry) -> bool:
        """Whether the entry is an empty directory; makes it."""
        if entry.is_directory:
            self._target.make_folder(entry.path)
        return entry.is_directory

    def _report(self, entry: Entry, content: bytes, info: os.stat_result, size: int) -> None:
        self._done.append((entry.path, key_of(entry), content, info))
        self._bytes += size

    def _keep_up(self) -> None:
        if len(self._done) >= _SOME:
            self._remember()
        if self._wishes.progress:
            self._wishes.progress("download", min(self._bytes, self._total), self._total)

    def _remember(self) -> None:
        # Worker threads append at the end meanwhile: take only what was there, then cut it off.
        n = len(self._done)
        self._placed.done(self._done[:n])
        del self._done[:n]
        folders = self._target.made[:]
        self._placed.made(folders)
        del self._target.made[: len(folders)]


def _text_or_none(entry: ReferenceEntry) -> str | None:
    try:
        return link_text(entry)
    except Unreadable:
        return None


def _slices(items: Iterable[tuple[str, bytes | None]]) -> Iterator[list[tuple[str, bytes | None]]]:
    some: list[tuple[str, bytes | None]] = []
    for item in items:
        some.append(item)
        if len(some) >= 8 * _SOME:
            yield some
            some = []
    yield some


def walk_files(folder: Path, prefix: str = "") -> Iterator[str]:
    """Relative paths of everything below `folder` that is not a directory, in byte order; links are not followed."""
    with os.scandir(folder) as found:
        names = sorted(entry.name + "/" if entry.is_dir(follow_symlinks=False) else entry.name for entry in found)
    for name in names:
        if name.endswith("/"):
            yield from walk_files(folder / name, prefix + name)
        else:
            yield prefix + name
