"""What Prefect's pages show of a run: a link and a table on the task's node, events in the feed.

Prefect calls these annotations "artifacts"; they are no artifacts of Headwater's.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from prefect.client.schemas.actions import ArtifactCreate
from prefect.events import emit_event

from headwater import NotFoundError, Repository, Run, Version
from headwater.adapter import default_repository, run_id
from prefect_headwater import postman
from prefect_headwater.feed import describe
from prefect_headwater.identity import attempt_of, task_key
from prefect_headwater.settings import settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prefect.client.schemas.objects import TaskRun

MAX_ROWS = 100
"""Most versions a table shows of either verb."""


def show_task_run(task_run: TaskRun) -> None:
    """Show what the run of a task run used and logged; nothing, if it did neither."""
    wanted = settings()
    if not (wanted.artifacts or wanted.events):
        return
    repo = default_repository()
    try:
        run = repo.run(run_id(repo.id, task_key(task_run.id), attempt_of(task_run)))
    except NotFoundError:
        return
    used, logged = run.uses(), run.logs()
    announce(repo, [Version(e.version, repo.home) for e in logged if e.kind == "created"])
    if wanted.artifacts and (used or logged or run.state == "cached"):
        rows = [_row("used", edge) for edge in used[:MAX_ROWS]] + [_row("logged", edge) for edge in logged[:MAX_ROWS]]
        _annotate(task_run, run, rows)


def announce(repo: Repository, versions: Sequence[Version[Any]]) -> None:
    """An event for each new version; drafts are told when they are published."""
    if settings().events:
        for version in versions:
            if version.state == "published":
                emit_event(**describe(repo, version, "published"))


def run_page(run: Run) -> str:
    """Markdown that leads to the run: its page where a server has one, else the command that shows it."""
    if urlsplit(run.home.url).scheme in ("http", "https"):
        return f"[Headwater run of {run.name}]({run.home.url.rstrip('/')}/runs/{run.id})"
    return f"Headwater run of **{run.name}**: `headwater run show {run.id}`"


def _row(verb: str, edge: Any) -> dict[str, Any]:
    version = edge.version
    number = "draft" if version.number is None else f"v{version.number}"
    again = " (again)" if getattr(edge, "kind", "") == "reproduced" else ""
    return {
        "": verb + again,
        "artifact": f"{version.project}/{version.artifact}" + (f"[{version.partition}]" if version.partition else ""),
        "version": number,
        "type": version.type,
        "role": edge.role or "",
        "bytes": version.stored_size + (version.referenced_size or 0),
        "digest": version.digest,
    }


def _annotate(task_run: TaskRun, run: Run, rows: list[dict[str, Any]]) -> None:
    slug = "headwater-" + (re.sub(r"[^a-z0-9]+", "-", run.name.lower()).strip("-") or "run")
    reused = run.summary.get("reused")
    text = run_page(run) + (f" (cached: reuses {', '.join(reused)})" if reused else "")
    created = [("markdown", f"{slug}-link", text)]
    if rows:
        created.append(("table", slug, json.dumps(rows)))
    postman.send(
        [
            ArtifactCreate(
                key=key,
                type=kind,
                data=data,
                description=f"What Headwater recorded of {run.name}",
                task_run_id=task_run.id,
                flow_run_id=task_run.flow_run_id,
            )
            for kind, key, data in created
        ]
    )
