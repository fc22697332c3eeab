"""How results look in a terminal: aligned tables, counts, times."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import click

from headwater.cli.session import clean


def when(at: datetime | None) -> str:
    """`2026-01-31 12:00:05` in UTC; empty for None."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if at is not None else ""


def count(n: int, noun: str) -> str:
    """`1 file`, `2 files`, `1,204 entries`."""
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{n:,} {noun if n == 1 else plural}"


def width(text: str) -> int:
    """Columns that a terminal gives the text: wide scripts take two, combining marks none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str] = ()) -> str:
    """Columns aligned with spaces; those named in `right` at their right edge. One line per row."""
    lines = [tuple(head), *(tuple(clean(cell).replace("\n", " ") for cell in row) for row in rows)]
    widths = [max(width(line[at]) for line in lines) for at in range(len(head))]
    drawn = []
    for number, line in enumerate(lines):
        cells = [_pad(cell, widths[at], to_right=head[at] in right) for at, cell in enumerate(line)]
        text = "  ".join(cells).rstrip()
        drawn.append(click.style(text, dim=True) if number == 0 else text)
    return "\n".join(drawn)


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """`name   value` lines; pairs without a value are left out."""
    kept = [(name, clean(value)) for name, value in pairs if value]
    longest = max((len(name) for name, _ in kept), default=0)
    return "\n".join(
        click.style(f"{name:<{longest}}  ", dim=True) + value.replace("\n", "\n" + " " * (longest + 2))
        for name, value in kept
    )


def _pad(cell: str, to: int, *, to_right: bool) -> str:
    blank = " " * (to - width(cell))
    return blank + cell if to_right else cell + blank
