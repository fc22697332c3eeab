"""An object store in a local directory, or on a network share.

root/packs/01/….pack     objects, under their keys
root/~tmp/               what is being written; `~` is in no key, so lists pass it by
root/~locks/             lock files of markers
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from headwater import disk
from headwater.backends.object_keys import check_key
from headwater.errors import ConflictError, FormatError, NotFoundError, StorageError
from headwater.model.digest import Digest
from headwater.ports import ObjectInfo

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from typing_extensions import Buffer

LEFTOVER_SECONDS = 86_400
"""A temporary file this old belongs to a process that died; the next writer removes it."""

_PART = re.compile(r"[a-z0-9._-]+\Z")


class FileStore:
    """Objects as files under `root`, which the first put creates.

    A put costs two fsyncs, the file's and its directory's. A directory that the put
    had to create needs no third: journaling file systems (ext4, XFS, btrfs, APFS)
    make a new directory and its name in one transaction, which the fsync of the
    directory completes. Safe between threads and processes; on NFS as far as its
    locks are.
    """

    def __init__(self, root: Path) -> None:
        self._root = Path(root).absolute()
        self._temporary = self._root / "~tmp"
        self._swept = False

    @property
    def url(self) -> str:
        """The directory as a `file://` URI."""
        return self._root.as_uri()

    def put(self, key: str, data: Buffer) -> None:
        """See `ports.ObjectStore.put`. From an `mmap` (page-aligned) it is fastest."""
        path = self._path(key)
        with disk.explained(path):
            self._sweep_leftovers()
            self._replace(path, data)

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """See `ports.ObjectStore.get`."""
        with self._opened(key) as fd:
            return self._read(fd, key, start, length)

    def read_into(self, key: str, parts: Sequence[tuple[int, memoryview]]) -> None:
        """Fill each buffer with the bytes from its offset; raises as `get`. A store of local files alone offers it."""
        with self._opened(key) as fd:
            for start, buffer in parts:
                self._fill(fd, key, start, buffer)

    def delete(self, key: str) -> None:
        """See `ports.ObjectStore.delete`. Durable: a collected pack does not come back after a power cut."""
        path = self._path(key)
        with disk.explained(path), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()
            disk.sync_folder(path.parent)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """See `ports.ObjectStore.list`. An absent root is an error: it may be a share that is not mounted."""
        self._require_root()
        folder = prefix.rpartition("/")[0]
        return self._walk(folder + "/" if folder else "", prefix)

    def read_marker(self, key: str) -> tuple[bytes, str] | None:
        """See `ports.ObjectStore.read_marker`."""
        path = self._path(key)
        with disk.explained(path):
            try:
                with path.open("rb") as file:
                    data, info = file.read(), os.fstat(file.fileno())
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                self._require_root()
                return None
        return data, _token(data, info)

    def swap_marker(self, key: str, data: bytes, expect: str | None) -> str:
        """See `ports.ObjectStore.swap_marker`. One lock file per marker holds others off."""
        path, locks = self._path(key), self._root / "~locks"
        with disk.explained(path):
            if not locks.is_dir():
                self._lay_out()
                locks.mkdir(exist_ok=True)
            with disk.locked(locks / key.replace("/", "~")):
                found = self.read_marker(key)
                if (None if found is None else found[1]) != expect:
                    raise ConflictError(what=f"somebody else wrote {key!r}", where=self.url, fix="read it again")
                self._replace(path, data)
                return _token(data, path.stat())

    @contextlib.contextmanager
    def _opened(self, key: str) -> Iterator[int]:
        path = self._path(key)
        with disk.explained(path):
            try:
                fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            except (FileNotFoundError, NotADirectoryError):
                raise self._absent(key) from None
            try:
                yield fd
            finally:
                os.close(fd)

    def _path(self, key: str) -> Path:
        return self._root / check_key(key, self.url)

    def _replace(self, path: Path, data: Buffer) -> None:
        """Temporary file, fsync, rename, fsync of the directory: whole or absent, and durable."""
        temporary = self._temporary / disk.temporary_name()
        if not self._temporary.is_dir():
            self._lay_out()
        try:
            disk.write_new(temporary, data, durable=True)
            try:
                temporary.replace(path)
            except FileNotFoundError:
                path.parent.mkdir(parents=True, exist_ok=True)
                temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        disk.sync_folder(path.parent)

    def _lay_out(self) -> None:
        disk.make_folder(self._root)
        self._temporary.mkdir(exist_ok=True)

    def _read(self, fd: int, key: str, start: int, length: int | None) -> bytes:
        info = os.fstat(fd)
        if stat.S_ISDIR(info.st_mode):
            raise self._absent(key)
        size = info.st_size
        wanted = size - start if length is None else length
        if start + wanted > size or wanted < 0:
            raise FormatError(what=f"{key!r} has {size} bytes, asked for {start} to {start + wanted}", where=self.url)
        data = os.pread(fd, wanted, start)
        while len(data) < wanted:  # Linux reads at most 2 GiB at once
            more = os.pread(fd, wanted - len(data), start + len(data))
            if not more:
                raise StorageError(what=f"{key!r} became shorter while it was read", where=self.url)
            data += more
        return data

    def _fill(self, fd: int, key: str, start: int, buffer: memoryview) -> None:
        done = 0
        while done < len(buffer):
            n_read = _read_at(fd, buffer[done:], start + done)
            if not n_read:
                raise FormatError(what=f"{key!r} ends before byte {start + len(buffer)}", where=self.url)
            done += n_read

    def _absent(self, key: str) -> NotFoundError | StorageError:
        return self._lost_root() or NotFoundError(what=f"there is no object {key!r}", where=self.url)

    def _require_root(self) -> None:
        lost = self._lost_root()
        if lost:
            raise lost

    def _lost_root(self) -> StorageError | None:
        with disk.explained(self._root), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if stat.S_ISDIR(self._root.stat().st_mode):
                return None
        return StorageError(
            what="the store's directory is not there", where=self.url, fix="mount it, or restore it from a copy"
        )

    def _walk(self, folder: str, prefix: str) -> Iterator[ObjectInfo]:
        for name, is_folder in _children(self._root / folder):
            key = folder + name
            if is_folder and (key.startswith(prefix) or prefix.startswith(key)):
                yield from self._walk(key, prefix)
            elif not is_folder and key.startswith(prefix):
                info = self._info(key)
                if info is not None:
                    yield info

    def _info(self, key: str) -> ObjectInfo | None:
        path = self._root / key
        with disk.explained(path):
            try:
                info = path.stat()
            except FileNotFoundError:  # deleted since the directory was read
                return None
        return ObjectInfo(key, info.st_size, datetime.fromtimestamp(info.st_mtime, UTC))

    def _sweep_leftovers(self) -> None:
        if self._swept:
            return
        self._swept, oldest = True, time.time() - LEFTOVER_SECONDS
        with contextlib.suppress(FileNotFoundError), os.scandir(self._temporary) as found:
            for entry in found:
                with contextlib.suppress(FileNotFoundError):
                    if entry.stat(follow_symlinks=False).st_mtime < oldest:
                        Path(entry.path).unlink()


def _read_at(fd: int, buffer: memoryview, start: int) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(fd, [buffer], start)
    data = os.pread(fd, len(buffer), start)  # macOS before 11
    buffer[: len(data)] = data
    return len(data)


def _token(data: bytes, info: os.stat_result) -> str:
    """Differs for every write, also of equal bytes: a new file has another inode or time."""
    return f"{info.st_mtime_ns:x}-{info.st_ino:x}-{Digest.of(data).hex()[:16]}"


def _children(folder: Path) -> list[tuple[str, bool]]:
    """(name, is a directory) in key order: a directory sorts with its `/`, as its keys do."""
    with disk.explained(folder):
        try:
            with os.scandir(folder) as found:
                names = [(e.name + "/" if e.is_dir() else e.name, e.is_dir()) for e in found if _PART.match(e.name)]
        except (FileNotFoundError, NotADirectoryError):
            return []
    return sorted(names)
