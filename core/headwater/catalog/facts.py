"""Leaves of JSON as typed rows, so that a search needs no JSON in SQL and means the same everywhere.

`{"a": {"b": 1}, "t": ["x", 2]}` under `metadata` becomes

    metadata.a.b  n  1.0            a number (compared as a 64-bit float)
    metadata.t    T  'x'            an element of a list: a capital letter
    metadata.t    N  2.0

Kinds: n number, t text, b boolean, z null, x not a number. Limits, chosen so that
an index row always fits a PostgreSQL page: paths longer than 200 characters and
list elements after the first 100 are not searchable; of longer text the first 300
characters are compared, then a digest of the whole.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from headwater.model.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from headwater.catalog.engine import Tx

MAX_PATH = 200
MAX_TEXT = 300
MAX_ELEMENTS = 100

Leaf = tuple[str, str, "float | None", "str | None"]
"""(path, kind, number, text)."""


def leaves(prefix: str, value: Mapping[str, Any]) -> Iterator[Leaf]:
    """The searchable leaves of a JSON object, paths beginning with `prefix` and a dot."""
    for key, member in value.items():
        path = f"{prefix}.{searchable(str(key))}"
        if isinstance(member, dict):
            yield from leaves(path, member)
        elif len(path) > MAX_PATH:
            continue
        elif isinstance(member, list | tuple):
            scalars = [m for m in member[:MAX_ELEMENTS] if not isinstance(m, dict | list | tuple)]
            yield from (_leaf(path, element, element=True) for element in scalars)
        else:
            yield _leaf(path, member)


def _leaf(path: str, value: Any, *, element: bool = False) -> Leaf:
    kind, number, words = typed(value)
    return (path, kind.upper() if element else kind, number, words)


def typed(value: Any) -> tuple[str, float | None, str | None]:
    """(kind, number, text) of a JSON scalar."""
    if value is None:
        return "z", None, None
    if isinstance(value, bool):
        return "b", float(value), None
    if isinstance(value, int | float):
        number = _float(value)
        return ("x", None, None) if math.isnan(number) else ("n", number, None)
    return "t", None, searchable(str(value))


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer beyond 1.8e308
        return math.inf if value > 0 else -math.inf


def searchable(text: str) -> str:
    """`text` as it is compared: no NUL or lone surrogate (PostgreSQL keeps neither), and not too long for an index."""
    clean = text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
    return clean if len(clean) <= MAX_TEXT else clean[:MAX_TEXT] + Digest.of(clean.encode()).hex()


def put(tx: Tx, table: str, owner: int, found: list[Leaf]) -> None:
    """Add leaves to `version_facts` or `run_facts`."""
    column = table.removesuffix("_facts")
    tx.run_many(
        f"INSERT INTO {table} ({column}, path, seq, kind, num, text) VALUES (:owner, :path, :seq, :kind, :num, :text)",
        [
            {"owner": owner, "path": path, "seq": seq, "kind": kind, "num": number, "text": words}
            for seq, (path, kind, number, words) in enumerate(found)
        ],
    )


def replace(tx: Tx, table: str, owner: int, field: str, found: list[Leaf]) -> None:
    """Exchange the leaves below one field (`metadata`, `tag`, `config`, `summary`)."""
    column = table.removesuffix("_facts")
    tx.run(
        f"DELETE FROM {table} WHERE {column} = :owner AND (path = :field OR (path >= :low AND path < :high))",
        owner=owner, field=field, low=f"{field}.", high=f"{field}/",
    )  # fmt: skip
    put(tx, table, owner, found)


def tag_leaves(tags: tuple[str, ...] | list[str]) -> list[Leaf]:
    """Tags are leaves too, elements of a list called `tag`."""
    return [("tag", "T", None, searchable(tag)) for tag in tags]
