"""References: bytes read through their source, or left in place. Each is placed, skipped with a reason, or an error."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from blake3 import blake3

from headwater import disk
from headwater.download import ranged
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
from headwater.store.statcache import is_network

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import BinaryIO

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


class Copies(NamedTuple):
    """Where copies of references are kept."""

    cache: FileCache | None
    folder: Path
    """For unfinished large ones."""
    advance: Callable[[int], None]
    """Told of bytes brought that are not yet a file."""


class Unreadable(Exception):  # noqa: N818 - it never leaves this package
    """The source would not give the bytes; told apart from errors of our own disk."""

    def __init__(self, error: HeadwaterError) -> None:
        super().__init__(str(error))
        self.error = error


class BorrowedFiles:
    """Places references in a target.

    Args:
        target: Begun.
        report: Told of each file placed, and of parts of large ones.
        first_reads: Digests of references whose pins prove no bytes.
        copies: Cache of copies, and the folder for unfinished ones.
        tolerant: Skip what cannot be had, instead of raising.
    """

    def __init__(
        self, target: Target, report: Report, first_reads: FirstReads, copies: Copies, *, tolerant: bool
    ) -> None:
        self._target, self._report, self._first = target, report, first_reads
        self._cache, self._folder, self._advance = copies
        self._tolerant = tolerant
        self._open: dict[int, ranged.Parts] = {}

    def jobs(self, entries: Iterable[ReferenceEntry], how: References) -> Iterator[Callable[[], Skipped | None]]:
        """Jobs for the crew, which give what was not brought: one for each reference, one for each part of a large one.

        Call `close` when they have ended.
        """
        for entry in entries:
            if how != "copy" or not self._comes_in_parts(entry):
                yield partial(self.bring, entry, how)
                continue
            parts = ranged.Parts(entry, self._folder, read_pinned)
            self._open[id(parts)] = parts
            self._advance((entry.size or 0) - sum(map(parts.size_of, parts.missing)))
            for number in parts.missing:
                yield partial(self._bring_part, parts, number)
            if not parts.missing:  # the last attempt died between the last part and the end
                yield partial(self._bring_part, parts, None)

    def close(self) -> None:
        """Let go of large references that an error left half done; the next attempt goes on with them."""
        for parts in list(self._open.values()):
            parts.close(keep=True)

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
            return self._refused(entry, refused)
        return None

    def _refused(self, entry: ReferenceEntry, refused: Unreadable) -> Skipped:
        if not self._tolerant:
            raise refused.error from None
        return Skipped(entry.path, entry.uri, outcome_of(refused.error), str(refused.error))

    # -- in parts ----------------------------------------------------------------
    def _comes_in_parts(self, entry: ReferenceEntry) -> bool:
        try:
            with asking(entry):
                return ranged.comes_in_parts(entry) and self._held(content_of(entry, self._first), look=True) is None
        except Unreadable:
            return False  # it will say so when it is read

    def _bring_part(self, parts: ranged.Parts, number: int | None) -> Skipped | None:
        try:
            if not parts.refused and (number is None or self._brought(parts, number)):
                self._place_parts(parts)
        except Unreadable as refused:
            parts.keep = isinstance(refused.error, StorageError) and refused.error.retryable
            return self._refused(parts.entry, refused) if parts.refuse() else None
        finally:
            if parts.ended() and parts.refused:
                self._let_go(parts, keep=parts.keep)
        return None

    def _brought(self, parts: ranged.Parts, number: int) -> bool:
        """Bring a part; whether it was the last one."""
        left = parts.bring(number)
        self._advance(parts.size_of(number))
        return not left

    def _let_go(self, parts: ranged.Parts, *, keep: bool) -> None:
        if self._open.pop(id(parts), None):
            parts.close(keep=keep)

    def _place_parts(self, parts: ranged.Parts) -> None:
        entry = parts.entry
        proof = Proof(entry, self._first)
        for piece in parts.pieces():
            proof.update(piece)
        digest = proof.finish()
        self._keep(entry, digest, parts.fd)
        name = self._target.new_hard_link(partial(_move, parts.path))
        if name is None:
            name, fd = self._target.new_file()
            try:
                with disk.explained(self._target.root / entry.path):
                    copy_bytes(parts.fd, fd)
            finally:
                os.close(fd)
        self._report(entry, digest, self._target.place(name, entry.path), 0)
        self._let_go(parts, keep=False)

    # -- whole -------------------------------------------------------------------
    def _copy(self, entry: ReferenceEntry) -> None:
        known = content_of(entry, self._first)
        held = self._held(known)
        name, fd = self._target.new_file()
        try:
            if held and known:
                with held, disk.explained(self._target.root / entry.path):
                    copy_bytes(held.fileno(), fd)
                digest = known
            else:
                digest = self._read(entry, fd)
                self._keep(entry, digest, fd)
            size = os.fstat(fd).st_size
            self._report(entry, digest, self._target.place(name, entry.path), size)
        except BaseException:
            self._target.drop(name)
            raise
        finally:
            os.close(fd)

    def _held(self, digest: Digest | None, *, look: bool = False) -> BinaryIO | None:
        """The copy in the cache, which costs time when it cannot be used and nothing else."""
        with contextlib.suppress(AccessError, StorageError):
            found = self._cache.open(digest) if self._cache and digest else None
            if found and look:
                found.close()
            return found
        return None

    def _keep(self, entry: ReferenceEntry, digest: Digest, fd: int) -> None:
        """Put a copy in the cache, unless the bytes are on a disk of this machine anyway."""
        if self._cache is None or not os.fstat(fd).st_size or _is_near(entry):
            return
        with contextlib.suppress(AccessError, StorageError), os.fdopen(os.dup(fd), "rb", buffering=0) as copy:
            self._cache.add(digest, copy)

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
    """Compares the bytes of a reference, as they come, with everything that is known about them.

    Args:
        entry: Whose bytes.
        first_reads: Holds them to what they were; None: only to size and pin.
    """

    def __init__(self, entry: ReferenceEntry, first_reads: FirstReads | None) -> None:
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
            kind, _, wanted = str(entry.pin.checksum).partition(":")
            raw = self._other.digest()
            if wanted not in (raw.hex(), base64.b64encode(raw).decode()):  # S3 writes base64
                raise self._changed(entry.pin.checksum, f"{kind}:{raw.hex()}")
        expected = _proved_by_pin(entry)
        if expected is None and self._first is not None:
            expected = self._first.settle(key_of(entry), digest)
        if expected is not None and digest != expected:
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


def _is_near(entry: ReferenceEntry) -> bool:
    if scheme_of(entry.uri) != "file":
        return False
    try:
        return not is_network(Path(disk.path_of(entry.uri)).stat().st_dev)
    except OSError:
        return False


def _move(path: Path, name: str, folder: int) -> bool:
    """Rename a finished file into the directory open as `folder`; False where that is another file system."""
    try:
        os.rename(path, name, dst_dir_fd=folder)
    except OSError:
        return False
    return True


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
