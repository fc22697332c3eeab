"""Runs the pipeline three times and tells what happened, in words and one picture."""

from __future__ import annotations

import os
import shutil
import sys
import time
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

from rich.console import Console, Group
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.tree import Tree

import headwater as hw
from headwater.demo.ledger import Ledger, Sent
from headwater.demo.pictures import correct, write_digits
from headwater.errors import ConflictError, not_installed
from headwater.model.sizes import size_in_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headwater.model.graph import Branch

MARK = ".headwater-demo"
"""A folder with this file in it is the demo's own, and may be made anew."""
ARTIFACTS = ("digits", "training", "testing", "classifier", "scores")


def show(folder: Path, console: Console | None = None) -> None:
    """Make `folder` (anew, if an earlier demo made it), run the pipeline three times in it, and explain.

    Raises:
        ConflictError: The folder is there and not an earlier demo's.
        StateError: scikit-learn is not installed.
    """
    Tour(folder, console or Console()).run()


class Tour:
    """One telling: a folder, a repository in it, and a screen."""

    def __init__(self, folder: Path, console: Console) -> None:
        _require_sklearn()
        self.folder, self.console = folder, console
        _make_anew(folder)
        self.data = folder / "data" / "digits"
        hw.configure(url=str(folder / "repository"), project="demo")
        self.repository = hw.connect()
        self.ledger = Ledger(self.repository)
        self.before: dict[str, hw.Version] = {}

    def run(self) -> None:
        """The three runs, the lineage, and where to go from here."""
        began = time.perf_counter()
        count = write_digits(self.data)
        self._introduce(count)
        self._chapter(1, "The first run", "Four steps. Each says what it reads and makes; Headwater does the rest.")
        self._pipeline()
        stained = self._stained()
        self._chapter(
            2,
            "One picture changes",
            f"Somebody cleans {stained.relative_to(self.data)}. The same four steps run again.",
        )
        correct(stained)
        self._pipeline()
        self._what_changed()
        self._chapter(3, "Nothing changes", "And again, with the data as it was.")
        self._pipeline()
        self._lineage()
        self._farewell(time.perf_counter() - began)

    # -- one run -----------------------------------------------------------------
    def _pipeline(self) -> None:
        from headwater.demo.pipeline import evaluate, prepare, split, train

        prepare(self.data)
        split()
        train()
        evaluate()
        after = {name: self.repository.version(name) for name in ARTIFACTS}
        self.console.print(self._table(after))
        self.console.print("\n  [green]+[/][dim] a new version   = the bytes of the version before, so no new one[/]")
        self.console.print(_in_words(self.ledger.sent(), [v for n, v in after.items() if v != self.before.get(n)]))
        self.before = after

    def _table(self, after: dict[str, hw.Version]) -> Table:
        table = Table(box=None, padding=(0, 3, 0, 2), header_style="dim")
        for title in ("step", "read", "made", ""):
            table.add_column(title, no_wrap=True)
        runs = self.repository.runs(project="demo", limit=4)
        for run in sorted(runs, key=lambda run: run.record.started_at):
            read = [_short(version) for version in run.used_artifacts()] or ["data/digits/"]
            made = sorted(run.logged_artifacts(), key=lambda version: ARTIFACTS.index(version.record.artifact))
            for name, used, version in zip_longest([f"[bold]{run.name}[/]"], read, made, fillvalue=""):
                table.add_row(name, used, *self._made(version, after))
        return table

    def _made(self, version: hw.Version | str, after: dict[str, hw.Version]) -> tuple[str, str]:
        if isinstance(version, str):
            return "", ""
        name = version.record.artifact
        mark = "[green]+[/] [cyan]" if after[name] != self.before.get(name) else "[dim]= "
        return f"{mark}{_short(version)}[/]", _content(version)

    # -- the chapters ------------------------------------------------------------
    def _introduce(self, count: int) -> None:
        self.console.print(
            Panel(
                f"{count:,} pictures of handwritten digits lie in [bold]{escape(str(self.data))}[/].\n"
                "A pipeline learns to read them: [bold]prepare → split → train → evaluate[/].\n"
                "All it reads and makes is versioned in a folder with packs of bytes and\n"
                f"one SQLite file, [bold]{escape(str(self.folder / 'repository'))}[/]. No server, no account.",
                title="Headwater",
                title_align="left",
                padding=(1, 2),
                width=80,
            )
        )

    def _chapter(self, number: int, title: str, words: str) -> None:
        self.console.print(f"\n[bold reverse] {number} [/] [bold]{title}[/]\n[dim]{escape(words)}[/]\n")

    def _stained(self) -> Path:
        """The first picture of a three that the pipeline trains on."""
        return next(path for path in sorted((self.data / "3").iterdir()) if crc32(path.name.encode()) % 4)

    def _what_changed(self) -> None:
        digits = self.before["digits"]
        diff = self.repository.version("digits:v0").diff(digits)
        changed = ", ".join(f"{new.path} changed" for _, new in diff.changed)
        self.console.print(f"  digits:v0 → {_short(digits)}: {escape(changed)}")

    def _lineage(self) -> None:
        scores = self.before["scores"]
        graph = scores.upstream()
        picture = self.folder / "lineage.svg"
        picture.write_text(graph.to_svg(downward=True))
        self.console.print("\n[bold]Where do these scores come from?[/]\n")
        for branch in graph.tree():
            self.console.print(_tree(branch))
        self.console.print(f"\n  The same as a picture, for any browser: [bold]{escape(str(picture))}[/]\n")

    def _farewell(self, seconds: float) -> None:
        url = escape(str(self.folder / "repository"))
        lines = (
            f"[dim]That took {seconds:.0f} seconds. Look around:[/]",
            *_activation(),
            f"export HEADWATER_URL={url} HEADWATER_PROJECT=demo",
            "headwater artifact ls",
            "headwater lineage classifier",
            "headwater artifact diff digits:v0 digits:v1",
            "headwater artifact get digits:v0 ./as-it-was",
        )
        self.console.print(Panel(Group(*lines), title="Your turn", title_align="left", padding=(1, 2), width=80))


