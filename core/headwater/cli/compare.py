"""`artifact diff` and `status`: what changed; exit code 1 says that something did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from headwater.cli.completion import complete_name
from headwater.cli.session import Session, Verb, clean
from headwater.cli.text import count
from headwater.model.sizes import size_in_words

if TYPE_CHECKING:
    from headwater.checking import CheckReport
    from headwater.diff import Diff, LineageDiff
    from headwater.status import FolderStatus

DIFFERS = 1
"""Exit code."""


@click.command(cls=Verb)
@click.argument("old", shell_complete=complete_name)
@click.argument("new", required=False, shell_complete=complete_name)
@click.option("--lineage", is_flag=True, help="Compare also inputs, config and code of the two runs that made them.")
@click.pass_obj
def diff(session: Session, old: str, new: str | None, lineage: bool) -> None:
    """Show what changed from the version OLD to the version NEW; by default to the newest of the same artifact."""
    before = session.repository.version(old)
    after = session.repository.version(new) if new else session.repository.version(before.name)
    found = before.diff(after, lineage=lineage)
    session.emit(found.to_json(), lambda: _diff(found))
    if found:
        click.get_current_context().exit(DIFFERS)


def _diff(found: Diff) -> str:
    lines = [_mark("+", f"{e.path}  {size_in_words(e.size)}") for e in found.added]
    lines += [_mark("-", f"{e.path}  {size_in_words(e.size)}") for e in found.removed]
    lines += [_mark("~", f"{a.path}  {size_in_words(a.size)} → {size_in_words(b.size)}") for a, b in found.changed]
    lines += [_mark(">", f"{r.old.path} → {r.new.path}") for r in found.renamed]
    if found.lineage is not None:
        lines += _lineage(found.lineage)
    summary = (
        f"{found.old} → {found.new}: {len(found.added):,} added, {len(found.removed):,} removed, "
        f"{len(found.changed):,} changed, {len(found.renamed):,} renamed"
    )
    return "\n".join([*lines, summary])


def _lineage(found: LineageDiff) -> list[str]:
    lines = []
    for title, changes in (("inputs", found.inputs), ("config", found.config), ("code", found.code)):
        lines += [f"{title}: {clean(str(name))}: {_side(a)} → {_side(b)}" for name, (a, b) in changes.items()]
    return lines


def _side(value: Any) -> str:
    return "nothing" if value is None else clean(str(value)).partition("\n")[0]


@click.command(cls=Verb)
@click.argument("name", shell_complete=complete_name)
@click.argument("folder", metavar="DIR", type=click.Path())
@click.option("--ignore", multiple=True, metavar="PATTERN", help="Files that do not count, as in .gitignore.")
@click.pass_obj
def status(session: Session, name: str, folder: str, ignore: tuple[str, ...]) -> None:
    """Show what changed in the directory DIR since the version NAME; files known to be unchanged are not read."""
    from headwater.status import compare_folder

    version = session.repository.version(name)
    with session.progress() as progress:
        found = compare_folder(version, folder, ignore=ignore, progress=progress)
    document = {
        "version": str(version),
        "path": folder,
        "added": list(found.added),
        "changed": list(found.changed),
        "removed": list(found.removed),
        "unverified": list(found.unverified),
        "same": found.same,
    }
    session.emit(document, lambda: _status(str(version), folder, found))
    if found:
        click.get_current_context().exit(DIFFERS)


@click.command(cls=Verb)
@click.argument("name", shell_complete=complete_name)
@click.option("--prefix", default="", help="Only references below this path of the version.")
@click.pass_obj
def check(session: Session, name: str, prefix: str) -> None:
    """Ask whether everything the version NAME points at is still as it was recorded; exit code 1 if not."""
    with session.progress() as progress:
        report = session.repository.check(name, prefix=prefix, progress=progress)
    document = {
        "version": report.version,
        "ok": report.ok,
        "references": report.n_references,
        "counts": report.counts,
        "drifts": [
            {"path": d.path, "uri": d.uri, "outcome": d.outcome, "recorded": d.recorded, "found": d.found}
            for d in report.drifts
        ],
    }
    session.emit(document, lambda: _check(report))
    if not report.ok:
        click.get_current_context().exit(DIFFERS)


def _check(report: CheckReport) -> str:
    lines = [
        _mark("?" if d.outcome == "unverified" else "-" if d.outcome == "missing" else "~", f"{d.outcome:<14} {d.uri}")
        + (f"  ({clean(d.found)})" if d.found else "")
        for d in report.drifts
    ]
    if not report.n_references:
        return f"{report.version} points at nothing outside"
    told = ", ".join(f"{n:,} {outcome}" for outcome, n in report.counts.items())
    return "\n".join([*lines, f"{report.version}: {count(report.n_references, 'reference')}: {told}"])


def _status(version: str, folder: str, found: FolderStatus) -> str:
    lines = [_mark("+", path) for path in found.added]
    lines += [_mark("~", path) for path in found.changed]
    lines += [_mark("-", path) for path in found.removed]
    lines += [_mark("?", path) for path in found.unverified]
    if not found:
        return "\n".join([*lines, f"{folder} is {version} ({count(found.same, 'entry')})"])
    summary = f"{len(found.added):,} added, {len(found.changed):,} changed, {len(found.removed):,} removed"
    return "\n".join([*lines, f"{folder} differs from {version}: {summary}"])


def _mark(sign: str, text: str) -> str:
    colour = {"+": "green", "-": "red", "~": "yellow", ">": "cyan", "?": "magenta"}[sign]
    return click.style(f"{sign} ", fg=colour) + clean(text).replace("\n", " ")
