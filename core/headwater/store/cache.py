"""Whole files by digest, under a hard quota: what was fetched once from far away is not fetched again.

    root/files/4f/<hex>     the files, read-only
    root/tmp/               what is being written
    root/index.sqlite       size, stat signature and last use of each file, see `cacheindex`

The quota covers the index and unfinished files as well. Losing the index, or
all of the cache, costs time only.
"""
# ruff: noqa: PTH101, PTH105, PTH108, PTH116
# os functions where a file is placed: of small ones there are many

from __future__ import annotations

import contextlib
import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, TypeAlias, TypeVar

from blake3 import blake3

from headwater import disk
from headwater.errors import DigestMismatchError
from headwater.model.digest import Digest
from headwater.store.cacheindex import INDEX_RESERVE, PER_FILE, CacheIndex, pack_stat

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

__all__ = ["INDEX_RESERVE", "PER_FILE", "FileCache", "copy_bytes"]

LEFTOVER_SECONDS: Final = 6 * 3600
"""An unfinished file this old belongs to a process that died."""
_PIECE: Final = 1 << 20
_NEW: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_MODE: Final = 0o444

Fill: TypeAlias = "Callable[[bytes, int], bytes]"
"""`fill(digest, fd)` writes the bytes of a file, and returns the digest of what it wrote."""
T = TypeVar("T")


class FileCache:
    """A disposable directory of whole files. Safe between threads, processes and over a fork.

    Args:
        root: Where; made on first use. Nothing else may live there.
        quota_bytes: Never exceeded by what the cache has on disk.
    """

    def __init__(self, root: Path, quota_bytes: int) -> None:
        self.root = root
        self.quota_bytes = quota_bytes
        self._index = CacheIndex(root)
        self._temporary = str(root / "tmp")
        self._swept = False

    # -- reading -----------------------------------------------------------------
    def open(self, digest: bytes) -> BinaryIO | None:
        """The file with that digest, open for reading (so that eviction cannot take it away), or None.

        Its stat is compared with the recorded one; on any difference, and always for a file with
        several hard links, it is hashed again. A damaged file is removed.

        Raises:
            AccessError, StorageError: The cache is there but cannot be read.
        """
        return self.open_some([digest]).get(digest)

    def open_some(self, digests: Collection[bytes]) -> dict[bytes, BinaryIO]:
        """Those of the files that are here, as `open` gives them; one question for all. The caller closes them."""
        found: dict[bytes, BinaryIO] = {}
        try:
            for digest, recorded in self._index.stats(digests).items():
                file = self._open(digest, recorded)
                if file is not None:
                    found[digest] = file
        except BaseException:
            for file in found.values():
                file.close()
            raise
        return found

    def _open(self, digest: bytes, recorded: bytes) -> BinaryIO | None:
        path = self._index.path(digest)
        with disk.explained(path):
            try:
                file = path.open("rb", buffering=0)
            except FileNotFoundError:
                self._index.forget([digest])
                return None
            try:
                good = self._is_good(file.fileno(), digest, recorded)
            except BaseException:
                file.close()
                raise
        if not good:
            file.close()
            self._remove(digest)
            return None
        self._index.use(digest)
        return file

    def _is_good(self, fd: int, digest: bytes, recorded: bytes) -> bool:
        info = os.fstat(fd)
        if pack_stat(info) == recorded and info.st_nlink == 1:
            return True
        if not stat.S_ISREG(info.st_mode) or _hash(fd) != digest:
            return False
        self._index.restat(digest, info)
        return True

    def link(self, digest: bytes, name: str, folder: int) -> bool:
        """Make `name` in the directory open as `folder` a hard link of the file; False if that cannot be done."""
        file = self.open(digest)
        if file is None:
            return False
        file.close()
        try:
            os.link(self._index.path(digest), name, dst_dir_fd=folder)
        except OSError:  # another file system, too many links, evicted just now: copy instead
            return False
        return True

    def __contains__(self, digest: bytes) -> bool:
        file = self.open(digest)
        if file is not None:
            file.close()
        return file is not None

    @property
    def size(self) -> int:
        """Bytes on disk that the quota counts: files, places reserved for them, and the index."""
        return self._index.size

    # -- writing -----------------------------------------------------------------
    def add(self, digest: bytes, source: BinaryIO | Path) -> bool:
        """Copy a file in (sharing its bytes where the file system can), unless it is here or too large.

        Evicts what was used longest ago to make room. False if the cache does not take it.

        Raises:
            DigestMismatchError: The file has other bytes.
            AccessError, StorageError: Writing failed; nothing was added.
        """
        if digest in self:
            return True
        with disk.explained(self.root), contextlib.ExitStack() as stack:
            file = stack.enter_context(source.open("rb", buffering=0)) if isinstance(source, Path) else source
            size = os.fstat(file.fileno()).st_size
            return self._add({bytes(digest): size}, lambda _, fd: _copy(file.fileno(), fd)) or digest in self

    def add_some(self, contents: Mapping[bytes, bytes]) -> None:
        """Add small files whose bytes are at hand, all in two transactions, as `add` would one by one.

        Raises:
            DigestMismatchError: One has other bytes.
            AccessError, StorageError: Writing failed; what was added by then stays.
        """
        known = self._index.stats(contents)
        new = {digest: len(content) for digest, content in contents.items() if digest not in known}
        with disk.explained(self.root):
            self._add(new, lambda digest, fd: _write(contents[digest], fd))

    def _add(self, sizes: Mapping[bytes, int], fill: Fill) -> bool:
        """Write the files that get a place; whether all did."""
        self._sweep_once()
        reserved = self._index.reserve(sizes, self.quota_bytes)
        placed: dict[bytes, os.stat_result] = {}
        try:
            for digest in reserved:
                placed[digest] = self._place(digest, fill)
        finally:
            self._index.ready(placed)
            self._index.forget(digest for digest in reserved if digest not in placed)
        return len(reserved) == len(sizes)

    def _place(self, digest: bytes, fill: Fill) -> os.stat_result:
        path, temporary = str(self._index.path(digest)), f"{self._temporary}/{disk.temporary_name()}"
        fd = _making(self._temporary, lambda: os.open(temporary, _NEW, _MODE))
        try:
            try:
                _check(fill(digest, fd), digest, path)
            finally:
                os.close(fd)
            _making(os.path.dirname(path), lambda: os.replace(temporary, path))  # noqa: PTH120
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        info = os.stat(path)
        if stat.S_IMODE(info.st_mode) != _MODE:  # the umask took rights away
            os.chmod(path, _MODE)
            info = os.stat(path)
        return info

    def prune(self, to_bytes: int = 0) -> int:
        """Remove what was used longest ago until `size` is at most `to_bytes`; return the bytes freed.

        To 0 removes every file and unfinished file, whoever is using it (open files stay readable).
        """
        before = self.size
        self._sweep(0 if to_bytes == 0 else LEFTOVER_SECONDS)
        with disk.explained(self.root):
            self._index.evict(to_bytes)
        return before - self.size

    def flush(self) -> None:
        """Write the uses recorded so far; happens by itself every 256 uses."""
        self._index.flush()

    def close(self) -> None:
        """Write the uses and let go of the index."""
        self._index.close()

    # -- inside ------------------------------------------------------------------
    def _sweep_once(self) -> None:
        if not self._swept:
            self._swept = True
            self._sweep(LEFTOVER_SECONDS)

    def _sweep(self, seconds: float) -> None:
        """Remove unfinished files, reservations and files without a row left by processes that died."""
        oldest = time.time() - seconds
        with disk.explained(self.root):
            for path in self._strays():
                with contextlib.suppress(FileNotFoundError):
                    if path.stat().st_mtime <= oldest:
                        path.unlink()
        self._index.forget_unfinished(oldest)

    def _strays(self) -> Iterator[Path]:
        yield from self.root.glob("tmp/*")
        known = {digest.hex() for digest in self._index.digests()}
        yield from [path for path in self.root.glob("files/*/*") if path.name not in known]

    def _remove(self, digest: bytes) -> None:
        with disk.explained(self.root):
            self._index.path(digest).unlink(missing_ok=True)
        self._index.forget([digest])


