"""Walking a directory in manifest order, with what the stat cache knows of it.

A directory sorts as its name with `/`, so the segments' paths, joined, are in
byte order (UTF-8 keeps the order of code points, so text sorts as its bytes do).
"""
# ruff: noqa: PTH100, PTH112, PTH114, PTH115, PTH116
# os functions, because a Path object per file would cost more than everything else here

from __future__ import annotations

import os
import stat
import zlib
from bisect import bisect_left
from collections.abc import Iterator
from typing import Final, NamedTuple

from headwater import disk
from headwater.errors import InvalidInputError, SourceChangedError
from headwater.model.naming import check_path
from headwater.model.patterns import Ignore
from headwater.store.intake import Item, empty_folder
from headwater.store.listing import Listing, Place, Segment, Stat, read_stat, recall
from headwater.store.statcache import StatCache, is_network

_SLICE: Final = 4_096
"""Directories of more files have several records, cut by their names: one new file does not shift all others."""
_LEAVE_OUT: Final = "leave it out with ignore="


class _Folder(NamedTuple):
    path: str
    """Absolute, as named (not resolved)."""
    relative: str
    """Below the top: "" or ends in "/"; what patterns are matched against."""
    trail: tuple[tuple[int, int], ...]
    """(device, inode) of every directory above and of itself, to see loops."""


class _Found(NamedTuple):
    files: list[str]
    folders: list[str]
    stats: list[Stat]
    """Of the files; where one is a symbolic link, its target's."""
    network: bool


