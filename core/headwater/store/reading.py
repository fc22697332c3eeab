"""Reading source files: every byte once, and a file that changes meanwhile is an error that names it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from blake3 import blake3

from headwater import disk
from headwater.errors import InvalidInputError, NotFoundError, SourceChangedError
from headwater.model.chunker import MIN_FILE
from headwater.store.listing import Stat, read_stat
from headwater.store.packs import Prepared, prepare

_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
# O_NONBLOCK: a file that was replaced by a pipe must not hang the log.
_BLOCK = 4 << 20
_TRIES = 8
"""Failures in a row after which only every eighth file of a kind is compressed, to see whether it pays again."""


class Whole(NamedTuple):
    """A small file as it was read, ready for a pack."""

    digest: bytes
    blob: Prepared
    stat: Stat


class OpenFile:
    """A source file being read; `stat` is of the moment it was opened."""

    def __init__(self, path: str, fd: int, info: os.stat_result) -> None:
        self.path, self.fd = path, fd
        self.size = info.st_size
        self.stat: Stat = read_stat(info)

    def check_unchanged(self, n_read: int) -> None:
        """Raise unless the file still is what was opened and all of it was read.

        Raises:
            SourceChangedError
        """
        if n_read != self.size or read_stat(os.fstat(self.fd))[1:5] != self.stat[1:5]:
            raise SourceChangedError(where=self.path)


@contextmanager
def opened(path: str) -> Iterator[OpenFile]:
    """Open a source file.

    Raises:
        SourceChangedError: It is gone, or no regular file any more.
        AccessError, StorageError: It cannot be read.
    """
    with disk.explained(path):
        try:
            fd = os.open(path, _FLAGS)
        except FileNotFoundError:
            raise SourceChangedError(where=path, fix="it vanished since it was listed") from None
        try:
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode):
                raise SourceChangedError(where=path)
            yield OpenFile(path, fd, info)
        finally:
            os.close(fd)


def read_whole(path: str, compression: Habit) -> Whole:
    """A file under 1 MiB: its bytes and digest, from one read.

    Raises:
        As `opened`; SourceChangedError also when it has grown to 1 MiB or changes meanwhile.
    """
    try:  # `opened` in a flat form: of small files there are many
        fd = os.open(path, _FLAGS)
        try:
            before = os.fstat(fd)
            data = os.read(fd, min(before.st_size, MIN_FILE) + 1)
            while 0 < len(data) < before.st_size and (more := os.read(fd, before.st_size + 1 - len(data))):
                data += more
            after = os.fstat(fd)
        finally:
            os.close(fd)
    except FileNotFoundError:
        raise SourceChangedError(where=path, fix="it vanished since it was listed") from None
    except OSError as error:
        raise disk.explain(error, path) from error
    found: Stat = read_stat(before)
    is_small = stat.S_ISREG(found[5]) and len(data) < MIN_FILE
    if not is_small or len(data) != found[2] or read_stat(after) != found:
        raise SourceChangedError(where=path)
    return Whole(blake3(data).digest(), compression.prepare(data, path), found)


class Habit:
    """Remembers which kinds of small files compression gained nothing on, and tries those seldom.

    By the end of the name: images and archives do not become smaller, however often one asks. One per thread.
    """

    def __init__(self) -> None:
        self._failures: dict[str, int] = {}

    def prepare(self, data: bytes, path: str) -> Prepared:
        """As `packs.prepare`."""
        kind = path[path.rfind(".", -8) :] if "." in path[-8:] else ""
        failures = self._failures.get(kind, 0)
        if failures >= _TRIES and failures % _TRIES:
            self._failures[kind] = failures + 1
            return prepare(data, compress=False)
        blob = prepare(data)
        gained = blob.compression or not data
        self._failures[kind] = 0 if gained else failures + 1
        return blob


def checking_reader(file: OpenFile) -> Callable[[int], bytes]:
    """A `read(n)` for the chunker.

    It raises as soon as the file gives more than it had when it was opened, for a file that grows may never end.
    """
    left = file.size

    def read(n: int) -> bytes:
        nonlocal left
        data = os.read(file.fd, n)
        left -= len(data)
        if left < 0:
            raise SourceChangedError(where=file.path)
        return data

    return read


def digest_of(path: str) -> tuple[int, bytes]:
    """(size, digest) of a file of any size.

    Raises:
        As `opened`; SourceChangedError also when it changes meanwhile.
    """
    with opened(path) as file:
        read, whole = checking_reader(file), blake3()
        n_read = 0
        while data := read(_BLOCK):
            whole.update(data)
            n_read += len(data)
        file.check_unchanged(n_read)
        return n_read, whole.digest()


def local_file(path: str | os.PathLike[str]) -> str:
    """The absolute path of an existing regular file.

    Raises:
        NotFoundError: Nothing is there.
        InvalidInputError: It is a directory or has no bytes.
        AccessError, StorageError: It cannot be looked at.
    """
    return _existing(path, stat.S_ISREG, "a file")


def local_folder(path: str | os.PathLike[str]) -> str:
    """The absolute path of an existing directory; raises as `local_file`."""
    return _existing(path, stat.S_ISDIR, "a directory")


def _existing(path: str | os.PathLike[str], wanted: Callable[[int], bool], kind: str) -> str:
    source = os.path.abspath(os.fspath(path))  # noqa: PTH100  # resolve() would follow the last link
    with disk.explained(source):
        try:
            mode = os.stat(source).st_mode  # noqa: PTH116
        except (FileNotFoundError, NotADirectoryError):
            raise NotFoundError(what=f"there is no {kind[2:]} to add", where=source) from None
    if not wanted(mode):
        raise InvalidInputError(
            what=f"this is not {kind}", where=source, fix="add_dir takes directories, add_file takes files"
        )
    return source
