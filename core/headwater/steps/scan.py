"""Handles inside ordinary values: finding them, and putting what they stand for in their place.

The scan is bounded: at most 4 levels deep, at most 10,000 values, and only into
lists, tuples, dicts, sets and dataclasses. Frames, arrays and foreign objects
are never entered, so that passing data to a step costs nothing.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from headwater.version import Version

MAX_DEPTH = 4
MAX_VALUES = 10_000

_LEAVES = (str, bytes, int, float, type(None))


def find_handles(value: Any, where: str = "the arguments") -> list[Version[Any]]:
    """Every handle in `value`, each once, in order of appearance.

    Warns once when `value` holds more than 10,000 values: handles behind those are not seen.
    """
    found: dict[int, Version[Any]] = {}
    left = MAX_VALUES
    for inner in _walk(value, MAX_DEPTH):
        left -= 1
        if left < 0:
            warnings.warn(
                f"headwater looked at the first {MAX_VALUES} values of {where} for handles; record later ones with "
                "hw.use(), or pass large data as a version",
                stacklevel=2,
            )
            break
        if isinstance(inner, Version):
            found.setdefault(id(inner), inner)
    return list(found.values())


def _walk(value: Any, depth: int) -> Iterator[Any]:
    yield value
    if depth == 0 or isinstance(value, _LEAVES):
        return
    for inner in _inside(value):
        if isinstance(inner, _LEAVES):
            yield inner  # counted, but no generator of its own: lists of numbers are common
        else:
            yield from _walk(inner, depth - 1)


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, list | tuple | set | frozenset):
        return value
    if isinstance(value, dict):
        return value.values()
    if dataclasses.is_dataclass(value) and not isinstance(value, type) and not isinstance(value, Version):
        return (getattr(value, f.name, None) for f in dataclasses.fields(value))
    return ()


Load = Callable[[Version[Any], Any], Any]
"""`load(handle, wanted)`: the value of a handle as the wanted type (None: as it was written)."""


def replace_handles(value: Any, wanted: Wanted, load: Load) -> Any:
    """`value` with handles replaced by their values where `wanted` says that values are wanted.

    Containers without such handles come back as the same objects, others as copies.
    """
    if isinstance(value, Version):
        return load(value, wanted.value_type) if wanted.loads else value
    if isinstance(value, list | tuple) and wanted.items:
        new = [replace_handles(item, wanted.item(i), load) for i, item in enumerate(value)]
        return value if all(a is b for a, b in zip(new, value)) else type_of_copy(value)(new)
    if isinstance(value, dict) and wanted.items:
        pairs = {key: replace_handles(item, wanted.item(-1), load) for key, item in value.items()}
        return value if all(pairs[key] is value[key] for key in pairs) else pairs
    return value


def type_of_copy(value: list[Any] | tuple[Any, ...]) -> Callable[[Iterable[Any]], Any]:
    """What a changed copy of a sequence is built with: subclasses become the plain kind, named tuples stay."""
    if isinstance(value, tuple):
        return getattr(type(value), "_make", tuple)
    return list


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """What an annotation says about a handle that arrives there."""

    loads: bool = False
    """A plain type: the function wants the value. False for `Version`, `Any`, or no annotation."""
    value_type: Any = None
    """What to load it as; None where the annotation is no single type."""
    items: tuple[Wanted, ...] = ()
    """Of a container: what its items want, one for all or, for `tuple[A, B]`, one each; empty if nothing loads."""

    def item(self, index: int) -> Wanted:
        """What the item at `index` wants."""
        return self.items[index] if 0 <= index < len(self.items) else self.items[-1]


HANDLE = Wanted()
"""Wanted as it is."""


def wanted_values(mapping: Mapping[str, Any], wants: Mapping[str, Wanted], load: Load) -> dict[str, Any]:
    """Every argument as its parameter wants it."""
    return {name: replace_handles(value, wants.get(name, HANDLE), load) for name, value in mapping.items()}
