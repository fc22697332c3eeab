"""What a type annotation asks for, as plain classes.

::

    Annotated[list[int], …]  →  (list,)
    pd.DataFrame | None      →  (DataFrame, NoneType)
    Any, object, a TypeVar   →  ()          anything will do
"""

from __future__ import annotations

import types
import typing
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin


def candidates(form: Any) -> tuple[type, ...]:
    """The classes a value of the annotation may have; empty where it says nothing.

    Generic arguments are dropped: `dict[str, float]` gives `(dict,)`.
    """
    form = unwrap(form)
    if form is None or form is Any or form is object:
        return ()
    origin = get_origin(form)
    if origin is Union or origin is types.UnionType:
        members = [type(None) if member is type(None) else member for member in get_args(form)]
        parts = [candidates(member) for member in members]
        return tuple(dict.fromkeys(c for part in parts for c in part)) if all(parts) else ()
    if origin is Literal:
        return tuple(dict.fromkeys(type(value) for value in get_args(form)))
    found = origin if origin is not None else form
    return (found,) if isinstance(found, type) else ()


def unwrap(form: Any) -> Any:
    """Take off `Annotated`, `NewType`, type aliases and type variables."""
    while True:
        if get_origin(form) is Annotated:
            form = get_args(form)[0]
        elif isinstance(form, typing.NewType):
            form = form.__supertype__
        elif isinstance(form, TypeVar):
            form = form.__bound__
        elif type(form).__name__ == "TypeAliasType":  # typing's from 3.12, typing_extensions' before
            form = form.__value__
        else:
            return form


def library(kind: type) -> str:
    """The top-level module that defines a class: `pandas` for `pandas.core.frame.DataFrame`."""
    return str(getattr(kind, "__module__", "")).partition(".")[0]


def type_path(kind: type) -> str:
    """How a class is recorded: `module:Qualified.Name`."""
    return f"{kind.__module__}:{kind.__qualname__}"


def shown(form: Any) -> str:
    """The annotation as a reader would write it, for messages."""
    if not isinstance(form, type) or get_args(form):
        return str(form).removeprefix("typing.")
    if form.__module__ == "builtins":
        return form.__qualname__
    return f"{library(form)}.{form.__qualname__}"
