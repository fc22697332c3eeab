"""What must hold for the entries of a page, checked in bulk: a million entries take a fraction of a second."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice, pairwise
from operator import lt
from typing import Any, Final, NoReturn

from headwater.errors import InvalidInputError
from headwater.model.digest import SIZE
from headwater.model.entries import EMPTY, Entry, Pin, ReferenceEntry, StoredEntry
from headwater.model.naming import MAX_PATH, check_path

MAX_SIZE: Final = 2**63 - 1
"""Largest size of an entry, bytes."""
MAX_TEXT: Final = 16_384
"""Longest URI, and longest field of a pin, characters."""

_CONTROLS: Final = bytes((*range(10), *range(11, 32), 127))
_DOTS: Final = re.compile(r"(?:\A|[/\n])\.\.?(?:\Z|[/\n])")
_LONG: Final = MAX_PATH // 4
"""A path of at most this many characters cannot be too long in UTF-8."""


def check_entries(entries: Sequence[Entry]) -> None:
    """Check every rule of FORMAT.md about the entries of one page.

    Raises:
        InvalidInputError: Names the path, or the two, that break a rule.
    """
    paths = [e.path for e in entries]
    _check_paths(paths)
    if not all(map(lt, paths, islice(paths, 1, None))):
        before, after = next(pair for pair in pairwise(paths) if not pair[0] < pair[1])
        raise InvalidInputError(what=f"the paths {before!r} and {after!r} are not in strictly rising byte order")
    _check_collisions(paths)
    stored = [e for e in entries if type(e) is StoredEntry]
    _check_stored(stored)
    if len(stored) < len(entries):
        _check_references([e for e in entries if type(e) is ReferenceEntry])


def _check_paths(paths: list[str]) -> None:
    """One look at all paths at once; only if something seems wrong, path by path."""
    try:
        text = "\n".join(paths)
        raw = text.encode()
    except (TypeError, UnicodeEncodeError):
        text, raw = "", b"\x00"
    padded = f"\n{text}\n"
    wrong = "//" in padded or "\n/" in padded or "\n\n" in padded or text.count("\n") != len(paths) - 1
    dotted = ("/." in padded or "\n." in padded) and _DOTS.search(text) is not None
    if wrong or dotted or len(raw.translate(None, _CONTROLS)) != len(raw) or max(map(len, paths)) > _LONG:
        for path in paths:
            check_path(path)


def _check_collisions(paths: list[str]) -> None:
    """An entry is no folder of others. Whatever sorts between `a` and `a/b` starts with `a`, so neighbours tell."""
    if not any(map(str.startswith, islice(paths, 1, None), paths)):
        return
    above: list[str] = []
    for path in paths:
        while above and not path.startswith(above[-1]):
            above.pop()
        for entry in above:
            if path.startswith(entry.removesuffix("/") + "/"):
                refuse_collision(entry, path)
        above.append(path)


def refuse_collision(entry: str, below: str) -> NoReturn:
    """Raise the error for a path that is an entry and holds another.

    Raises:
        InvalidInputError: Always.
    """
    raise InvalidInputError(what=f"{entry!r} cannot be an entry and hold {below!r}", fix="rename one of them")


def _check_stored(entries: list[StoredEntry]) -> None:
    digests = [e.digest for e in entries]
    if not all(isinstance(d, bytes) for d in digests) or not {SIZE}.issuperset(map(len, digests)):
        raise InvalidInputError(what=f"a digest has {SIZE} bytes")
    if not {bool}.issuperset([type(e.executable) for e in entries]):
        raise InvalidInputError(what="an entry is executable or not, nothing else")
    _check_sizes([e.size for e in entries])
    for entry in [e for e in entries if e.path.endswith("/")]:
        if entry.size or entry.digest != EMPTY or entry.executable:
            raise InvalidInputError(what=f"{entry.path!r} marks an empty directory, so it has no bytes")


def _check_references(entries: list[ReferenceEntry]) -> None:
    _check_sizes([e.size for e in entries if e.size is not None])
    _check_texts("URI", [e.uri for e in entries])
    pins = [e.pin for e in entries]
    if not {Pin}.issuperset(map(type, pins)):
        raise InvalidInputError(what="a reference has a Pin, if an empty one")
    for field in Pin.__struct_fields__:
        _check_texts(f"pin's {field}", [text for pin in pins if (text := getattr(pin, field)) is not None])
    for path in [e.path for e in entries if e.path.endswith("/")]:
        raise InvalidInputError(what=f"{path!r} ends in '/', so it cannot be a reference")


def _check_sizes(sizes: list[Any]) -> None:
    if not {int}.issuperset(map(type, sizes)) or (sizes and not 0 <= min(sizes) <= max(sizes) <= MAX_SIZE):
        raise InvalidInputError(what=f"a size is a number of bytes from 0 to {MAX_SIZE}")


def _check_texts(what: str, texts: list[str]) -> None:
    try:
        "".join(texts).encode()
    except (TypeError, UnicodeEncodeError):
        raise InvalidInputError(what=f"a {what} is text in valid UTF-8") from None
    if texts and not 0 < min(map(len, texts)) <= max(map(len, texts)) <= MAX_TEXT:
        raise InvalidInputError(what=f"a {what} has 1 to {MAX_TEXT} characters")
