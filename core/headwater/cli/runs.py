"""`run ls`, `run show` and `lock`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.completion import complete_run
from headwater.cli.session import Session, Verb
from headwater.cli.shapes import run_json, time_json, version_json
from headwater.cli.text import facts, table, when
from headwater.errors import ConflictError
from headwater.version import Version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headwater.model.records import LogEdge, UseEdge
    from headwater.run import Run

LOCK_FILE = "headwater.lock"


@click.command(cls=Verb)
@click.option("--group", help="Only runs of this group.")
@click.option("--where", multiple=True, metavar="CONDITION", help="Such as 'summary.val_acc>=0.9'; repeatable.")
@click.option("--order", default="", metavar="FIELD", help="Sort by a field; a leading '-' turns it round.")
@click.option("--limit", type=click.IntRange(1), metavar="N", default=50, show_default=True, help="Most lines to show.")
@click.option("--all-projects", is_flag=True, help="Runs of every project.")
@click.pass_obj
def ls(session: Session, group: str | None, where: tuple[str, ...], order: str, limit: int, all_projects: bool) -> None:
    """List runs, newest first unless ordered."""
    found = session.repository.runs(group=group, where=where, order=order, limit=limit, all_projects=all_projects)
    session.emit({"runs": [run_json(run.record) for run in found]}, lambda: _runs(found))


def _runs(found: Sequence[Run]) -> str:
    rows = [
        (r.id, r.name, str(r.attempt), r.state, when(r.record.started_at), _took(r), _few(r.record.summary))
        for r in found
    ]
    head = ("run", "name", "attempt", "state", "started (UTC)", "took", "summary")
    return table(head, rows, right=("attempt", "took")) if rows else ""


def _took(run: Run) -> str:
    if run.record.finished_at is None:
        return ""
    seconds = (run.record.finished_at - run.record.started_at).total_seconds()
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds // 60)} min {int(seconds % 60)} s"


def _few(facts_: dict[str, Any]) -> str:
    shown = [f"{k}={json.dumps(v, ensure_ascii=False)}" for k, v in facts_.items()]
    text = " ".join(shown)
    return text if len(text) <= 60 else text[:59] + "…"


@click.command(cls=Verb)
@click.argument("run", metavar="ID|KEY", shell_complete=complete_run)
@click.pass_obj
def show(session: Session, run: str) -> None:
    """Show a run by its id, or the newest attempt under a key: its facts, what it used and what it logged."""
    found = session.repository.run(run)
    uses, logs = found.uses(), found.logs()
    document = {
        **run_json(found.record),
        "uses": [_use(edge, found) for edge in uses],
        "logs": [_log(edge, found) for edge in logs],
    }
    session.emit(document, lambda: _shown(found, uses, logs))


def _use(edge: UseEdge, run: Run) -> dict[str, Any]:
    version = version_json(Version(edge.version, run.home))
    return {"version": version, "role": edge.role, "asked": edge.asked, "at": time_json(edge.at)}


def _log(edge: LogEdge, run: Run) -> dict[str, Any]:
    version = version_json(Version(edge.version, run.home))
    return {"version": version, "role": edge.role, "kind": edge.kind, "at": time_json(edge.at)}


def _shown(run: Run, uses: Sequence[UseEdge], logs: Sequence[LogEdge]) -> str:
    record = run.record
    lines = [
        ("run", f"{record.name} ({record.id})"),
        ("key", f"{record.key}, attempt {record.attempt}"),
        ("state", record.state),
        ("error", record.error or ""),
        ("project", record.project),
        ("group", record.group or ""),
        ("parent", record.parent or ""),
        ("started", f"{when(record.started_at)} UTC by {record.actor} on {record.host}"),
        ("took", _took(run)),
        ("config", json.dumps(record.config, ensure_ascii=False) if record.config else ""),
        ("summary", json.dumps(record.summary, ensure_ascii=False) if record.summary else ""),
        ("code", " ".join(f"{k}={v}" for k, v in record.code.items() if isinstance(v, str | bool))),
        *((name, url) for name, url in record.links.items()),
        ("used", "\n".join(f"{Version(e.version, run.home)}{_role(e.role)}" for e in uses)),
        ("logged", "\n".join(f"{Version(e.version, run.home)}{_role(e.role)}  {e.kind}" for e in logs)),
    ]
    return facts(lines)


def _role(role: str | None) -> str:
    return f"  as {role}" if role else ""


@click.command(cls=Verb)
@click.argument("run", metavar="ID|KEY", shell_complete=complete_run)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False), default=LOCK_FILE, show_default=True, help="The file to write."
)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@click.pass_obj
def lock(session: Session, run: str, output: str, force: bool) -> None:
    """Write the exact versions that a run used to a lock file.

    In Python, inside `with headwater.pinned("headwater.lock"):` names mean exactly these.
    """
    from headwater.lookup import lock_of

    found = session.repository.run(run)
    document = lock_of(found.home, found.id)
    path = Path(output)
    if path.exists() and not force:
        raise ConflictError(what="a file is there already", where=output, fix="add --force to replace it")
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
    session.emit({"path": output, "lock": document}, lambda: f"{output} pins {len(document['names'])} names")
