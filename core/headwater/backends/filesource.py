"""`file://` references: files on this machine or on a share mounted here, pinned by their digest.

    file:///data/a%20b.csv       percent-encoded, as written by `Path.as_uri()`
    file:///data/a#b?c.csv       `#` and `?` may also stand for themselves: file URIs have no fragment and no query

A directory means the regular files below it, in byte order of their relative
paths. Symbolic links inside it are followed to files and directories inside
it; one that leads outside, nowhere or in a circle is an error that names it,
because what it shows can change behind the recorded path.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections import OrderedDict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from blake3 import blake3

from headwater import disk
from headwater.disk import path_of, uri_of
from headwater.errors import (
    HeadwaterError,
    InvalidInputError,
    ReferenceChangedError,
    ReferenceMissingError,
    SourceChangedError,
    StorageError,
)
from headwater.model.manifest import Pin
from headwater.ports import Checked, Found, outcome_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

PIECE = 1 << 20
"""Bytes read at once."""
REMEMBERED = 10_000
"""Files that are known to have been proved: reading many ranges of one hashes it once. A million would take 500 MB."""


class FileSource:
    """Files by URI. Safe between threads; remembers what it has proved last."""

    def __init__(self) -> None:
        self._proved: OrderedDict[str, tuple[tuple[int, ...], str]] = OrderedDict()

    def walk(self, uri: str, *, pin: bool | Literal["digest"] = True) -> Iterator[Found]:
        """See `ports.Source.walk`. Reads every byte once to pin it; `pin=False` touches nothing.

        Raises:
            SourceChangedError: A file changed while it was read.
        """
        path = path_of(uri)
        if pin is False:
            return iter([Found(Path(path).name, uri_of(path), None, Pin())])
        return self._walk(path)

    def _walk(self, path: str) -> Iterator[Found]:
        found = False
        for relative, file in _files_below(path):
            found = True
            size, pin = self._pin(file)
            yield Found(relative, uri_of(file), size, pin)
        if not found:
            raise ReferenceMissingError(uri=uri_of(path), fix="the directory holds no files")

    def _pin(self, path: str) -> tuple[int, Pin]:
        with _opened(path) as file:
            before = os.fstat(file.fileno())
            hasher = blake3()
            for piece in _pieces(file.read, None):
                hasher.update(piece)
            if disk.signature(os.fstat(file.fileno())) != disk.signature(before):
                raise SourceChangedError(where=path)
        checksum = f"blake3:{hasher.hexdigest()}"
        self._remember(path, before, checksum)
        return before.st_size, Pin(checksum=checksum, modified=_when(before))

    def read(self, uri: str, pin: Pin, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """See `ports.Source.read`.

        A file of another time is hashed before its first byte is given; one of the time recorded
        is hashed on the way when all of it is read, and before (once) when a range is.

        Raises:
            ReferenceChangedError: Also after the last byte, for a change that kept size and time.
        """
        path = path_of(uri)
        with _opened(path) as file:
            before = os.fstat(file.fileno())
            whole = start == 0 and length is None
            if not (whole and _looks_same(before, pin)):
                self._prove(path, uri, pin)
            hasher = _hasher(pin) if whole else None
            file.seek(start)
            for piece in _pieces(file.read, length):
                if hasher:
                    hasher.update(piece)
                yield piece
            if disk.signature(os.fstat(file.fileno())) != disk.signature(before):
                raise _changed(uri, pin, "it changed while it was read")
        if hasher and _written(pin, hasher) != pin.checksum:
            raise _changed(uri, pin, _written(pin, hasher))

    def _prove(self, path: str, uri: str, pin: Pin) -> None:
        """Hash the file unless this process has; nothing to prove without a checksum but size and time."""
        info = _stat(path)
        hasher = _hasher(pin)
        if hasher is None:
            if pin.modified is not None and pin.modified != _when(info):
                raise _changed(uri, pin, _when(info))
            return
        if self._proved.get(path) == (disk.signature(info), pin.checksum):
            return
        with _opened(path) as file:
            for piece in _pieces(file.read, None):
                hasher.update(piece)
        if _written(pin, hasher) != pin.checksum:
            raise _changed(uri, pin, _written(pin, hasher))
        self._remember(path, info, str(pin.checksum))

    def _remember(self, path: str, info: os.stat_result, checksum: str) -> None:
        self._proved[path] = (disk.signature(info), checksum)
        if len(self._proved) > REMEMBERED:
            self._proved.popitem(last=False)

    def check(self, references: Iterable[tuple[str, Pin]]) -> Iterator[Checked]:
        """See `ports.Source.check`. One stat per file; a file is read only if its time differs from the pin's."""
        return (self._check(uri, pin) for uri, pin in references)

    def _check(self, uri: str, pin: Pin) -> Checked:
        try:
            path = path_of(uri)
            with _opened(path) as file:
                info = os.fstat(file.fileno())
            if pin.strength == "unverified":
                return Checked(uri, "unverified", f"{info.st_size} bytes, modified {_when(info)}", info.st_size)
            if not _looks_same(info, pin):
                self._prove(path, uri, pin)
        except ReferenceChangedError as error:
            return Checked(uri, "changed", str(error.facts["found"]))
        except (ReferenceMissingError, InvalidInputError) as error:
            return Checked(uri, "missing", str(error))
        except HeadwaterError as error:
            return Checked(uri, outcome_of(error), str(error))
        return Checked(uri, "same", None, info.st_size)