class Walk:
    """One walk below `top`; iterate once.

    Symbolic links are followed while they stay below `top`. What `ignore` leaves
    out is as if it were not there.

    Args:
        top: An existing directory.
        prefix: What paths start with: "" or ends in "/".
        ignore: What is left out.
        cache: Where known digests come from.

    Raises (while iterating):
        InvalidInputError: A link that leaves the tree, leads nowhere or back up; a socket, pipe or
            device; a name that cannot be a path; each is named.
        AccessError, StorageError: A directory cannot be read.
        SourceChangedError: A file vanished meanwhile.
    """

    def __init__(self, top: str, prefix: str, ignore: Ignore, cache: StatCache | None) -> None:
        self.top = os.path.abspath(top)
        self._real = os.path.realpath(self.top)
        self._prefix, self._ignore, self._cache = prefix, ignore, cache

    def __iter__(self) -> Iterator[Item]:
        with disk.explained(self.top):
            info = os.stat(self.top)
        stack = [self._parts(_Folder(self.top, "", ((info.st_dev, info.st_ino),)))]
        while stack:
            part = next(stack[-1], None)
            if part is None:
                stack.pop()
            elif isinstance(part, _Folder):
                stack.append(self._parts(part))
            else:
                yield part

    def _parts(self, folder: _Folder) -> Iterator[Item | _Folder]:
        found = self._read(folder)
        prefix = self._prefix + folder.relative
        if not found.files and not found.folders:
            if prefix:
                yield empty_folder(check_path(prefix))
            return
        folders = [(name + "/", name) for name in found.folders]
        listings = self._listings(folder.path, prefix, found)
        pending = next(listings, None)
        low = 0
        for mark, name in sorted(folders):
            while pending is not None and pending.names[-1] < mark:
                yield Segment(pending, low, len(pending))
                pending, low = next(listings, None), 0
            at = bisect_left(pending.names, mark) if pending is not None else 0
            if pending is not None and at > low:
                yield Segment(pending, low, at)
                low = at
            yield self._below(folder, name)
        while pending is not None:
            yield Segment(pending, low, len(pending))
            pending, low = next(listings, None), 0

    def _below(self, folder: _Folder, name: str) -> _Folder:
        path = f"{folder.path}/{name}"
        check_path(self._prefix + folder.relative + name)
        with disk.explained(path):
            info = os.stat(path)
        return _Folder(path, f"{folder.relative}{name}/", (*folder.trail, (info.st_dev, info.st_ino)))

    # -- reading a directory -----------------------------------------------------
    def _read(self, folder: _Folder) -> _Found:
        with disk.explained(folder.path):
            fd = os.open(folder.path, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0))
            try:
                files, folders, linked = self._names(fd, folder)
                network = is_network(os.fstat(fd).st_dev)
                stats = _stats(fd, files, linked)
                return _Found(files, folders, _without_ctime(stats) if network else stats, network)
            except FileNotFoundError as error:
                raise SourceChangedError(where=f"{folder.path}/{error.filename}") from None
            finally:
                os.close(fd)

    def _names(self, fd: int, folder: _Folder) -> tuple[list[str], list[str], frozenset[str]]:
        files: list[str] = []
        folders: list[str] = []
        odd: list[str] = []
        with os.scandir(fd) as children:
            for child in children:
                if child.is_file(follow_symlinks=False):
                    files.append(child.name)
                elif child.is_dir(follow_symlinks=False):
                    folders.append(child.name)
                else:
                    odd.append(child.name)
        if self._ignore:
            files = [n for n in files if not self._ignore(folder.relative + n, is_directory=False)]
            folders = [n for n in folders if not self._ignore(folder.relative + n, is_directory=True)]
        linked: set[str] = set()
        for name in sorted(odd):
            self._follow(folder, name, files, folders, linked)
        files.sort()
        return files, folders, frozenset(linked)

    def _follow(self, folder: _Folder, name: str, files: list[str], folders: list[str], linked: set[str]) -> None:
        """Sort a child that is neither file nor directory: a link, or something that has no bytes."""
        path = f"{folder.path}/{name}"
        if self._ignore and self._ignore(folder.relative + name, is_directory=os.path.isdir(path)):
            return
        if not os.path.islink(path):
            raise InvalidInputError(what="a socket, pipe or device has no bytes to log", where=path, fix=_LEAVE_OUT)
        info = self._target(path)
        if stat.S_ISDIR(info.st_mode):
            if (info.st_dev, info.st_ino) in folder.trail:
                raise InvalidInputError(
                    what="a symbolic link leads back to a directory it lies in", where=path, fix=_LEAVE_OUT
                )
            folders.append(name)
        elif stat.S_ISREG(info.st_mode):
            files.append(name)
            linked.add(name)
        else:
            raise InvalidInputError(what="a link leads to a socket, pipe or device", where=path, fix=_LEAVE_OUT)

    def _target(self, path: str) -> os.stat_result:
        try:
            real = os.path.realpath(path, strict=True)
            info = os.stat(real)
        except OSError:
            target = os.readlink(path)
            raise InvalidInputError(
                what=f"a symbolic link leads nowhere (to {target})", where=path, fix=_LEAVE_OUT
            ) from None
        if real != self._real and not real.startswith(self._real.rstrip("/") + "/"):
            raise InvalidInputError(
                what=f"a symbolic link leaves the directory (to {real})", where=path,
                fix="add its target by itself, or leave the link out with ignore=",
            )  # fmt: skip
        return info

    # -- what is known of it -----------------------------------------------------
    def _listings(self, path: str, prefix: str, found: _Found) -> Iterator[Listing]:
        start = 0
        for stop in _slices(found.files):
            names, stats = found.files[start:stop], found.stats[start:stop]
            key = path if start == 0 else f"{path}\0{names[0]}"
            yield recall(self._cache, Place(path, prefix, key, found.network), names, stats)
            start = stop


def _stats(fd: int, files: list[str], linked: frozenset[str]) -> list[Stat]:
    look = os.stat  # through the directory's descriptor: the kernel need not find the directory again
    return [read_stat(look(name, dir_fd=fd, follow_symlinks=name in linked)) for name in files]


def _without_ctime(stats: list[Stat]) -> list[Stat]:
    return [(device, inode, size, mtime, 0, mode) for device, inode, size, mtime, _, mode in stats]


def _slices(names: list[str]) -> Iterator[int]:
    """Where the slices of a sorted directory end."""
    if len(names) > _SLICE:
        for at, name in enumerate(names):
            if at and not zlib.crc32(name.encode("utf-8", "surrogateescape")) % (_SLICE // 2):
                yield at
    if names:
        yield len(names)
