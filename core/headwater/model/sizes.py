"""Sizes in words a person reads."""

from __future__ import annotations

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def size_in_words(n: int | None) -> str:
    """`870 B`, `3.4 MiB`, and `?` if unknown; three digits are always enough."""
    if n is None:
        return "?"
    value, unit = float(n), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{n} B" if unit == 0 else f"{value:.1f} {_UNITS[unit]}"
