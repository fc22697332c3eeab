"""Whose line a warning is about: the user's, not one of ours."""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path

_HERE = str(Path(__file__).parent)


def user_level() -> int:
    """The `stacklevel` with which `warnings.warn`, called by our caller, names the first line outside this package."""
    for level in count(1):
        try:
            frame = sys._getframe(level)  # noqa: SLF001  # warnings' own skip_file_prefixes is of Python 3.12
        except ValueError:  # all of it is ours
            return level - 1
        if not frame.f_code.co_filename.startswith(_HERE):
            return level
    raise AssertionError("unreachable: a stack ends")
