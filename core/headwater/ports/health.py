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


SKEW_SECONDS = 300.0
"""Clocks that differ by more make ages, and so clean-up, unreliable (and S3 refuses requests from 15 minutes on)."""


def examine_clock(name: str, there: float, here: float) -> Examined:
    """Two clocks, seconds since 1970."""
    skew = there - here
    if abs(skew) > SKEW_SECONDS:
        what = f"is {abs(skew):,.0f} s {'ahead of' if skew > 0 else 'behind'} this machine's"
        return Examined(name, False, what, "set the clock that is wrong (NTP)")
    return Examined(name, True, f"within {max(1, abs(round(skew)))} s of this machine's")
