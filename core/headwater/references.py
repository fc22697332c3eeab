"""From a URI to reference entries: asks the source at once, and gives all of them or an error."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote

from headwater.errors import AccessError, InvalidInputError, NotFoundError, ReferenceMissingError, StorageError
from headwater.model.entries import Pin, ReferenceEntry
from headwater.model.naming import check_path
from headwater.sources import BUILT_IN, SOURCES

if TYPE_CHECKING:
    from headwater.errors import HeadwaterError
    from headwater.ports import Found, Progress

MAX_OBJECTS = 10_000
"""How many objects one reference may mean, unless the caller says more."""


def find_references(
    uri: str, name: str | None, *, pin: bool | Literal["digest"] = True, max_objects: int = MAX_OBJECTS
) -> Iterator[ReferenceEntry]:
    """Entries for what is at `uri`, in path order. The first object is asked for before this returns.

    Raises:
        ReferenceMissingError: Nothing is there.
        AccessError, CredentialsError, StorageError: The source could not be asked.
        InvalidInputError: The URI, the name or the limit is wrong, or (while iterating) there are more objects.
    """
    if not isinstance(uri, str) or not uri:
        raise InvalidInputError(what=f"a reference is a URI or an entry of a version, not {uri!r}")
    if max_objects < 1:
        raise InvalidInputError(what=f"max_objects is at least 1, not {max_objects}")
    if name is not None:
        check_path(name)
    source = SOURCES.find(uri)
    if name is None and _is_opaque(source):
        known = ", ".join(sorted(BUILT_IN))
        raise InvalidInputError(
            what=f"no source knows {uri!r}, so it needs a name", fix=f"pass name=; there are sources for {known}"
        )
    found = iter(source.walk(uri, pin=pin))
    start = list(islice(found, 2))
    if not start:
        raise ReferenceMissingError(uri=uri)
    if len(start) == 1 and _is_same(start[0].uri, uri):
        path = start[0].path if name is None else name
        return iter([ReferenceEntry(check_path(path), start[0].size, start[0].uri, start[0].pin)])
    prefix = "" if name is None else name.removesuffix("/") + "/"
    return _apart(_limited(chain(start, found), uri, prefix, max_objects))


class Asked:
    """Entries on their way from a source; keeps the error by which the source refused to go on.

    So that it is told from an error of whoever takes the entries, such as a full disk.
    """

    def __init__(self, ask: Callable[[], Iterator[ReferenceEntry]], progress: Progress | None = None) -> None:
        self._ask, self._progress = ask, progress
        self.refused: HeadwaterError | None = None
        """That nothing is there, or that the source could not be asked."""

    def __iter__(self) -> Iterator[ReferenceEntry]:
        try:
            for number, entry in enumerate(self._ask(), 1):
                yield entry
                if self._progress:
                    self._progress("references", number, None)
        except (NotFoundError, AccessError, StorageError) as error:
            self.refused = error
            raise


def last_part(uri: str) -> str:
    """What an object or prefix is called, as a path. Nobody is asked.

    Raises:
        InvalidInputError: The URI cannot mean anything, or holds a secret.
    """
    return _unasked(uri).path


def record_bare(uri: str, name: str | None) -> Iterator[ReferenceEntry]:
    """The URI alone, unverified. Nobody is asked.

    Raises:
        InvalidInputError: The URI cannot mean anything, or holds a secret; or the name is no path.
    """
    found = _unasked(uri)
    return iter([ReferenceEntry(check_path(name or found.path), None, found.uri, Pin())])


def _unasked(uri: str) -> Found:
    found = next(iter(SOURCES.find(uri).walk(uri, pin=False)), None)
    if found is None:
        raise ReferenceMissingError(uri=uri)
    return found


def _limited(found: Iterable[Any], uri: str, prefix: str, most: int) -> Iterator[ReferenceEntry]:
    for n, thing in enumerate(found):
        if n == most:
            raise InvalidInputError(
                what=f"{uri} has more than {most} objects; nothing was added",
                fix=f"point at less, or raise the limit: max_objects={most} now, --max-objects on the command line",
            )
        yield ReferenceEntry(check_path(prefix + thing.path), thing.size, thing.uri, thing.pin)


def _apart(entries: Iterable[ReferenceEntry]) -> Iterator[ReferenceEntry]:
    """Refuse two objects that cannot be files beside each other, which buckets can hold and directories cannot."""
    above: list[ReferenceEntry] = []
    """Entries whose path the latest one begins with: only those can be in the way of what follows."""
    for entry in entries:
        while above and not entry.path.startswith(above[-1].path):
            above.pop()
        for other in above:
            if entry.path == other.path or entry.path[len(other.path)] == "/":
                raise InvalidInputError(
                    what=f"{other.uri} and {entry.uri} cannot both be files: {other.path!r} is in the way of "
                    f"{entry.path!r}; nothing was added",
                    fix=f"add {other.uri} by itself with another name=, and what is beside it by the prefixes there",
                )
        above.append(entry)
        yield entry


def _is_opaque(source: object) -> bool:
    from headwater.backends.opaque import OpaqueSource

    return isinstance(source, OpaqueSource)


def _is_same(found: str, asked: str) -> bool:
    """Whether a source that found one object found the URI itself and not something below it."""
    if found == asked or found.startswith(asked.rstrip("/") + "/"):
        return found == asked
    return f"/{_place(asked)}/" not in f"/{_place(found)}"  # the same place may be written in another way


def _place(uri: str) -> str:
    scheme, _, rest = uri.partition(":")
    if scheme.lower() != "file":  # a file's name may hold both of them
        rest = re.split(r"[?#]", rest)[0]
    return unquote(rest).strip("/")
