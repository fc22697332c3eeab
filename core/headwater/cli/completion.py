"""Names for shell completion: quick, silent, and never making a repository."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click
from click.shell_completion import CompletionItem

from headwater import settings

if TYPE_CHECKING:
    from headwater.repository import Repository

LIMIT = 200
"""Most names to offer."""


def complete_name(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Artifacts; after a colon the aliases and versions of one."""
    return [CompletionItem(name) for name in _collected(ctx, incomplete, versions=True)]


def complete_artifact(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Artifacts without a suffix."""
    return [CompletionItem(name) for name in _collected(ctx, incomplete, versions=False)]


def complete_project(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Projects that hold artifacts."""
    try:
        with _existing(ctx) as repository:
            names = {a.record.project for a in repository.artifacts(all_projects=True)}
    except Exception:  # noqa: BLE001  # a completion that fails must not disturb the line being typed
        return []
    return [CompletionItem(name) for name in sorted(names) if name.startswith(incomplete)]


def complete_run(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Ids of the newest runs, with what they are called."""
    try:
        with _existing(ctx) as repository:
            runs = repository.runs(limit=LIMIT, all_projects=True)
    except Exception:  # noqa: BLE001  # as above
        return []
    return [CompletionItem(r.id, help=f"{r.name} {r.state}") for r in runs if r.id.startswith(incomplete)]


def _collected(ctx: click.Context, incomplete: str, *, versions: bool) -> list[str]:
    try:
        with _existing(ctx) as repository:
            found = _selectors(repository, incomplete) if versions and ":" in incomplete else _artifacts(repository)
            return [name for name in found if name.startswith(incomplete)][:LIMIT]
    except Exception:  # noqa: BLE001  # as above
        return []


def _artifacts(repository: Repository) -> Iterator[str]:
    current = repository.home.project
    for artifact in repository.artifacts(all_projects=True):
        yield artifact.name
        if artifact.record.project == current:
            yield artifact.name.removeprefix(current + "/")


def _selectors(repository: Repository, incomplete: str) -> Iterator[str]:
    bare = incomplete.partition(":")[0]
    versions = repository.artifact(bare).versions(limit=LIMIT)
    for version in versions:
        yield from (f"{bare}:{alias}" for alias in version.aliases)
    yield from (f"{bare}:{version.version}" for version in versions)


def _existing(ctx: click.Context) -> Repository:
    """The repository that the line means; an embedded one only if it is there."""
    from headwater.connect import connect

    url = ctx.params.get("url") or settings.current().url
    if urlsplit(url).scheme in ("", "file") and not Path(url.removeprefix("file://")).expanduser().exists():
        raise click.ClickException("there is no repository yet")
    return connect(url, project=ctx.params.get("project"))
