"""Which codec writes a value, and which one reads it again.

Built-in types first, then the codecs of third parties (entry point group
`headwater.codecs`: name → object, or class without arguments, with the `Codec`
protocol), then pickle for those who asked.

A codec may offer, besides the protocol:

    encode(value) -> (files, options)     for small values: no temporary folder is needed
    decode(files, options, as_) -> value  the same on the way back, from `codecs.files.Files`; with
    in_memory(size, options, as_) -> bool whether `decode` can give that of so many bytes, at less cost than `read`
    in_place(value) -> (path, options)    the files are there already: add them as they are
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from headwater.codecs.annotations import candidates, library, shown
from headwater.codecs.files import Files
from headwater.errors import InvalidInputError
from headwater.ports import Codec

GROUP = "headwater.codecs"

_BUILT_IN: dict[str, tuple[str, str, tuple[Any, ...]]] = {
    "bytes": ("headwater.codecs.plain", "BytesCodec", ()),
    "text": ("headwater.codecs.plain", "TextCodec", ()),
    "path": ("headwater.codecs.files", "PathCodec", ()),
    "dataclass": ("headwater.codecs.json_values", "RecordCodec", ()),
    "numpy": ("headwater.codecs.numpy_arrays", "NumpyCodec", ()),
    "pandas": ("headwater.codecs.tables", "TableCodec", ("pandas", "pandas")),
    "polars": ("headwater.codecs.tables", "TableCodec", ("polars", "polars")),
    "arrow": ("headwater.codecs.tables", "TableCodec", ("arrow", "pyarrow")),
    "json": ("headwater.codecs.json_values", "JsonCodec", ()),
}
_OF_LIBRARY = {"pandas": ("pandas",), "polars": ("polars",), "pyarrow": ("arrow",), "numpy": ("json", "numpy")}
_OF_BUILTINS = ("bytes", "text", "path", "dataclass", "json")
SUPPORTED = "bytes, str, JSON values, dataclasses, Path, NumPy, pandas, Polars and Arrow"


class Encoded(NamedTuple):
    """A value ready to be added to an artifact: exactly one of `files` and `path` is set."""

    codec: dict[str, Any]
    """To record in the version: `{"name": …, "options": …}`."""
    files: Mapping[str, bytes] | None
    """Path in the version → content."""
    path: Path | None
    """A file, or a directory whose content is the version's content."""


def encode(value: Any, folder: Callable[[], Path], declared: Any = None, *, allow_pickle: bool = False) -> Encoded:
    """Turn a value into what a version records.

    Args:
        value: What to log.
        folder: Called at most once, for a new empty directory, by codecs that need files.
        declared: The annotation the value was declared with, if any.
        allow_pickle: Whether a value that nothing else takes may be pickled.

    Raises:
        InvalidInputError: No codec takes the value; says where in it.
    """
    codec = find_for_value(value, declared, allow_pickle=allow_pickle)
    if hasattr(codec, "in_place"):
        path, options = codec.in_place(value)
        return Encoded({"name": codec.name, "options": dict(options)}, None, path)
    if hasattr(codec, "encode"):
        files, options = codec.encode(value)
        return Encoded({"name": codec.name, "options": dict(options)}, files, None)
    target = folder()
    options = codec.write(value, target)
    return Encoded({"name": codec.name, "options": dict(options)}, None, target)


def decode(record: Mapping[str, Any] | None, folder: Path, as_: Any = None, *, allow_pickle: bool = False) -> Any:
    """The value of a version again.

    Args:
        record: What `encode` recorded; None for a version of plain files, which loads as `Path` unless `as_` says more.
        folder: The version's tree, read-only and there to stay (a `Path`, a memmap and a LazyFrame point into it).
        as_: A class or annotation; None gives the type that was written.
        allow_pickle: Whether a pickle may be read.

    Raises:
        InvalidInputError: No such codec, or it cannot give `as_`.
        StateError: A library or the recorded class is missing here.
        FormatError: The files are not what the codec wrote.
    """
    if record is not None:
        codec = _recorded(record, allow_pickle=allow_pickle)
        return codec.read(folder, dict(record.get("options") or {}), as_)
    return find_for_type(as_ if candidates(as_) else Path).read(folder, {}, as_)


def reads_in_memory(record: Mapping[str, Any], size: int, as_: Any = None) -> bool:
    """Whether `decode_in_memory` can give the value of a version as `as_`, so that no folder is needed.

    Raises:
        InvalidInputError: No such codec.
    """
    asks = getattr(_recorded(record, allow_pickle=False), "in_memory", None)
    return asks is not None and bool(asks(size, dict(record.get("options") or {}), as_))


