"""`artifact put` and `get`: files into a version, a version into files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
import msgspec

from headwater.cli.completion import complete_artifact, complete_name
from headwater.cli.session import Session, Verb, clean
from headwater.cli.shapes import version_json
from headwater.cli.text import count
from headwater.errors import InvalidInputError, NotFoundError
from headwater.model.naming import parse_name
from headwater.model.sizes import size_in_words
from headwater.references import find_references, last_part

if TYPE_CHECKING:
    from headwater.artifact import Artifact
    from headwater.download import CheckedOut, Download
    from headwater.ports import Progress
    from headwater.upload import Uploaded
    from headwater.version import Version

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


class Putting(msgspec.Struct, frozen=True, kw_only=True):
    """How the sources of one `put` are added."""

    mode: Literal["files", "reference", "copy"]
    path: str | None
    ignore: tuple[str, ...]
    pin: bool | Literal["digest"]
    max_objects: int
    record_unavailable: bool


@click.command(cls=Verb)
@click.argument("name", shell_complete=complete_artifact)
@click.argument("sources", nargs=-1, required=True, type=click.Path(), metavar="PATH|URI...")
@click.option("--type", "type_", help="Of a new artifact, e.g. dataset, model.  [default: dataset]")
@click.option("-a", "--alias", "aliases", multiple=True, help="An alias to move to this version; repeatable.")
@click.option("-t", "--tag", "tags", multiple=True, help="A tag to put on it; repeatable.")
@click.option("-m", "--metadata", multiple=True, metavar="KEY=VALUE", help="A fact; VALUE is JSON or text; repeatable.")
@click.option("--description", help="What this version is about.")
@click.option("--as", "as_path", metavar="PATH", help="Where in the version it shall lie.")
@click.option("--ignore", multiple=True, metavar="PATTERN", help="Files to leave out, as in .gitignore; repeatable.")
@click.option(
    "--derived-from",
    multiple=True,
    metavar="NAME",
    help="A version it was made from; repeatable.",
    shell_complete=complete_name,
)
@click.option("--reference", "mode", flag_value="reference", help="Point at the URI; its bytes stay where they are.")
@click.option("--copy", "mode", flag_value="copy", help="Bring the bytes of the URI into the repository.")
@click.option(
    "--pin",
    type=click.Choice(["yes", "digest", "no"]),
    default="yes",
    show_default=True,
    help="Of references: what the source says of the bytes; a digest of them, read now; or the bare URI.",
)
@click.option(
    "--max-objects",
    type=click.IntRange(1),
    metavar="N",
    default=10_000,
    show_default=True,
    help="Most objects that a URI may stand for.",
)
@click.option("--record-unavailable", is_flag=True, help="Record a URI that cannot be asked now, unverified.")
@click.pass_obj
def put(
    session: Session, name: str, sources: tuple[str, ...], type_: str | None, aliases: tuple[str, ...],
    tags: tuple[str, ...], metadata: tuple[str, ...], description: str | None, as_path: str | None,
    ignore: tuple[str, ...], derived_from: tuple[str, ...], mode: Literal["reference", "copy"] | None, pin: str,
    max_objects: int, record_unavailable: bool,
) -> None:  # fmt: skip
    """Log files, directories or URIs as the next version of the artifact NAME.

    A single directory becomes the content of the version; several sources keep their names.
    Content that is equal to the newest version makes no new one.
    """
    from headwater.artifact import Artifact
    from headwater.publishing import Options, publish
    from headwater.version import Version

    artifact = Artifact(name, type_, description=description or "", metadata=_metadata(metadata))
    how = Putting(
        mode=mode or "files", path=as_path, ignore=ignore, pin={"yes": True, "no": False}.get(pin, "digest"),
        max_objects=max_objects, record_unavailable=record_unavailable,
    )  # fmt: skip
    repository = session.repository
    parents = tuple(repository.version(parent).id for parent in derived_from) if derived_from else None
    with session.progress() as progress:
        for source in sources:
            _add(artifact, source, how, progress, alone=len(sources) == 1)
        options = Options(aliases=aliases, tags=tags, derived_from=parents)
        published, uploaded = publish(repository.home, artifact, options, progress)
    version = Version[Any](published.version, repository.home)
    document = {"version": version_json(version), "outcome": published.kind, "sent_bytes": uploaded.sent_bytes,
                "sent_blobs": uploaded.sent_blobs, "puts": uploaded.n_puts}  # fmt: skip
    session.emit(document, lambda: _logged(version, published.kind, uploaded))


def _logged(version: Version[Any], kind: str, uploaded: Uploaded) -> str:
    what = f"{count(version.record.n_entries, 'entry')}, {size_in_words(version.size)}"
    if kind == "reproduced":
        return f"{version}  unchanged: {what}"
    aliases = f"  [{', '.join(version.aliases)}]" if version.aliases else ""
    return f"{version}  {what}, sent {size_in_words(uploaded.sent_bytes)}{aliases}"


def _metadata(pairs: tuple[str, ...]) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise InvalidInputError(what=f"{pair!r} is no fact", where="--metadata", fix="write KEY=VALUE")
        try:
            facts[key] = json.loads(text)
        except ValueError:
            facts[key] = text
    return facts


def _add(artifact: Artifact, source: str, how: Putting, progress: Progress | None, *, alone: bool) -> None:
    """Add one source; a URI needs --reference or --copy, for either may be meant."""
    if how.mode == "reference":
        uri = source if _URI.match(source) else Path(source).absolute().as_uri()
        on_unavailable: Literal["raise", "record"] = "record" if how.record_unavailable else "raise"
        artifact.add_reference(
            uri, _name(uri, how, alone=alone), pin=how.pin, max_objects=how.max_objects,
            on_unavailable=on_unavailable, progress=progress,
        )  # fmt: skip
    elif how.mode == "copy" and _URI.match(source):
        _copy(artifact, source, how, progress, alone=alone)
    elif _URI.match(source):
        raise InvalidInputError(
            what=f"{source} is a URI", fix="add --reference to point at it, or --copy to store its bytes"
        )
    elif Path(source).is_dir():
        artifact.add_dir(source, _inside(Path(source).resolve().name, how, whole=alone), ignore=how.ignore)
    elif Path(source).exists():
        artifact.add_file(source, how.path if alone else _inside(Path(source).name, how, whole=False))
    else:
        raise NotFoundError(what="there is no such file or directory", where=source)


def _inside(name: str, how: Putting, *, whole: bool) -> str | None:
    """Where a source lies in the version: at --as, and below it by its name if it is one of several."""
    if whole:
        return how.path
    return f"{how.path}/{name}" if how.path else name


def _name(uri: str, how: Putting, *, alone: bool) -> str | None:
    """Where a URI lies in the version, as for files: several keep their names."""
    return how.path if alone else _inside(last_part(uri), how, whole=False)


def _copy(artifact: Artifact, uri: str, how: Putting, progress: Progress | None, *, alone: bool) -> None:
    """Read what is at the URI into temporary files of the artifact, several at once."""
    from headwater.download.copying import copy_references

    found = find_references(uri, _name(uri, how, alone=alone), max_objects=how.max_objects)
    folder = Path(artifact.contents.spool().next_path())
    for path, file in copy_references(found, folder, progress):
        artifact.add_file(file, path)


@click.command(cls=Verb)
@click.argument("name", shell_complete=complete_name)
@click.argument("path", required=False, type=click.Path(file_okay=False))
@click.option("--at", metavar="TIME", help="What the name meant then.")
@click.option("--prefix", help="Only this path and what is below it.")
@click.option("--glob", help="Only paths that match; ** crosses directories.")
@click.option(
    "--references",
    type=click.Choice(["copy", "in-place", "skip"]),
    default="copy",
    show_default=True,
    help="Copy the bytes of references, link file:// ones in place, or skip them.",
)
@click.option("--allow-missing-references", is_flag=True, help="Say which references cannot be had, do not stop.")
@click.option("--exactly", is_flag=True, help="Also remove files that an earlier version placed there.")
@click.option("--dry-run", is_flag=True, help="With --exactly: only say what would be done.")
@click.pass_obj
def get(
    session: Session, name: str, path: str | None, at: str | None, prefix: str | None, glob: str | None,
    references: Literal["copy", "in-place", "skip"], allow_missing_references: bool, exactly: bool, dry_run: bool,
) -> None:  # fmt: skip
    """Bring the files of the version NAME into the directory PATH (default: the artifact's name).

    Files that are already right are not fetched again; files that are not Headwater's are never replaced.
    """
    if dry_run and not exactly:
        raise click.UsageError("--dry-run goes with --exactly")
    version = session.repository.version(name, at=at)
    prefix = prefix or parse_name(name).path or None
    target = Path(path or version.record.artifact)
    with session.progress() as progress:
        if exactly:
            done = version.checkout(target, dry_run=dry_run, progress=progress)
            session.emit(_checked_out_json(version, target, done), lambda: _checked_out(version, target, done, dry_run))
            return
        fetched = version.fetch(
            target, prefix=prefix, glob=glob, references=references,
            allow_missing_references=allow_missing_references, progress=progress,
        )  # fmt: skip
    document = {"version": version_json(version), "path": str(fetched.path),
                "skipped": [skipped._asdict() for skipped in fetched.skipped]}  # fmt: skip
    session.emit(document, lambda: _fetched(version, fetched))


def _fetched(version: Version[Any], fetched: Download) -> str:
    skipped = [clean(f"skipped {s.path} ({s.reason}): {s.detail or s.uri}") for s in fetched.skipped]
    return "\n".join([*skipped, f"{version} is in {fetched.path}"])


def _checked_out_json(version: Version[Any], target: Path, done: CheckedOut) -> dict[str, Any]:
    return {"version": version_json(version), "path": str(target.absolute()), "placed": list(done.placed),
            "removed": list(done.removed), "kept": list(done.kept)}  # fmt: skip


def _checked_out(version: Version[Any], target: Path, done: CheckedOut, dry_run: bool) -> str:
    placed, removed = count(len(done.placed), "file"), count(len(done.removed), "file")
    kept = f", left {count(len(done.kept), 'other file')} alone" if done.kept else ""
    if dry_run:
        return f"{version} would place {placed} in {target} and remove {removed}"
    return f"{version} is in {target}: placed {placed}, removed {removed}" + kept