def _files_below(path: str) -> Iterator[tuple[str, str]]:
    info = _stat(path)
    if stat.S_ISREG(info.st_mode):
        yield Path(path).name, path
    elif stat.S_ISDIR(info.st_mode):
        root = os.path.realpath(path)
        yield from _below(path, "", root, (root,))
    else:
        raise InvalidInputError(what="only files and directories can be referenced", where=path)


def _below(folder: str, prefix: str, root: str, open_folders: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    with disk.explained(folder), os.scandir(folder) as found:
        names = sorted((os.fsencode(_sort_name(entry, root)), entry.name) for entry in found)
    for marked, name in names:
        path = f"{folder.rstrip('/')}/{name}"
        if not marked.endswith(b"/"):
            yield prefix + name, path
            continue
        real = os.path.realpath(path)
        if real in open_folders:
            raise InvalidInputError(what="a symbolic link leads in a circle", where=path, fix="remove the link")
        yield from _below(path, f"{prefix}{name}/", root, (*open_folders, real))


def _sort_name(entry: os.DirEntry[str], root: str) -> str:
    """The name by which an entry sorts: directories with their `/`. Refuses what cannot be referenced."""
    info = _stat(entry.path)
    if entry.is_symlink():
        real = os.path.realpath(entry.path)
        if real != root and not real.startswith(root.rstrip("/") + "/"):
            raise InvalidInputError(
                what="a symbolic link leads out of the directory", where=entry.path, fix="reference its target itself"
            )
    if not stat.S_ISREG(info.st_mode) and not stat.S_ISDIR(info.st_mode):
        raise InvalidInputError(what="only files and directories can be referenced", where=entry.path)
    return entry.name + "/" if stat.S_ISDIR(info.st_mode) else entry.name


def _stat(path: str) -> os.stat_result:
    with disk.explained(path):
        try:
            return Path(path).stat()
        except (FileNotFoundError, NotADirectoryError):
            raise ReferenceMissingError(uri=uri_of(path)) from None


class _opened:  # noqa: N801 - used like a function
    """Open a regular file for reading; its errors, and those of the body, become ours."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> Any:
        if not stat.S_ISREG(_stat(self._path).st_mode):
            raise ReferenceMissingError(uri=uri_of(self._path), fix="it is not a file any more")
        try:
            self._file = Path(self._path).open("rb", buffering=0)
        except FileNotFoundError:
            raise ReferenceMissingError(uri=uri_of(self._path)) from None
        except OSError as error:
            raise disk.explain(error, self._path) from error
        return self._file

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._file.close()
        if isinstance(error, OSError) and not isinstance(error, HeadwaterError):
            raise disk.explain(error, self._path) from error


def _pieces(read: Callable[[int], bytes], length: int | None) -> Iterator[bytes]:
    left = length
    while left is None or left > 0:
        piece = read(PIECE if left is None else min(PIECE, left))
        if not piece:
            if left:
                raise StorageError(what="the range reaches past the end of the file")
            return
        left = None if left is None else left - len(piece)
        yield piece


def _hasher(pin: Pin) -> Any:
    """What computes the pin's checksum; None if it has none that can be computed here."""
    kind = (pin.checksum or "").partition(":")[0]
    if kind == "blake3":
        return blake3()
    return hashlib.new(kind, usedforsecurity=False) if kind in ("md5", "sha1", "sha256") else None


def _written(pin: Pin, hasher: Any) -> str:
    return f"{(pin.checksum or '').partition(':')[0]}:{hasher.hexdigest()}"


def _looks_same(info: os.stat_result, pin: Pin) -> bool:
    return pin.modified is None or pin.modified == _when(info)


def _when(info: os.stat_result) -> str:
    """RFC 3339 with nanoseconds, which `datetime` cannot hold."""
    seconds, nanoseconds = divmod(info.st_mtime_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09}Z"


def _changed(uri: str, pin: Pin, found: str) -> ReferenceChangedError:
    return ReferenceChangedError(uri=uri, pinned=pin.checksum or pin.modified, found=found)
