"""Progress of long work: bars with rates on a terminal, plain lines now and then elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from headwater.model.sizes import size_in_words

if TYPE_CHECKING:
    from headwater.ports import Progress

QUIET_SECONDS = 0.5
"""Work that is done sooner shows nothing."""
REDRAW_EVERY = 0.1
"""Seconds between pictures of the bars."""
LINE_EVERY = 5.0
"""Seconds between plain lines."""
COUNTED = frozenset({"packs", "versions", "entries", "references", "files", "blobs", "pages", "objects"})
"""Stages that count things; all others count bytes."""


@contextlib.contextmanager
def reporter() -> Iterator[Progress]:
    """A `progress(stage, done, total)` that shows itself on standard error."""
    if sys.stderr.isatty():
        with _bars() as report:
            yield report
    else:
        lines = PlainLines()
        yield lines
        lines.finish()


class PlainLines:
    """One line per stage every few seconds, and a last one with the rate, for logs."""

    def __init__(self) -> None:
        self._stages: dict[str, tuple[float, int, int | None]] = {}
        self._spoken = time.monotonic()
        self._shown: set[str] = set()

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        begun = self._stages[stage][0] if stage in self._stages else now
        self._stages[stage] = (begun, done, total)
        if now - self._spoken >= LINE_EVERY:
            self._spoken = now
            self._shown.add(stage)
            click.echo(line(stage, done, total, now - begun), err=True)

    def finish(self) -> None:
        """Say how the stages ended that were spoken of."""
        now = time.monotonic()
        for stage in self._shown:
            begun, done, total = self._stages[stage]
            click.echo(line(stage, done, total, now - begun), err=True)


def line(stage: str, done: int, total: int | None, seconds: float) -> str:
    """`send 1.0 GiB of 2.0 GiB (50 %), 120.0 MiB/s`."""
    show = _count if stage in COUNTED else size_in_words
    of = f" of {show(total)} ({100 * done // total} %)" if total else ""
    rate = f", {show(int(done / seconds))}/s" if seconds > 0 else ""
    return f"{stage} {show(done)}{of}{rate}"


def _count(n: int) -> str:
    return f"{n:,}"


@contextlib.contextmanager
def _bars() -> Iterator[Progress]:
    from rich import progress as rich
    from rich.console import Console
    from rich.text import Text

    begun: dict[str, float] = {}

    class Amount(rich.ProgressColumn):
        """What is done, of what, and how fast."""

        def render(self, task: Any) -> Text:
            """The column's text."""
            stage, total = task.description, None if task.total is None else int(task.total)
            said = line(stage, int(task.completed), total, time.monotonic() - begun[stage]).removeprefix(stage + " ")
            return Text(said, style="progress.data.speed", no_wrap=True)

    columns = (rich.SpinnerColumn(), rich.TextColumn("{task.description}"), rich.BarColumn(24), Amount(),
               rich.TimeRemainingColumn())  # fmt: skip
    bars = rich.Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False)
    tasks: dict[str, rich.TaskID] = {}
    opened = drawn = time.monotonic()

    def report(stage: str, done: int, total: int | None) -> None:
        nonlocal drawn
        now = time.monotonic()
        begun.setdefault(stage, now)
        if now - opened < QUIET_SECONDS:
            return
        if not bars.live.is_started:
            bars.start()
        if stage not in tasks:
            tasks[stage] = bars.add_task(stage, total=total)
        bars.update(tasks[stage], completed=done, total=total)
        if now - drawn > REDRAW_EVERY:  # drawn from the caller's thread: a refresh thread would not survive a fork
            drawn = now
            bars.refresh()

    try:
        yield report
    finally:
        if bars.live.is_started:
            bars.stop()
