"""Importing a user's library when a load needs it, with an error that says what to install."""

from __future__ import annotations

import importlib
from typing import Any

from headwater.errors import not_installed

_EXTRA = {"numpy": "numpy", "pandas": "pandas", "polars": "polars", "pyarrow": "arrow"}


def load_library(module: str) -> Any:
    """Import and return `module`.

    Raises:
        StateError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as problem:
        root = module.partition(".")[0]
        if problem.name is None or problem.name.partition(".")[0] != root:
            raise
        raise not_installed("this", root, _EXTRA.get(root, root)) from None
