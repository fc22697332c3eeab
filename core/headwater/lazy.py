"""Public names that load when they are first touched.

A file that declares a pipeline (`hw.Log`, `hw.Use`, an annotation) is read far more often
than it is run: Airflow's DAG processor reads it every half minute. It must not pay for
uploads, downloads and catalogs, which only a running step needs.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def lend(module: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a module that gives names which live elsewhere in the package.

    Args:
        module: Its `__name__`, while it is being imported.
        homes: Module below `headwater` → the names it lends, with blanks between them.
    """
    lent = {name: f"headwater.{home}" for home, names in homes.items() for name in names.split()}
    front = sys.modules[module]
    front.__dict__["__lent__"] = frozenset(lent)
    front.__class__ = Front

    def load(name: str) -> Any:
        if name not in lent:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        front.__dict__[name] = found = getattr(import_module(lent[name]), name)
        return found

    return load


class Front(ModuleType):
    """A module whose names are lent by others."""

    def __setattr__(self, name: str, value: object) -> None:
        """`headwater.connect` is the verb: a first import of the module of that name must not take its place."""
        if not (isinstance(value, ModuleType) and name in self.__dict__["__lent__"]):
            super().__setattr__(name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        """By name, as cloudpickle takes plain modules: a function sent to another process may hold `hw`."""
        return import_module, (self.__name__,)

    def __dir__(self) -> list[str]:
        return sorted({*self.__dict__["__lent__"], *(name for name in self.__dict__ if name.startswith("__"))})
