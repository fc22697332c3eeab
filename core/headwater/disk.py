"""Local files done right: whole or absent, durable when asked, errors in our words.

Stands on the floor of `ports`: backends, store and download all write files,
and none of them may import another.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import re
import secrets
import stat
import sys
import time
from typing import TYPE_CHECKING
from urllib.parse import quote_from_bytes, unquote_to_bytes

from headwater.errors import AccessError, HeadwaterError, InvalidInputError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Buffer

PAGE = 4096
"""Alignment that every file system accepts for direct writes, bytes."""
DIRECT_FROM = 1 << 20
"""Shorter writes go through the page cache: below this the set-up costs more than it saves."""
BOUNCE = 8 << 20
"""Size of the aligned buffer through which unaligned data is written, bytes."""

_O_DIRECT: int = getattr(os, "O_DIRECT", 0)
_URI = re.compile(r"file:(?://(?:localhost)?(?=/))?(/[^/].*|/)\Z", re.IGNORECASE | re.DOTALL)
_FICLONE = 0x40049409
"""linux/fs.h: _IOW(0x94, 9, int)."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
_PASSING = (errno.EAGAIN, errno.EINTR, errno.ESTALE, errno.ETIMEDOUT, errno.EIO, errno.ENFILE, errno.EMFILE)


def explain(error: OSError, where: str | Path) -> HeadwaterError:
    """The error of ours that says what `error` means at `where`."""
    reason = error.strerror or str(error)
    if error.errno in _FULL:
        return StorageError(what=f"no room to write: {reason}", where=str(where), fix="free some space and try again")
    if error.errno == errno.ENAMETOOLONG:
        fix = "use a shorter name=, or fetch the rest with prefix= or glob="
        return StorageError(what="this file system cannot hold so long a name", where=str(where), fix=fix)
    if error.errno == errno.EROFS:
        return AccessError(what="the file system is read-only", where=str(where), fix="write somewhere else")
    if error.errno in _DENIED:
        return AccessError(what="not allowed to touch this file", where=str(where), fix="ask for rights to it")
    return StorageError(what=f"the disk said: {reason}", where=str(where), retryable=error.errno in _PASSING)


class explained:  # noqa: N801 - reads as the verb it stands for: `with explained(path): …`
    """Turn every `OSError` of the body into `explain`'s; errors of ours pass.

    A class, and a path that is put together only for an error: this stands around every touch of every file.

    Args:
        where: A path.
        below: A path below it, if that is what is touched.
    """

    __slots__ = ("_below", "_where")

    def __init__(self, where: str | Path, below: str = "") -> None:
        self._where, self._below = where, below

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if isinstance(error, OSError) and not isinstance(error, HeadwaterError):
            raise explain(error, f"{self._where}/{self._below}" if self._below else self._where) from error


def sync_file(fd: int) -> None:
    """Make a file's bytes durable. On macOS `fsync` stops at the drive's cache, F_FULLFSYNC does not."""
    if sys.platform == "darwin":
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
            return
    os.fsync(fd)


def sync_folder(folder: str | Path) -> None:
    """Make the names in a directory durable; nothing to do where directories cannot be opened (Windows)."""
    if os.name == "nt":
        return
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(folder: Path) -> None:
    """Create a directory and its parents, each durable; an existing one costs no fsync."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def temporary_name() -> str:
    """A name that no other thread, process or host is using; its time tells how old a leftover is."""
    return f"{int(time.time()):x}-{os.getpid():x}-{secrets.token_hex(8)}"


def write_new(path: Path, data: Buffer, *, durable: bool, mode: int = 0o666) -> None:
    """Write a new file; it must not exist. Durable (one fsync) if asked; the name is not (see `sync_folder`).

    1 MiB and more bypass the page cache where the file system allows it. Measured
    on ext4, 2 cores, 32 files of 32 MiB, each fsynced: write() 0.5 to 3.8 s per
    GiB (the kernel's hunt for free pages varies), posix_fallocate first 0.6 to
    1.3 s, sync_file_range 0.4 to 2.4 s, O_DIRECT from an aligned buffer 0.45 to
    0.6 s, through a bounce buffer 0.7 to 1.0 s; processor time 0.05 s direct,
    0.3 s and more through the cache. Two writers at once gain nothing more.
    """
    view = memoryview(data).cast("B")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    fd = os.open(path, flags, mode)
    try:
        done = _write_direct(fd, view) if len(view) >= DIRECT_FROM else 0
        write_all(fd, view[done:])
        if durable:
            sync_file(fd)
    finally:
        os.close(fd)


def write_all(fd: int, data: Buffer) -> None:
    """`os.write` until everything is written."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _write_direct(fd: int, view: memoryview) -> int:
    """Write the whole pages of `view` past the page cache; return how many bytes that were (0: not possible here)."""
    if not _O_DIRECT or not _set_direct(fd, on=True):
        return 0
    whole = len(view) // PAGE * PAGE
    try:
        return _write_pages(fd, view[:whole])
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return os.lseek(fd, 0, os.SEEK_CUR)
    finally:
        _set_direct(fd, on=False)


def _set_direct(fd: int, *, on: bool) -> bool:
    import fcntl

    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    try:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | _O_DIRECT if on else flags & ~_O_DIRECT)
    except OSError:  # tmpfs before 6.6, overlay on some systems
        return False
    return True


