"""References: bytes read through their source, or left in place. Each is placed, skipped with a reason, or an error."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from blake3 import blake3

from headwater import disk
from headwater.download.firstread import FirstReads
from headwater.download.selection import key_of
from headwater.errors import (
    AccessError,
    CredentialsError,
    HeadwaterError,
    InvalidInputError,
    ReferenceChangedError,
    ReferenceMissingError,
    StorageError,
)
from headwater.model.digest import Digest
from headwater.model.manifest import ReferenceEntry, StoredEntry
from headwater.ports import Outcome, outcome_of
from headwater.sources import SOURCES, scheme_of
from headwater.store.cache import copy_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headwater.download.stored import Report
    from headwater.download.target import Target
    from headwater.model.manifest import Entry
    from headwater.store.cache import FileCache

References: TypeAlias = Literal["copy", "in-place", "skip"]
Reason: TypeAlias = Literal["asked"] | Outcome


class Skipped(NamedTuple):
    """A reference that was not brought."""

    path: str
    uri: str
    reason: Reason
    """`asked`: references were to be skipped. `unverified`: no source can read it, nothing proves it.
    `unavailable`: the source failed, or its extra is not installed."""
    detail: str
    """What the source said."""


class Unreadable(Exception):  # noqa: N818 - it never leaves this package
    """The source would not give the bytes; told apart from errors of our own disk."""

    def __init__(self, error: HeadwaterError) -> None:
        super().__init__(str(error))
        self.error = error


class BorrowedFiles:
    """Places references in a target.

    Args:
        target: Begun.
        report: Told of each file placed.
        first_reads: Digests of references whose pins prove no bytes.
        cache: For copies.
        tolerant: Skip what cannot be had, instead of raising.
    """

    def __init__(
        self, target: Target, report: Report, first_reads: FirstReads, cache: FileCache | None, *, tolerant: bool
    ) -> None:
        self._target, self._report, self._first = target, report, first_reads
        self._cache, self._tolerant = cache, tolerant

    def bring(self, entry: ReferenceEntry, how: References) -> Skipped | None:
        """Place one reference, or say why not.

        Raises:
            ReferenceMissingError, ReferenceChangedError, AccessError, CredentialsError, InvalidInputError, StorageError
        """
        if how == "skip":
            return Skipped(entry.path, entry.uri, "asked", "references were not asked for")
        try:
            if how == "copy":
                self._copy(entry)
            else:
                self._leave(entry)
        except Unreadable as refused:
            if not self._tolerant:
                raise refused.error from None
            return Skipped(entry.path, entry.uri, outcome_of(refused.error), str(refused.error))
        return None

    def _copy(self, entry: ReferenceEntry) -> None:
        known = content_of(entry, self._first)
        held = self._cache.open(known) if self._cache and known else None
        name, fd = self._target.new_file()
        try:
            if held and known:
                with held, disk.explained(self._target.root / entry.path):
                    copy_bytes(held.fileno(), fd)
                digest = known
            else:
                digest = self._read(entry, fd)
                if self._cache:
                    with os.fdopen(os.dup(fd), "rb", buffering=0) as copy:
                        self._cache.add(digest, copy)
            size = os.fstat(fd).st_size
            self._report(entry, digest, self._target.place(name, entry.path), size)
        except BaseException:
            self._target.drop(name)
            raise
        finally:
            os.close(fd)

    def _read(self, entry: ReferenceEntry, fd: int) -> Digest:
        proof = Proof(entry, self._first)
        for piece in read_pinned(entry):
            proof.update(piece)
            with disk.explained(self._target.root / entry.path):
                disk.write_all(fd, piece)
        return proof.finish()

    def _leave(self, entry: ReferenceEntry) -> None:
        text = link_text(entry)
        with asking(entry):
            checked = next(iter(SOURCES.find(entry.uri).check([(entry.uri, entry.pin)])))
            _raise_outcome(entry, checked.outcome, checked.found)
            size = Path(text).stat().st_size
            if entry.size is not None and size != entry.size:
                raise ReferenceChangedError(uri=entry.uri, pinned=f"{entry.size} bytes", found=f"{size} bytes")
        name = self._target.new_link(text)
        try:
            info = self._target.place(name, entry.path)
        except BaseException:
            self._target.drop(name)
            raise
        self._report(entry, Digest.of(os.fsencode(text)), info, 0)


class Proof:
    """Compares the bytes of a reference, as they come, with everything that is known about them."""

    def __init__(self, entry: ReferenceEntry, first_reads: FirstReads) -> None:
        self._entry, self._first = entry, first_reads
        self._hasher, self._size = blake3(), 0
        kind = (entry.pin.checksum or "").partition(":")[0]
        known = kind in ("md5", "sha1", "sha256")
        self._other: Any = hashlib.new(kind, usedforsecurity=False) if known else None

    def update(self, piece: bytes) -> None:
        """Take some bytes in."""
        self._hasher.update(piece)
        self._size += len(piece)
        if self._other:
            self._other.update(piece)

    def finish(self) -> Digest:
        """The digest, if nothing speaks against it.

        Raises:
            Unreadable: Of a ReferenceChangedError.
        """
        entry, digest = self._entry, Digest(self._hasher.digest())
        if entry.size is not None and self._size != entry.size:
            raise self._changed(f"{entry.size} bytes", f"{self._size} bytes")
        if self._other:
            kind = str(entry.pin.checksum).partition(":")[0]
            if f"{kind}:{self._other.hexdigest()}" != entry.pin.checksum:
                raise self._changed(entry.pin.checksum, f"{kind}:{self._other.hexdigest()}")
        proved = _proved_by_pin(entry)
        expected = proved or self._first.settle(key_of(entry), digest)
        if digest != expected:
            raise self._changed(str(expected), str(digest))
        return digest

    def _changed(self, pinned: str | None, found: str) -> Unreadable:
        return Unreadable(ReferenceChangedError(uri=self._entry.uri, pinned=pinned, found=found))


def content_of(entry: Entry, first_reads: FirstReads) -> Digest | None:
    """The digest an entry's bytes must have; None for a reference that nobody has read yet."""
    if isinstance(entry, StoredEntry):
        return Digest(entry.digest)
    return _proved_by_pin(entry) or first_reads.find(key_of(entry))


