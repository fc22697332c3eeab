"""Durations and shares as people write them: `90s`, `30m`, `12h`, `30d`, `2w`; `1%`, `0.01`."""

from __future__ import annotations

import re
from typing import Any

import click

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])\Z")


class Duration(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic since click 8.4
    """An option's value as seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds; a usage error for what is no duration."""
        if isinstance(value, int | float):
            return float(value)
        match = _FORM.match(value.strip().lower())
        if not match:
            self.fail(f"{value!r} is no duration: write 30d, 12h, 90m or 2w", param, ctx)
        return float(match[1]) * _UNITS[match[2]]


class Share(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic since click 8.4
    """An option's value as a number from 0 to 1."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The share; a usage error for what is none."""
        text = str(value).strip()
        try:
            found = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            found = -1.0
        if not 0 <= found <= 1:
            self.fail(f"{value!r} is no share: write 1%, or 0.01", param, ctx)
        return found


def in_words(seconds: float) -> str:
    """`30d`, `12h`, `90s`: the largest unit that says it whole."""
    for unit in ("w", "d", "h", "m"):
        if seconds >= _UNITS[unit] and seconds % _UNITS[unit] == 0 and not (unit == "w" and seconds < 4 * _UNITS["w"]):
            return f"{int(seconds // _UNITS[unit])}{unit}"
    return f"{seconds:g}s"