def decode_in_memory(record: Mapping[str, Any], files: Files, as_: Any = None, *, allow_pickle: bool = False) -> Any:
    """As `decode`, from files in memory."""
    codec: Any = _recorded(record, allow_pickle=allow_pickle)
    return codec.decode(files, dict(record.get("options") or {}), as_)


def _recorded(record: Mapping[str, Any], *, allow_pickle: bool) -> Codec:
    return find_by_name(str(record.get("name")), allow_pickle=allow_pickle)


def find_for_value(value: Any, declared_type: Any = None, *, allow_pickle: bool = False) -> Codec:
    """The codec that writes `value`.

    The value decides; the declared type only where the value alone says too little
    (a `str` declared as `Path` is that path).

    Raises:
        InvalidInputError: There is none; says what is supported.
    """
    if isinstance(value, str) and any(issubclass(kind, Path) for kind in candidates(declared_type)):
        return find_by_name("path")
    codec = _for_batches(value) or _for_class(type(value))
    if codec is None and allow_pickle:
        return _pickle(allowed=True)
    if codec is None:
        raise _unsupported(type(value))
    if allow_pickle and codec.name in ("json", "dataclass", "numpy") and not _can_write(codec, value):
        return _pickle(allowed=True)
    return codec


def find_for_type(as_: Any, *, allow_pickle: bool = False) -> Codec:
    """The codec that reads plain files as the type or annotation `as_`; for a union, that of its first member.

    Raises:
        InvalidInputError: There is none.
    """
    for kind in candidates(as_):
        codec = _for_class(kind)
        if codec is not None and codec.name in ("bytes", "text"):
            return find_by_name("path")  # reads the one file there is
        if codec is not None:
            return codec
    if allow_pickle:
        return _pickle(allowed=True)
    raise _unsupported(as_)


def find_by_name(name: str, *, allow_pickle: bool = False) -> Codec:
    """The codec recorded under `name`.

    Raises:
        InvalidInputError: No such codec is installed here.
    """
    if name == "pickle":
        return _pickle(allowed=allow_pickle)
    if name in _BUILT_IN:
        return _built_in(name)
    found = _plugins().get(name)
    if found is None:
        raise InvalidInputError(
            what=f"the value was written by a codec called {name!r}, which is not installed here",
            fix="install the package that brings it, or load it as_=Path",
        )
    return found


def _for_class(kind: Any) -> Codec | None:
    for name in _OF_LIBRARY.get(library(kind), _OF_BUILTINS):
        codec = _built_in(name)
        if (name != "json" or not _foreign(kind)) and codec.handles(kind):
            return codec
    for codec in _plugins().values():
        if codec.handles(kind):
            return codec
    json = _built_in("json")
    return json if json.handles(kind) else None


def _foreign(kind: Any) -> bool:
    """A subclass of a builtin: a third party's codec for it comes before JSON, which would flatten it."""
    return library(kind) not in ("builtins", "numpy") and kind.__mro__[1:2] != (object,)


def _for_batches(value: Any) -> Codec | None:
    """A list of Arrow batches is one table, not a list of unknown things."""
    if isinstance(value, list | tuple) and value and "pyarrow" in sys.modules:
        batch = sys.modules["pyarrow"].RecordBatch
        if all(isinstance(item, batch) for item in value):
            return _built_in("arrow")
    return None


def _can_write(codec: Any, value: Any) -> bool:
    try:
        if codec.name == "numpy":
            return not value.dtype.hasobject
        codec.encode(value)
    except InvalidInputError:
        return False
    return True


@functools.cache
def _built_in(name: str) -> Codec:
    module, attribute, arguments = _BUILT_IN[name]
    codec: Codec = getattr(import_module(module), attribute)(*arguments)
    return codec


def _pickle(*, allowed: bool) -> Codec:
    from headwater.codecs.pickled import PickleCodec  # only for those who ask

    return PickleCodec(allowed=allowed)


@functools.cache
def _plugins() -> dict[str, Codec]:
    from importlib.metadata import entry_points  # 20 ms, and most processes log only built-in types

    found = {}
    for point in entry_points(group=GROUP):
        if point.name not in _BUILT_IN and point.name != "pickle":
            made = point.load()
            found[point.name] = made() if isinstance(made, type) else made
    return found


def _unsupported(kind: Any) -> InvalidInputError:
    return InvalidInputError(
        what=f"no codec knows the type {shown(kind)}",
        fix=f"log {SUPPORTED}, save it to a file and log its Path, install a package with a {GROUP} entry point, "
        "or pass allow_pickle=True",
    )
