"""Shared trees: one read-only directory per manifest, complete or absent, for every step on this machine to read.

folder/trees/<hex>/             the tree: files 0444, directories 0555
folder/trees/<hex>.unfinished/  being filled; a killed process's is gone on with
folder/trees/<hex>.stats        what the files looked like when they were last known to be right
folder/trees/<hex>.lock
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from headwater import disk, settings
from headwater.download.borrowed import content_of
from headwater.download.filling import Home, Wishes, fill, walk_files
from headwater.download.firstread import FirstReads
from headwater.download.judging import hash_file
from headwater.download.placed import RACY_NS, forget_placed
from headwater.download.pruning import folder_bytes, keep_quota, mark_used, record_size
from headwater.download.selection import Selection
from headwater.download.target import Target
from headwater.model.digest import Digest
from headwater.model.manifest import StoredEntry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headwater.model.manifest import Entry
    from headwater.ports import Progress

_PATIENCE = 6 * 3600.0


def shared_tree(home: Home, root: Digest, *, progress: Progress | None = None) -> Path:
    """The read-only tree of a manifest, made if absent, repaired if damaged.

    Complete when this returns, and verified: on reuse every file's stat is compared with the one
    recorded, and a file that differs is hashed again. Safe between threads and processes: the first
    one fills it, others wait.

    Raises:
        IntegrityError, StorageError, AccessError, ReferenceMissingError: It could not be filled; what was
            brought so far is kept for the next call.
    """
    trees = home.folder / "trees"
    final = trees / root.hex()
    with disk.explained(trees):
        trees.mkdir(parents=True, exist_ok=True)
    if _reusable(home, root, final):
        mark_used(final)
        return final
    with disk.locked(trees / f"{root.hex()}.lock", patience=_PATIENCE):
        if not _reusable(home, root, final, deep=True):
            _make(home, root, final, progress)
            keep_quota(home, settings.current().quota // 2)
    return final


def _make(home: Home, root: Digest, final: Path, progress: Progress | None) -> None:
    unfinished = final.with_name(final.name + ".unfinished")
    with disk.explained(final):
        if final.exists():  # damaged: bring only what is wrong, under the name nobody reads
            _open_up(final)
            if unfinished.exists():
                disk.remove_tree(final)
            else:
                final.replace(unfinished)
        elif unfinished.exists():
            _open_up(unfinished)
        unfinished.mkdir(exist_ok=True)
    selection = Selection(home.blobs, home.blobs.read_root(root))
    _drop_strangers(unfinished, selection)
    fill(home, selection, unfinished, Wishes(everything_is_ours=True, progress=progress))
    with disk.explained(final):
        _close_down(unfinished)
        unfinished.replace(final)
        final.chmod(0o555)
        forget_placed(home.folder, unfinished)
    _Stats(final).write(selection.paths())
    record_size(final, folder_bytes(final))


def _reusable(home: Home, root: Digest, final: Path, *, deep: bool = False) -> bool:
    """Whether the tree is there and right: by its recorded stats, with `deep` by hashing what differs from them."""
    recorded = _Stats(final).read()
    if not final.is_dir() or (recorded is None and not deep):
        return False
    selection = Selection(home.blobs, home.blobs.read_root(root))
    first, differing = FirstReads(home.folder), False
    with disk.explained(final), Target(final, create=False) as target:
        if list(walk_files(final)) != [path for path in selection.paths() if not path.endswith("/")]:
            return False
        for page in selection:
            for entry in page:
                info = target.look(entry.path.rstrip("/"))
                if info is None or not _fits(entry, info):
                    return False
                if _trusted(recorded, entry.path, info):
                    continue
                if not deep or not _same_bytes(target, entry, first):
                    return False
                differing = True
    if differing:
        _Stats(final).write(selection.paths())
    return True


def _fits(entry: Entry, info: os.stat_result) -> bool:
    if entry.path.endswith("/"):
        return stat.S_ISDIR(info.st_mode)
    executable = isinstance(entry, StoredEntry) and entry.executable
    mode = 0o555 if executable else 0o444
    return stat.S_ISREG(info.st_mode) and stat.S_IMODE(info.st_mode) == mode


def _trusted(recorded: dict[str, tuple[Any, ...]] | None, path: str, info: os.stat_result) -> bool:
    if path.endswith("/"):
        return True
    known = (recorded or {}).get(path)
    if known is None or info.st_nlink != 1:
        return False
    return tuple(known[:5]) == disk.signature(info) and max(info.st_mtime_ns, info.st_ctime_ns) <= known[5] - RACY_NS


def _same_bytes(target: Target, entry: Entry, first: FirstReads) -> bool:
    return hash_file(target.read(entry.path), target.root / entry.path) == content_of(entry, first)


class _Stats:
    """What the files of one tree looked like: path → (size, mtime_ns, ctime_ns, inode, device, when)."""

    def __init__(self, final: Path) -> None:
        self._tree = final
        self._path = final.with_name(final.name + ".stats")

    def read(self) -> dict[str, tuple[Any, ...]] | None:
        try:
            return msgspec.msgpack.decode(self._path.read_bytes(), type=dict[str, tuple[int, int, int, int, int, int]])
        except (OSError, msgspec.MsgspecError):  # absent or damaged: everything is hashed again
            return None

    def write(self, paths: Iterator[str]) -> None:
        now = time.time_ns()
        stats = {path: (*disk.signature(os.lstat(self._tree / path)), now) for path in paths if not path.endswith("/")}
        temporary = self._path.with_name(f"{self._path.name}-{disk.temporary_name()}")
        with disk.explained(self._path):
            temporary.write_bytes(msgspec.msgpack.encode(stats))
            temporary.replace(self._path)


def _drop_strangers(folder: Path, selection: Selection) -> None:
    """Remove from an unfinished tree what does not belong there, wherever it came from, and empty directories."""
    with disk.explained(folder):
        wanted = set(selection.paths())
        for path in list(walk_files(folder)):
            if path not in wanted:
                (folder / path).unlink()
        for here, _, _ in os.walk(folder, topdown=False):
            if here != str(folder):
                with contextlib.suppress(OSError):  # not empty
                    Path(here).rmdir()


def _open_up(folder: Path) -> None:
    folder.chmod(0o755)
    for here, folders, files in os.walk(folder):
        for path in (Path(here, name) for name in folders + files):
            info = path.lstat()
            if not stat.S_ISLNK(info.st_mode):
                path.chmod(stat.S_IMODE(info.st_mode) | (0o700 if stat.S_ISDIR(info.st_mode) else 0o200))


def _close_down(folder: Path) -> None:
    """Read-only, from the leaves up; the top stays writable until it is renamed."""
    for here, folders, files in os.walk(folder, topdown=False):
        for path in (Path(here, name) for name in files):
            path.chmod(0o555 if path.lstat().st_mode & 0o100 else 0o444)
        for name in folders:
            Path(here, name).chmod(0o555)
