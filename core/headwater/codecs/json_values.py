"""JSON values (None, bool, numbers, text, lists, dictionaries, tuples, sets, dates, …) and records.

The file, `value.json` for plain values, is in the language of `json_language`.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from headwater.codecs import json_language
from headwater.codecs.annotations import candidates, library, shown, type_path, unwrap
from headwater.codecs.fields import build, import_type, is_record, rebuild
from headwater.codecs.files import Files, Small, as_data, only
from headwater.errors import InvalidInputError, StateError

FILE = "value.json"
_PLAIN = (type(None), bool, int, float, str, list, dict, tuple, set, frozenset, complex)
_NUMPY_NUMBERS = ("bool", "bool_", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
                  "longlong", "ulonglong", "float16", "float32", "float64", "complex64", "complex128")  # fmt: skip


class JsonCodec(Small):
    """Values that `json_language` can write; NumPy numbers become Python numbers (as_=np.float32 gives them back)."""

    name = "json"
    file = FILE

    def handles(self, value_type: Any) -> bool:
        found = candidates(value_type)
        return bool(found) and all(_is_json(kind) for kind in found)

    def encode(self, value: Any) -> tuple[dict[str, bytes], dict[str, Any]]:
        """The file and options, in memory; raises as `json_language.dumps`."""
        return {FILE: json_language.dumps(value)}, {}

    def decode(self, files: Files, options: Mapping[str, Any], as_: Any) -> Any:
        """The value, from files in memory."""
        if raw := _raw(files, as_):
            return raw[0]
        name, file = only(files, "*.json", preferred=FILE)
        if not candidates(as_):
            return json_language.loads(file.getvalue(), name, build)
        return convert(json_language.loads(file.getvalue(), name, json_language.plain), as_)


class RecordCodec(Small):
    """Dataclasses, named tuples, attrs classes, msgspec Structs, pydantic models: an object of their fields.

    The file is named for the class, so that equal fields of another class are another content.
    Options: `type`, the path of the class. It is imported again on load, unless `as_` names another type.
    """

    name = "dataclass"

    def handles(self, value_type: Any) -> bool:
        found = candidates(value_type)
        return bool(found) and all(is_record(kind) for kind in found)

    def encode(self, value: Any) -> tuple[dict[str, bytes], dict[str, Any]]:
        """The file and options, in memory; raises as `json_language.dumps`."""
        path = type_path(type(value))
        return {_file_for(path): json_language.dump_fields(value)}, {"type": path}

    def decode(self, files: Files, options: Mapping[str, Any], as_: Any) -> Any:
        """The value, from files in memory."""
        if raw := _raw(files, as_):
            return raw[0]
        (name, file), wanted = only(files, "*.json"), candidates(as_)
        data = file.getvalue()
        recorded = str(options.get("type", ""))
        same = next((kind for kind in wanted if type_path(kind) == recorded), None)
        if same is None and wanted:
            return convert(json_language.loads(data, name, json_language.plain), as_)
        try:
            kind = same or import_type(recorded)
            return rebuild(kind, json_language.loads(data, name, build))
        except StateError:  # the class is at hand, but one nested in it is not
            if same is None:
                raise
            return convert(json_language.loads(data, name, json_language.plain), as_)


def convert(value: Any, as_: Any) -> Any:
    """Check a plain value against an annotation and build what it names (dataclasses, TypedDicts, enums, numbers).

    Raises:
        InvalidInputError: The value is something else.
    """
    kinds = candidates(as_)
    for kind in kinds:
        if library(kind) == "numpy" and isinstance(value, bool | int | float | complex):
            return kind(value)
    model = next((kind for kind in kinds if hasattr(kind, "model_validate") and isinstance(value, dict)), None)
    if model is not None:
        return rebuild(model, value)
    try:
        return msgspec.convert(value, unwrap(as_), strict=True)
    except (msgspec.ValidationError, TypeError) as problem:
        if any(type(value) is kind for kind in kinds):
            return value  # a form that msgspec does not know, with a value of its very class
        raise InvalidInputError(
            what=f"the value does not load as {shown(as_)}: {problem}", fix="load it without as_ to see what it is"
        ) from None


def _raw(files: Files, as_: Any) -> tuple[Any] | None:
    """The file's bytes, where they are what is asked for."""
    wanted = candidates(as_)
    return as_data(only(files)[1], "", wanted) if _is_raw(wanted) else None


def _is_raw(wanted: tuple[type, ...]) -> bool:
    return bool(wanted) and all(issubclass(kind, (Path, bytes)) for kind in wanted)


def _file_for(path: str) -> str:
    """`package.module.Config.json` for the class `package.module:Config`."""
    return path.replace(":", ".").replace("<", "").replace(">", "") + ".json"


def _is_json(kind: type) -> bool:
    if kind in _PLAIN or kind in json_language.WRITTEN or issubclass(kind, enum.Enum):
        return True
    if library(kind) == "numpy" and "numpy" in sys.modules:
        return kind.__name__ in _NUMPY_NUMBERS
    return issubclass(kind, (dict, list, tuple, int, float)) or kind.__module__ == "collections.abc"