def _activation() -> list[str]:
    """How to have `headwater` at hand, where it was started without its virtual environment being active."""
    inside = sys.prefix != sys.base_prefix and "VIRTUAL_ENV" not in os.environ
    return [f". {escape(os.path.relpath(sys.prefix))}/bin/activate"] if inside and os.name == "posix" else []


def _require_sklearn() -> None:
    from importlib.util import find_spec

    if find_spec("sklearn") is None:
        raise not_installed("the demo", "scikit-learn", "demo")


def _make_anew(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARK).is_file():
            raise ConflictError(what="the folder is not empty", where=folder, fix="name another: headwater demo FOLDER")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).write_text("Made by `headwater demo`, which may delete this folder when it runs again.\n")


def _short(version: hw.Version) -> str:
    return f"{version.record.artifact}:{version.version}"


def _content(version: hw.Version) -> str:
    if version.type == "metrics":
        return f"accuracy {version.load()['accuracy']:.1%}"
    files = "1 file" if version.record.n_entries == 1 else f"{version.record.n_entries:,} files"
    return f"{files}, {size_in_words(version.size)}"


def _in_words(sent: Sent, made: Sequence[hw.Version]) -> str:
    if not made:
        return "  [green]No new version, and nothing sent: everything was there already.[/]"
    files = sum(version.record.n_entries for version in made)
    logged = size_in_words(sum(version.size or 0 for version in made))
    new, manifests = size_in_words(sent.file_bytes), size_in_words(sent.manifest_bytes)
    return (
        f"  The new versions hold {files:,} files, {logged}.\n"
        f"  [green]Sent: {sent.files:,} files, {new}, and manifests, {manifests}, in {sent.puts} writes.[/]"
    )


def _tree(branch: Branch) -> Tree:
    top = Tree(_label(branch), guide_style="dim")
    stack = [(branch, top)]
    while stack:
        at, node = stack.pop()
        for step in at.steps:
            run = node.add(f"made by [bold]{escape(step.run.name)}[/]")
            stack += [(child, run.add(_label(child))) for child in step.branches]
    return top


def _label(branch: Branch) -> str:
    version = branch.version
    facts = f"{version.type}, {size_in_words(version.stored_size)}{', see above' * branch.again}"
    return f"[cyan]{escape(version.artifact)}:v{version.number}[/] [dim]{facts}[/]"
