"""Python values in canonical JSON: equal values, equal bytes; what comes back is what went in.

One line of UTF-8: keys sorted by code point, no blanks, shortest floats, a
line feed at the end. What JSON has no word for is an object with one key that
starts with `!`:

    {"!tuple": [1, 2]}                    {"!dict": [[1, "a"], …]}      keys other than text
    {"!float": "nan" | "inf" | "-inf"}    {"!int": "0x…"}               over 13,000 bits
    {"!bytes": "<base64>"}                {"!complex": [re, im]}
    {"!set": […]}  {"!frozenset": […]}    {"!decimal": "1.10"}  {"!uuid": "…"}
    {"!datetime": "<ISO>"}  {"!date": …}  {"!time": …}  {"!timedelta": [days, seconds, microseconds]}
    {"!enum": ["module:Class", "NAME", value]}
    {"!record": ["module:Class", {…fields}]}     dataclasses and the like inside other values

A dictionary with a key that starts with `!` is written as `!dict`. NaN is
kept, not refused: a summary of a diverged run is a fact too. Integers of any
size are exact. `1`, `1.0` and `true` are different values here, as are `0.0`
and `-0.0`. Subclasses of dict, list, str, int and float come back as the plain type.
"""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import enum
import json
import math
import sys
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from headwater.codecs.annotations import library, type_path
from headwater.codecs.fields import fields_of, is_record
from headwater.errors import FormatError, InvalidInputError

LONGEST_INT = 13_000
"""Bits of the longest integer in decimal digits: Python refuses to print or parse more than 4,300 of these."""

_PARENTS: tuple[Callable[[Any], Any], ...] = (str, int, float, dict, list, tuple)

Build = Callable[[str, str, Any], Any]
"""`build(tag, type path, content)`: what an `!enum` or `!record` becomes."""


def dumps(value: Any) -> bytes:
    """The canonical bytes of `value`.

    Raises:
        InvalidInputError: Something in it is of another type (says where), or it contains itself.
    """
    try:
        return _text(_encode(value, "value")).encode() + b"\n"
    except RecursionError:
        raise InvalidInputError(what="the value nests too deep, or contains itself") from None
    except UnicodeEncodeError:
        raise InvalidInputError(what="a text in the value cannot be written as UTF-8", fix="log it as bytes") from None


def loads(data: bytes, where: str, build: Build) -> Any:
    """The value again; `!enum` and `!record` become what `build` makes of them.

    Raises:
        FormatError: Not JSON, or a word of a newer Headwater.
    """
    try:
        return json.loads(data, object_hook=lambda found: _decode(found, where, build))
    except (ValueError, TypeError, KeyError, RecursionError) as problem:
        if isinstance(problem, InvalidInputError):
            raise
        raise FormatError(what=f"the file is not a value in JSON: {problem}", where=where) from problem


def plain(tag: str, path: str, content: Any) -> Any:
    """Build nothing: an enum is its value, a record a dictionary. Imports no type."""
    return content[1] if tag == "!enum" else content


