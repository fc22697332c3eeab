"""Records: dataclasses, named tuples, attrs classes, msgspec Structs and pydantic models, taken apart and rebuilt.

Rebuilding imports the recorded type and calls it with its fields. Nothing else
of what a version names is ever called: a path that leads to anything but such a
class is refused.
"""

from __future__ import annotations

import dataclasses
import enum
import importlib
import sys
from typing import Any

import msgspec

from headwater.errors import InvalidInputError, StateError


def is_record(kind: Any) -> bool:
    """Whether instances of the class are taken apart by field."""
    return isinstance(kind, type) and (
        dataclasses.is_dataclass(kind)
        or issubclass(kind, msgspec.Struct)
        or (issubclass(kind, tuple) and hasattr(kind, "_fields"))
        or hasattr(kind, "__attrs_attrs__")
        or _is_pydantic(kind)
    )


def fields_of(value: Any) -> dict[str, Any]:
    """Constructor argument → value; fields that the constructor does not take are left out."""
    kind = type(value)
    if dataclasses.is_dataclass(kind):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(kind) if f.init}
    if isinstance(value, msgspec.Struct):
        return {name: getattr(value, name) for name in kind.__struct_fields__}
    if isinstance(value, tuple):
        return {name: getattr(value, name) for name in kind._fields}
    if hasattr(kind, "__attrs_attrs__"):
        return {a.alias: getattr(value, a.name) for a in kind.__attrs_attrs__ if a.init}
    return {name: getattr(value, name) for name in kind.model_fields}


def import_type(path: str) -> type:
    """The class recorded as `module:Qualified.Name`.

    Raises:
        StateError: It cannot be imported here, or is no record or enum.
    """
    module_name, _, names = path.partition(":")
    found: Any = sys.modules.get(module_name)
    try:
        found = found if found is not None else importlib.import_module(module_name)
        for name in names.split("."):
            found = getattr(found, name)
    except (ImportError, AttributeError, ValueError):
        raise StateError(
            what=f"the value was a {path}, which cannot be imported here",
            fix="load it as_=dict, or as_= a class with the same fields",
        ) from None
    if isinstance(found, type) and (is_record(found) or issubclass(found, enum.Enum)):
        return found
    raise StateError(what=f"{path} is no class of fields and is not called", fix="load it as_=dict")


def build(tag: str, path: str, content: Any) -> Any:
    """Make the enum member or record that JSON speaks of (see `json_language`).

    Raises:
        StateError: The type cannot be imported, or is not what it was.
        InvalidInputError: It has other fields now.
    """
    kind = import_type(path)
    if tag == "!enum":
        if not issubclass(kind, enum.Enum):
            raise StateError(what=f"{path} is no enum any more", fix="load it as_=dict")
        if content[0] not in kind.__members__:
            raise InvalidInputError(what=f"{path} has no member {content[0]!r} any more", fix="load it as_=dict")
        return kind[content[0]]
    return rebuild(kind, content)


def rebuild(kind: Any, fields: dict[str, Any]) -> Any:
    """Call the class with its fields.

    Raises:
        InvalidInputError: It does not take them.
    """
    try:
        return kind.model_validate(fields) if _is_pydantic(kind) else kind(**fields)
    except (TypeError, ValueError) as problem:
        raise InvalidInputError(
            what=f"{kind.__qualname__} does not take the recorded fields: {problem}", fix="load it as_=dict"
        ) from problem


def _is_pydantic(kind: type) -> bool:
    return hasattr(kind, "model_validate") and hasattr(kind, "model_fields")