def _write_pages(fd: int, view: memoryview) -> int:
    """Write a multiple of PAGE bytes; a short write may leave the file at an odd place, then stop there."""
    aligned, done = is_aligned(view), 0
    bounce = None if aligned else memoryview(mmap.mmap(-1, min(BOUNCE, len(view))))
    while done < len(view) and done % PAGE == 0:
        piece = view[done : done + (len(view) if bounce is None else len(bounce))]
        if bounce is not None:
            bounce[: len(piece)] = piece
            piece = bounce[: len(piece)]
        done += os.write(fd, piece)
    return done


def is_aligned(view: memoryview) -> bool:
    """Whether a direct write can take `view` as it is: an `mmap` can, read-only and odd ones count as unaligned."""
    if view.readonly or not view.contiguous or not len(view):
        return False
    return ctypes.addressof(ctypes.c_char.from_buffer(view)) % PAGE == 0


def reflink(source: int, target: int) -> bool:
    """Make the empty file `target` share all bytes of `source` (copy on write); False where that is not possible."""
    if not sys.platform.startswith("linux"):
        return False
    import fcntl

    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def locked(path: Path, *, patience: float = 30.0) -> Iterator[None]:
    """Hold the lock file `path` against every other thread and process; it is left in place, empty.

    Raises:
        StorageError: Somebody held it for `patience` seconds; retryable.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
    try:
        _take(fd, path, time.monotonic() + patience)
        yield
    finally:
        _unlock(fd)
        os.close(fd)


def take(fd: int, path: Path) -> None:
    """Lock an open file against every other open one, until it is closed.

    Raises:
        StorageError: Somebody has it locked; retryable.
    """
    _take(fd, path, time.monotonic())


def _take(fd: int, path: Path, deadline: float) -> None:
    pause = 0.0005
    while not _try_lock(fd):
        if time.monotonic() > deadline:
            raise StorageError(what="another process keeps this locked", where=str(path), retryable=True)
        time.sleep(pause)
        pause = min(pause * 2, 0.05)


def _try_lock(fd: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _unlock(fd: int) -> None:
    """Said, for closing alone would leave it to a process that was forked meanwhile and has the file open too."""
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(fd, fcntl.LOCK_UN)


def signature(info: os.stat_result) -> tuple[int, int, int, int, int]:
    """What changes when a file's bytes do: (size, mtime_ns, ctime_ns, inode, device)."""
    return (info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino, info.st_dev)


def remove_tree(folder: Path) -> None:
    """Remove a directory and all in it, read-only or not, without following a link; absent is fine."""
    try:
        info = folder.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(info.st_mode):
        folder.unlink(missing_ok=True)
        return
    with contextlib.suppress(FileNotFoundError):
        if not info.st_mode & stat.S_IWUSR:
            folder.chmod(0o700)
        with os.scandir(folder) as found:
            names = [entry.name for entry in found]
        for name in names:
            remove_tree(folder / name)
        folder.rmdir()


def path_of(uri: str) -> str:
    """The absolute path a `file:` URI names; non-UTF-8 names survive as the file system's own bytes.

    Raises:
        InvalidInputError: Another host, relative, or holds `..` or NUL.
    """
    match = _URI.match(uri)
    if match is None:
        raise InvalidInputError(what=f"{uri!r} names no file on this machine", fix="write file:///absolute/path")
    path = os.fsdecode(unquote_to_bytes(match[1]))
    if "\0" in path or ".." in path.split("/"):
        raise InvalidInputError(what=f"{uri!r} holds '..' or NUL", fix="write the path it means")
    return path if path == "/" else path.rstrip("/")


def uri_of(path: str) -> str:
    """The URI of an absolute path; `path_of` reads it back to the byte."""
    return "file://" + quote_from_bytes(os.fsencode(path), safe="/~")
