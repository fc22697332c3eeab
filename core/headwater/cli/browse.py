"""`artifact ls`, `show`, `history`, `rm`: looking at what there is."""

from __future__ import annotations

import json
import sys
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.completion import complete_artifact, complete_name
from headwater.cli.session import Session, Verb
from headwater.cli.shapes import artifact_json, event_json, version_json
from headwater.cli.text import count, facts, table, when
from headwater.errors import InvalidInputError
from headwater.model.entries import ReferenceEntry, entry_json
from headwater.model.naming import LATEST, parse_name
from headwater.model.sizes import size_in_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headwater.artifactinfo import ArtifactInfo
    from headwater.model.manifest import Entry
    from headwater.model.records import Event
    from headwater.version import Version

SHOWN = 20
"""Entries that `show` lists unless asked for all."""


@click.command(cls=Verb)
@click.argument("name", required=False, shell_complete=complete_artifact)
@click.option("--type", "type_", help="Only artifacts of this type.")
@click.option("--where", multiple=True, metavar="CONDITION", help="Such as 'metadata.rows>1000', tag=gold; repeatable.")
@click.option("--order", default="", metavar="FIELD", help="Sort by a field; a leading '-' turns it round.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Most lines to show.")
@click.option("--all-projects", is_flag=True, help="Artifacts of every project.")
@click.option("--partitions", is_flag=True, help="The partitions of NAME instead of its versions.")
@click.option("--deleted", is_flag=True, help="Also versions that were deleted.")
@click.pass_obj
def ls(
    session: Session, name: str | None, type_: str | None, where: tuple[str, ...], order: str, limit: int | None,
    all_projects: bool, partitions: bool, deleted: bool,
) -> None:  # fmt: skip
    """List artifacts, or the versions of the artifact NAME; "PROJECT/" lists the artifacts of a project."""
    repository = session.repository
    if name is None or name.endswith("/"):
        project = name.rstrip("/") if name else None
        found = repository.artifacts(
            project=project, type=type_, where=where, order=order, limit=limit, all_projects=all_projects
        )
        session.emit({"artifacts": [artifact_json(a) for a in found]}, lambda: _artifacts(found))
        return
    info = repository.artifact(name)
    if partitions:
        parts = info.partitions()[:limit]
        session.emit({"partitions": [artifact_json(p) for p in parts]}, lambda: _artifacts(parts))
        return
    versions = info.versions(where=where, order=order, limit=limit, deleted=deleted)
    if not versions and info.record.n_partitions:
        session.note(f"its versions are in {count(info.record.n_partitions, 'partition')}: --partitions lists them")
    session.emit(
        {"artifact": artifact_json(info), "versions": [version_json(v) for v in versions]}, lambda: _versions(versions)
    )


def _options(codec: dict[str, Any]) -> str:
    return " ".join(f"{key}={_value(value)}" for key, value in (codec.get("options") or {}).items())


def _artifacts(found: Sequence[ArtifactInfo]) -> str:
    rows = [
        (a.name, a.type, str(a.record.n_versions), "" if a.record.latest is None else f"v{a.record.latest}",
         str(a.record.n_partitions or ""), when(a.record.updated_at), " ".join(a.tags))
        for a in found
    ]  # fmt: skip
    head = ("artifact", "type", "versions", "latest", "partitions", "updated (UTC)", "tags")
    return table(head, rows, right=("versions", "partitions")) if rows else ""


def _versions(found: Sequence[Version[Any]]) -> str:
    rows = [
        (v.version if v.state == "published" else f"{v.version} ({v.state})", f"{v.record.n_entries:,}",
         size_in_words(v.size), when(v.created_at), v.record.created_by, " ".join(v.aliases), " ".join(v.tags))
        for v in found
    ]  # fmt: skip
    head = ("version", "entries", "size", "logged (UTC)", "by", "aliases", "tags")
    return table(head, rows, right=("entries", "size")) if rows else ""