def _check(actual: bytes, digest: bytes, where: str) -> None:
    if actual != digest:
        raise DigestMismatchError(expected=str(Digest(digest)), actual=str(Digest(actual)), where=where)


def copy_bytes(source: int, target: int) -> None:
    """Give the empty file `target` all bytes of `source`: shared where the file system can, else copied."""
    if disk.reflink(source, target):
        return
    for piece in _pieces(source):
        disk.write_all(target, piece)


def _copy(source: int, target: int) -> bytes:
    """As `copy_bytes`; returns the digest. One read."""
    if disk.reflink(source, target):
        return _hash(target)
    hasher = blake3()
    for piece in _pieces(source):
        hasher.update(piece)
        disk.write_all(target, piece)
    return hasher.digest()


def _write(content: bytes, target: int) -> bytes:
    disk.write_all(target, content)
    return blake3(content).digest()


def _hash(fd: int) -> bytes:
    hasher = blake3()
    for piece in _pieces(fd):
        hasher.update(piece)
    return hasher.digest()


def _pieces(fd: int) -> Iterator[bytes]:
    at = 0
    while piece := os.pread(fd, _PIECE, at):
        yield piece
        at += len(piece)


def _making(folder: str, work: Callable[[], T]) -> T:
    """Do what needs a directory, which is mostly there."""
    try:
        return work()
    except FileNotFoundError:
        Path(folder).mkdir(parents=True, exist_ok=True)
        return work()