def _text(encoded: Any) -> str:
    return json.dumps(encoded, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _encode(value: Any, where: str) -> Any:
    kind = type(value)
    if value is None or kind is bool or kind is str:
        return value
    if kind is float:
        return value if math.isfinite(value) else {"!float": str(value)}
    if kind is int:
        return value if value.bit_length() <= LONGEST_INT else {"!int": hex(value)}
    if kind is list:
        return [_encode(item, where) for item in value]
    if kind is dict:
        return _encode_dict(value, where)
    return _encode_other(value, where)


def _encode_other(value: Any, where: str) -> Any:
    if isinstance(value, enum.Enum):
        return {"!enum": [type_path(type(value)), value.name, _encode(value.value, where)]}
    if is_record(type(value)):
        return {"!record": [type_path(type(value)), encode_fields(value, where)]}
    writer = _WRITERS.get(type(value))
    if writer is not None:
        return writer(value, where)
    if library(type(value)) == "numpy":
        return _encode(_from_numpy(value, where), where)
    for parent in _PARENTS:
        if isinstance(value, parent):  # type: ignore[arg-type]  # they are classes, called as functions
            return _encode(parent(value), where)
    raise InvalidInputError(
        what=f"a value of type {type(value).__qualname__} has no form in JSON",
        where=where,
        fix="log it under a name of its own, convert it, or pass allow_pickle=True",
    )


def encode_fields(value: Any, where: str) -> dict[str, Any]:
    """The fields of a record, each encoded; what a record's own file holds."""
    return {name: _encode(item, f"{where}.{name}") for name, item in fields_of(value).items()}


def dump_fields(value: Any) -> bytes:
    """A record as an object of its fields; errors as in `dumps`."""
    try:
        return _text(encode_fields(value, type(value).__qualname__)).encode() + b"\n"
    except RecursionError:
        raise InvalidInputError(what="the value nests too deep, or contains itself") from None


def _encode_dict(value: Mapping[Any, Any], where: str) -> Any:
    if all(type(key) is str and not key.startswith("!") for key in value):
        return {key: _encode(item, f"{where}[{key!r}]") for key, item in value.items()}
    pairs = [[_encode(key, f"a key of {where}"), _encode(item, f"{where}[{key!r}]")] for key, item in value.items()]
    return {"!dict": sorted(pairs, key=lambda pair: _text(pair[0]))}


def _encode_set(value: Any, where: str) -> list[Any]:
    return sorted((_encode(item, where) for item in value), key=_text)


def _from_numpy(value: Any, where: str) -> Any:
    """A NumPy scalar as the Python number it is; arrays and the rest are refused."""
    numpy = sys.modules["numpy"]
    if isinstance(value, (numpy.bool_, numpy.integer)) or (
        isinstance(value, numpy.inexact) and value.dtype.itemsize <= (16 if value.dtype.kind == "c" else 8)
    ):
        return value.item()
    raise InvalidInputError(
        what=f"a numpy.{type(value).__name__} inside other values has no form in JSON",
        where=where,
        fix="log it under a name of its own, or .tolist() it",
    )


_WRITERS: dict[type, Callable[[Any, str], Any]] = {
    tuple: lambda v, where: {"!tuple": [_encode(item, where) for item in v]},
    set: lambda v, where: {"!set": _encode_set(v, where)},
    frozenset: lambda v, where: {"!frozenset": _encode_set(v, where)},
    bytes: lambda v, _: {"!bytes": base64.b64encode(v).decode()},
    complex: lambda v, where: {"!complex": [_encode(v.real, where), _encode(v.imag, where)]},
    decimal.Decimal: lambda v, _: {"!decimal": str(v)},
    uuid.UUID: lambda v, _: {"!uuid": str(v)},
    dt.datetime: lambda v, _: {"!datetime": v.isoformat()},
    dt.date: lambda v, _: {"!date": v.isoformat()},
    dt.time: lambda v, _: {"!time": v.isoformat()},
    dt.timedelta: lambda v, _: {"!timedelta": [v.days, v.seconds, v.microseconds]},
}

WRITTEN = frozenset(_WRITERS)
"""Exact types with a word of their own."""

_READERS: dict[str, Callable[[Any], Any]] = {
    "!tuple": tuple,
    "!set": set,
    "!frozenset": frozenset,
    "!dict": dict,
    "!float": float,
    "!int": lambda text: int(text, 16),
    "!bytes": lambda text: base64.b64decode(text, validate=True),
    "!complex": lambda parts: complex(*parts),
    "!decimal": decimal.Decimal,
    "!uuid": uuid.UUID,
    "!datetime": dt.datetime.fromisoformat,
    "!date": dt.date.fromisoformat,
    "!time": dt.time.fromisoformat,
    "!timedelta": lambda parts: dt.timedelta(*parts),
}


def _decode(found: dict[str, Any], where: str, build: Build) -> Any:
    tag = next(iter(found), "")
    if len(found) != 1 or not tag.startswith("!"):
        return found
    content = found[tag]
    if tag == "!enum":
        return build(tag, content[0], (content[1], content[2]))
    if tag == "!record":
        return build(tag, content[0], content[1])
    if tag not in _READERS:
        raise FormatError(what=f"{tag!r} is a word of a newer Headwater", where=where, fix="upgrade headwater")
    return _READERS[tag](content)