def _proved_by_pin(entry: ReferenceEntry) -> Digest | None:
    with contextlib.suppress(InvalidInputError):
        return Digest.parse(entry.pin.checksum or "")
    return None


def read_pinned(entry: ReferenceEntry, start: int = 0, length: int | None = None) -> Iterator[bytes]:
    """The source's pieces, its errors wrapped.

    Raises:
        Unreadable
    """
    with asking(entry):
        yield from SOURCES.find(entry.uri).read(entry.uri, entry.pin, start, length)


@contextlib.contextmanager
def asking(entry: ReferenceEntry) -> Iterator[None]:
    """What the body raises is about the source."""
    try:
        yield
    except HeadwaterError as error:
        raise Unreadable(error) from error
    except OSError as error:
        raise Unreadable(disk.explain(error, entry.uri)) from error


def link_text(entry: ReferenceEntry) -> str:
    """Where the symbolic link of a reference left in place points.

    Raises:
        Unreadable: Only files on this machine can be left in place.
    """
    if scheme_of(entry.uri) != "file":
        raise Unreadable(
            InvalidInputError(
                what=f"{entry.uri} cannot be left in place: it is not a file on this machine",
                fix='references="copy" brings it here, "skip" leaves it out',
            )
        )
    with asking(entry):
        return disk.path_of(entry.uri)


def _raise_outcome(entry: ReferenceEntry, outcome: str, found: str | None) -> None:
    if outcome == "missing":
        raise ReferenceMissingError(uri=entry.uri)
    if outcome == "changed":
        raise ReferenceChangedError(uri=entry.uri, pinned=entry.pin.checksum or entry.pin.modified, found=found)
    if outcome == "no-credentials":
        raise CredentialsError(what=f"no credentials were found for {entry.uri}", where=entry.uri)
    if outcome == "denied":
        raise AccessError(what=f"not allowed to read {entry.uri}", where=entry.uri)
    if outcome == "unavailable":
        raise StorageError(what=f"{entry.uri} cannot be asked: {found}", where=entry.uri, retryable=True)
