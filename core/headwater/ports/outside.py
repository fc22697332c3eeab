"""Other people's systems: object stores for our bytes, sources of theirs, codecs for values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias

from headwater.errors import (
    AccessError,
    CredentialsError,
    HeadwaterError,
    InvalidInputError,
    NotFoundError,
    ReferenceChangedError,
)

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from headwater.model.manifest import Pin

Progress: TypeAlias = Callable[[str, int, int | None], None]
"""`progress(stage, done, total)`, bytes or entries; total None while unknown. Called from one thread."""


class ObjectInfo(NamedTuple):
    """One object in a listing."""

    key: str
    size: int
    modified_at: datetime


class ObjectStore(Protocol):
    """Named bytes in one place (a directory, a bucket prefix). Keys are `[a-z0-9/._-]+`.

    Every method is safe between threads and processes. Nobody ever sees part of an object.
    """

    @property
    def url(self) -> str:
        """Where this is, without credentials."""

    def put(self, key: str, data: Buffer) -> None:
        """Store `data`, durable and checked by the service when this returns. One request up to 64 MiB.

        Keys are never reused; putting the same key twice with the same bytes is fine.

        Raises:
            StorageError: Nothing was stored, or it is unknown whether it was.
            AccessError: Not allowed to write.
        """

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Return the object, or `length` bytes of it from `start`. One request.

        Raises:
            NotFoundError: No such key.
            FormatError: The range reaches past the end: the object is not the one that was put.
            StorageError: The service failed.
        """

    def delete(self, key: str) -> None:
        """Remove the object; that it is absent is not an error."""

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """All objects whose key starts with `prefix`, in key order, lazily; an error ends it, never a short list."""

    def read_marker(self, key: str) -> tuple[bytes, str] | None:
        """The small object at `key` with its write token, or None if there is none."""

    def swap_marker(self, key: str, data: bytes, expect: str | None) -> str:
        """Replace the marker if its token still is `expect` (None: absent); return the new token.

        Raises:
            ConflictError: Somebody else wrote it.
        """


class Found(NamedTuple):
    """One object a source found."""

    path: str
    """Relative to the URI that was walked; its last part for a single object."""
    uri: str
    """What to record: no credentials, no signature, no redirect target."""
    size: int | None
    pin: Pin


Outcome: TypeAlias = Literal["same", "changed", "missing", "denied", "no-credentials", "unverified", "unavailable"]
"""What became of one reference: `unavailable` where the source could not say, `unverified` if nothing is proved."""


def outcome_of(error: HeadwaterError) -> Outcome:
    """The word for why a reference could not be had."""
    if isinstance(error, ReferenceChangedError):
        return "changed"
    if isinstance(error, CredentialsError):
        return "no-credentials"
    if isinstance(error, AccessError):
        return "denied"
    if isinstance(error, NotFoundError):
        return "missing"
    return "unverified" if isinstance(error, InvalidInputError) else "unavailable"


class Checked(NamedTuple):
    """One reference compared with the world."""

    uri: str
    outcome: Outcome
    found: str | None
    """What is there instead, in words."""
    size: int | None = None
    """Bytes of what the outcome is about, if `same` or `unverified` and the source told: whoever recorded another size
    knows that it has changed."""


class Source(Protocol):
    """Bytes that belong to somebody else, found by URI."""

    def walk(self, uri: str, *, pin: bool | Literal["digest"] = True) -> Iterator[Found]:
        """What is at `uri`: one object, or all below it, by byte order of path, lazily.

        A prefix of N objects costs ⌈N/1000⌉ + 5 requests at most.

        Raises:
            ReferenceMissingError: Nothing is there.
            AccessError, CredentialsError, StorageError: Could not be asked.
            InvalidInputError: The URI cannot mean anything here.
        """

    def read(self, uri: str, pin: Pin, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The pinned bytes, piecewise, or a range of them; raises before the first byte if the pin no longer holds.

        Raises:
            ReferenceMissingError, ReferenceChangedError, AccessError, CredentialsError, StorageError
        """

    def check(self, references: Iterable[tuple[str, Pin]]) -> Iterator[Checked]:
        """Compare references with the world, in bulk (listings, not one request each); never raises for one of them."""


class RangedSource(Source, Protocol):
    """A source whose large objects are brought in several ranges at once. Any other gives them in one piece."""

    def gives_ranges(self, uri: str) -> bool:
        """Whether a range of the object costs only itself. One request at most; raises what `read` raises."""


class Codec(Protocol):
    """Turns values of some Python type into files and back. Deterministic: equal values, equal bytes."""

    name: str
    """Recorded in the version; never changes meaning."""

    def handles(self, value_type: Any) -> bool:
        """Whether this codec writes and reads values of that type (a class or a typing form)."""

    def write(self, value: Any, folder: Path) -> Mapping[str, Any]:
        """Put the value into files in the empty directory `folder`; return options to record (JSON)."""

    def read(self, folder: Path, options: Mapping[str, Any], as_: Any) -> Any:
        """The value again, as type `as_` (None: as it was written)."""
