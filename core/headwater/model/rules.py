"""What must hold for the entries of a page, checked in bulk: a million of them take a fraction of a second."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence, Sized
from itertools import compress, islice, pairwise
from operator import lt
from typing import Final, NoReturn, TypeAlias

from headwater.errors import InvalidInputError
from headwater.model.digest import SIZE
from headwater.model.entries import EMPTY
from headwater.model.naming import MAX_PATH, check_path

MAX_SIZE: Final = 2**63 - 1
"""Largest size of an entry, bytes."""
MAX_URI: Final = 16_384
"""Longest URI, characters."""
MAX_PIN: Final = 1_024
"""Longest field of a pin, characters."""

STORED: Final = 0
EXECUTABLE: Final = 1
REFERENCE: Final = 2

Texts: TypeAlias = list[str | None]
Columns: TypeAlias = tuple[str, int, str, bytes, list[int | None], bytes, list[str], Texts, Texts, Texts, Texts]
"""A page: magic, format, paths joined by LF, kinds, sizes, digests of stored entries; then of references the URIs,
and of their pins version, checksum, etag, modified."""

_CONTROLS: Final = bytes((*range(10), *range(11, 32), 127))
_DOTS: Final = re.compile(r"(?:\A|[/\n])\.\.?(?:\Z|[/\n])")
_LONG: Final = MAX_PATH // 4
"""A path of at most this many characters cannot be too long in UTF-8."""


def check_columns(columns: Columns, paths: Sequence[str]) -> None:
    """Check every rule of FORMAT.md about the entries of one page; the types must be right already.

    Args:
        columns: The page.
        paths: Its paths, one by one.

    Raises:
        InvalidInputError: Names the path, or the two, that break a rule.
    """
    _, _, text, kinds, sizes, digests, uris, *pins = columns
    n_pointed = kinds.count(REFERENCE)
    n_stored = len(paths) - n_pointed
    lengths = (len(kinds), len(sizes), len(digests), kinds.count(STORED) + kinds.count(EXECUTABLE))
    pointed: tuple[Sized, ...] = (uris, *pins)
    even = all(len(column) == n_pointed for column in pointed)
    if lengths != (len(paths), len(paths), n_stored * SIZE, n_stored) or not even:
        raise InvalidInputError(what="the columns of a page do not fit together")
    _check_paths(text, paths)
    if not all(map(lt, paths, islice(paths, 1, None))):
        before, after = next(pair for pair in pairwise(paths) if not pair[0] < pair[1])
        raise InvalidInputError(what=f"the paths {before!r} and {after!r} are not in strictly rising byte order")
    _check_collisions(paths)
    _check_sizes(kinds, sizes)
    if "/\n" in text or text.endswith("/"):
        _check_directories(columns, paths)
    _check_texts("URI", uris, MAX_URI)
    for field in pins:
        _check_texts("field of a pin", [text for text in field if text is not None], MAX_PIN)


def _check_paths(text: str, paths: Sequence[str]) -> None:
    """One look at all paths at once; only if something seems wrong, path by path."""
    raw = text.encode()
    flat = text.replace("\n", "/")  # each further search through all of it takes as long as the rest together
    wrong = "//" in flat and ("//" in text or "\n/" in text or "\n\n" in text)
    wrong = wrong or text[:1] in "/\n" or text.endswith("\n") or text.count("\n") != len(paths) - 1
    dotted = ("/." in flat or text[:1] == ".") and _DOTS.search(text) is not None
    if wrong or dotted or len(raw.translate(None, _CONTROLS)) != len(raw) or max(map(len, paths)) > _LONG:
        for path in paths:
            check_path(path)


def _check_collisions(paths: Sequence[str]) -> None:
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


def _check_sizes(kinds: bytes, sizes: list[int | None]) -> None:
    known = sizes
    if None in sizes:
        known = [size for size in sizes if size is not None]
        if any(size is None and kind != REFERENCE for size, kind in zip(sizes, kinds, strict=True)):
            raise InvalidInputError(what="a stored entry has a size")
    if known and not 0 <= min(known) <= max(known) <= MAX_SIZE:  # type: ignore[type-var,operator]
        raise InvalidInputError(what=f"a size is a number of bytes from 0 to {MAX_SIZE}")


def _check_directories(columns: Columns, paths: Sequence[str]) -> None:
    _, _, _, kinds, sizes, digests, *_ = columns
    marks = [path.endswith("/") for path in paths]
    stored = compress(marks, [kind != REFERENCE for kind in kinds])
    names = {digests[at * SIZE : (at + 1) * SIZE] for at, mark in enumerate(stored) if mark}
    if set(compress(kinds, marks)) != {STORED} or set(compress(sizes, marks)) != {0} or names != {EMPTY}:
        first = next(compress(paths, marks))
        raise InvalidInputError(what=f"{first!r} or another path ends in '/', so it can only be an empty directory")


def _check_texts(what: str, texts: Iterable[str], longest: int) -> None:
    lengths = set(map(len, texts))
    if lengths and not 0 < min(lengths) <= max(lengths) <= longest:
        raise InvalidInputError(what=f"a {what} has 1 to {longest} characters")