@click.command(cls=Verb)
@click.argument("name", shell_complete=complete_name)
@click.option("--at", metavar="TIME", help="What the name meant then, such as 2026-01-31 or 2026-01-31T12:00:00Z.")
@click.option("--files", is_flag=True, help="List every entry, not only the first few.")
@click.option("--prefix", default="", help="Only this path and what is below it.")
@click.pass_obj
def show(session: Session, name: str, at: str | None, files: bool, prefix: str) -> None:
    """Show the version that NAME means: its facts and its entries."""
    version = session.repository.version(name, at=at)
    prefix = prefix or parse_name(name).path
    deleted = version.state in ("deleted", "discarded")
    entries = iter(()) if deleted else version.entries(prefix)
    shown = list(entries if files or prefix else islice(entries, SHOWN))
    document = {**version_json(version), "files": [entry_json(e) for e in shown]}
    document["files_complete"] = bool(files or len(shown) == version.record.n_entries)
    session.emit(document, lambda: _shown(version, shown, whole=bool(files or prefix)))


def _shown(version: Version[Any], entries: Sequence[Entry], *, whole: bool) -> str:
    record = version.record
    run = version.logged_by()
    text = facts(
        (
            ("version", str(version)),
            ("type", record.type),
            ("state", "" if record.state == "published" else record.state),
            ("content", f"{count(record.n_entries, 'entry')}, {size_in_words(version.size)}"),
            ("digest", record.digest),
            ("aliases", " ".join(version.aliases)),
            ("tags", " ".join(version.tags)),
            ("about", version.description),
            ("metadata", json.dumps(version.metadata, ensure_ascii=False) if version.metadata else ""),
            ("value", f"{record.codec['name']} {_options(record.codec)}".strip() if record.codec else ""),
            ("logged", f"{when(record.created_at)} UTC by {record.created_by}"),
            ("run", f"{run.name} ({run.id})" if run else ""),
        )
    )
    rows = [_row(entry) for entry in entries]
    more = record.n_entries - len(rows)
    listed = "\n\n" + table(("path", "size", "content"), rows, right=("size",)) if rows else ""
    return text + listed + (f"\n… and {more:,} more (--files)" if more > 0 and rows and not whole else "")


def _row(entry: Entry) -> tuple[str, str, str]:
    if isinstance(entry, ReferenceEntry):
        return entry.path, size_in_words(entry.size), f"{entry.uri} (pinned by {entry.pin.strength})"
    return entry.path, size_in_words(entry.size), str(entry.digest)[:23] + ("  executable" if entry.executable else "")


@click.command(cls=Verb)
@click.argument("name", shell_complete=complete_name)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the newest so many.")
@click.pass_obj
def history(session: Session, name: str, limit: int | None) -> None:
    """Show every change of an artifact, or of one version (NAME with a suffix), oldest first."""
    whole = ":" not in name and "@" not in name
    events = session.repository.artifact(name).history() if whole else session.repository.version(name).history()
    events = events[-limit:] if limit else events
    session.emit({"events": [event_json(e) for e in events]}, lambda: _events(events))


def _events(events: Sequence[Event]) -> str:
    rows = [
        (when(e.at), e.kind, "" if e.number is None else f"v{e.number}", e.actor,
         " ".join(f"{k}={_value(v)}" for k, v in e.details.items() if v is not None and not k.endswith("_id")))
        for e in events
    ]  # fmt: skip
    return table(("when (UTC)", "what", "version", "who", "details"), rows) if rows else ""


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@click.command(cls=Verb)
@click.argument("name", shell_complete=complete_name)
@click.option("--delete-aliases", is_flag=True, help="Also if aliases other than latest point at it.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def rm(session: Session, name: str, delete_aliases: bool, yes: bool) -> None:
    """Delete the version NAME (with its suffix); its number, lineage and facts stay as a tombstone."""
    if parse_name(name).selector == LATEST and ":" not in name:
        raise InvalidInputError(what=f"{name} does not say which version", fix=f"write {name}:v3, or {name}:latest")
    version = session.repository.version(name)
    if not yes and not session.as_json and sys.stdin.isatty():
        click.confirm(f"Delete {version} ({size_in_words(version.size)})?", abort=True, err=True)
    version.delete(delete_aliases=delete_aliases)
    session.emit({"deleted": version_json(version)}, lambda: f"deleted {version}")
