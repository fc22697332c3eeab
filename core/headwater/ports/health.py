"""What can be said of a part of a set-up, in words for people."""

from __future__ import annotations

from typing import NamedTuple


class Examined(NamedTuple):
    """One thing that was looked at."""

    name: str
    ok: bool
    what: str
    fix: str = ""
    exit_code: int = 6
    """What the command line ends with if this is the first thing wrong."""
