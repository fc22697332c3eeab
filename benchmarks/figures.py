"""What a benchmark reports: figures, some with a target, printed as a table or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured value; `target` is the promise it is held against, in words."""

    what: str
    value: float
    unit: str = "s"
    target: str = ""
    holds: bool | None = None
    note: str = ""

    def written(self) -> str:
        """The value with its unit, at a precision a reader can use."""
        if self.unit in ("", "times"):
            return f"{self.value:,.2f}×" if self.unit == "times" else f"{self.value:,.1f}".removesuffix(".0")
        digits = 0 if self.value >= 100 else 1 if self.value >= 10 else 2
        return f"{self.value:,.{digits}f} {self.unit}"


def at_most(what: str, value: float, limit: float, unit: str = "s", note: str = "") -> Figure:
    """A figure that should stay at or under `limit`."""
    return Figure(
        what=what, value=value, unit=unit, target=f"≤ {limit:.3g} {unit}".strip(), holds=value <= limit, note=note
    )


def faster(what: str, ours: float, theirs: float, times: float, note: str = "") -> Figure:
    """How many times faster we are, held against how many times we should be."""
    ratio = theirs / ours
    return Figure(what=what, value=ratio, unit="times", target=f"≥ {times:g}×", holds=ratio >= times, note=note)


def print_table(groups: Iterable[tuple[str, list[Figure]]]) -> None:
    """One table per benchmark, misses in red."""
    console = Console()
    if not console.is_terminal:
        console.width = 130
    for title, figures in groups:
        table = Table(title=title, title_justify="left", title_style="bold", header_style="dim", expand=False)
        for name, justify in (
            ("figure", "left"),
            ("value", "right"),
            ("target", "right"),
            ("", "left"),
            ("note", "left"),
        ):
            table.add_column(name, justify=justify)  # type: ignore[arg-type]
        for figure in figures:
            verdict = {None: "", True: "[green]holds[/]", False: "[red]missed[/]"}[figure.holds]
            table.add_row(figure.what, figure.written(), figure.target, verdict, figure.note)
        console.print(table)


def to_json(groups: Iterable[tuple[str, list[Figure]]], machine: dict[str, str]) -> str:
    """The same, for programs."""
    return json.dumps({"machine": machine, "benchmarks": {t: [asdict(f) for f in fs] for t, fs in groups}}, indent=1)
