"""`init`, `verify`, `du` and `cache prune`: the repository itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from headwater import settings
from headwater.cli.amounts import Share
from headwater.cli.completion import complete_name
from headwater.cli.session import Session, Verb, clean
from headwater.cli.text import count, facts, table
from headwater.errors import IntegrityError
from headwater.model.sizes import size_in_words

if TYPE_CHECKING:
    from headwater.download import VerifyReport
    from headwater.repository import Repository
    from headwater.upkeep import Verified
    from headwater.version import Version

DAMAGED = IntegrityError.exit_code
DIFFERS = 1
KINDS = ("missing", "changed", "mode", "unverified", "extra")
"""How a file of a directory may differ from the version."""


@click.command(cls=Verb)
@click.argument("where", metavar="[URL]", required=False)
@click.option("--objects", metavar="URL", help="Where the packs go: s3://…, gs://…, az://… or a folder.")
@click.pass_obj
def init(session: Session, where: str | None, objects: str | None) -> None:
    """Make a repository at URL (a folder, or postgresql://…), or bring one up to date; what is there stays.

    The place for the packs is tried out first (write, write on a condition, read, list, delete, clock), then recorded
    in the catalog: from then on the catalog's URL is all a worker needs.
    """
    from headwater.connect import create

    with create(where or session.url or settings.current().url, objects) as repository:
        document = {"repository": repository.id, "url": str(repository), "objects": repository.home.objects.url}
        session.emit(document, lambda: f"repository {repository.id} is at {repository}")


@click.command(cls=Verb)
@click.argument("name", required=False, shell_complete=complete_name)
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path())
@click.option(
    "--sample",
    type=Share(),
    default="100%",
    show_default=True,
    help="Share of the packs to read, such as 1% or 0.01; manifests are always checked whole.",
)
@click.pass_obj
def verify(session: Session, name: str | None, folder: str | None, sample: float) -> None:
    """Check every byte of the repository; with NAME only that version's.

    With DIR, read every file below that directory and compare it with NAME; exit code 1 if something differs.
    """
    from headwater.upkeep import verify as verify_all
    from headwater.upkeep import verify_version

    if name is not None and folder is not None:
        _verify_folder(session, session.repository.version(name), folder)
        return
    with session.progress() as progress:
        home = session.repository.home
        if name is None:
            found = verify_all(home, sample=sample, progress=progress)
        else:
            found = verify_version(home, session.repository.version(name).record, progress=progress)
    session.emit({"sound": bool(found), **msgspec.to_builtins(found)}, lambda: _verified(found))
    if not found:
        click.get_current_context().exit(DAMAGED)


def _verified(found: Verified) -> str:
    lines = [f"{finding.kind}: {finding.where}: {finding.what}" for finding in found.findings]
    looked = (
        f"looked at {count(found.packs, 'pack')}, {count(found.blobs, 'blob')} ({size_in_words(found.bytes)}), "
        f"{count(found.versions, 'version')}, {count(found.entries, 'entry')}"
    )
    verdict = "all is well" if found else count(len(found.findings), "finding")
    return "\n".join([*lines, f"{verdict}: {looked}"])


def _verify_folder(session: Session, version: Version[Any], folder: str) -> None:
    report = version.verify(folder)
    found = {kind: list(getattr(report, kind)) for kind in KINDS}
    document = {"version": str(version), "path": folder, "same": report.n_same, **found}
    session.emit(document, lambda: _verified_folder(version, folder, report))
    if not report.ok:
        click.get_current_context().exit(DIFFERS)


def _verified_folder(version: Version[Any], folder: str, report: VerifyReport) -> str:
    lines = [clean(f"{kind}: {path}") for kind in KINDS for path in getattr(report, kind)]
    return "\n".join([*lines, f"{folder} {'is' if report.ok else 'is not'} {version}"])


@click.command(cls=Verb)
@click.option(
    "--limit", type=click.IntRange(1), metavar="N", default=20, show_default=True, help="Most artifacts to list."
)
@click.pass_obj
def du(session: Session, limit: int) -> None:
    """Show who holds the bytes: packs that only one artifact needs, packs that it shares, references elsewhere.

    `size` is what its versions would take without sharing; `its own` is what deleting it would free.
    """
    document = usage(session.repository)
    session.emit({**document, "artifacts": document["artifacts"][:limit]}, lambda: _usage(document, limit))


def usage(repository: Repository) -> dict[str, Any]:
    """Bytes on both sides: packs by state, artifacts (largest first), this machine's copies."""
    from headwater.download.pruning import TREES, folder_bytes
    from headwater.upkeep.measure import measure

    home = repository.home
    found = measure(home)
    artifacts = [
        {"name": s.name, "versions": s.versions, "bytes": s.logical, "stored_bytes": s.stored,
         "shared_bytes": s.shared, "referenced_bytes": s.referenced}
        for s in found.shares
    ]  # fmt: skip
    files, trees = settings.current().cache / "files", home.folder / TREES
    return {
        "repository": str(repository),
        "stored_bytes": sum(part.bytes for part in found.packs.values()),
        "unneeded_bytes": found.unneeded,
        "packs": {state: {"packs": part.packs, "bytes": part.bytes} for state, part in found.packs.items()},
        "versions": sum(share.versions for share in found.shares),
        "logical_bytes": sum(share.logical for share in found.shares),
        "files": {"path": str(files), "bytes": folder_bytes(files), "quota": settings.current().quota},
        "trees": {"path": str(trees), "bytes": folder_bytes(trees)},
        "artifacts": artifacts,
    }


def _usage(found: dict[str, Any], limit: int) -> str:
    stored, logical, files, trees = found["stored_bytes"], found["logical_bytes"], found["files"], found["trees"]
    saved = f", {logical / stored:.1f} times what is stored" if stored else ""
    states = ", ".join(f"{part['packs']} {state}" for state, part in found["packs"].items())
    head = facts(
        (
            ("repository", found["repository"]),
            ("stored", f"{size_in_words(stored)} in packs" + (f" ({states})" if states else "")),
            ("unneeded", size_in_words(found["unneeded_bytes"]) + " for gc to take" if found["unneeded_bytes"] else ""),
            ("versions", f"{count(found['versions'], 'version')} of {size_in_words(logical)}{saved}"),
            ("cache", f"{size_in_words(files['bytes'])} of {size_in_words(files['quota'])} in {files['path']}"),
            ("trees", f"{size_in_words(trees['bytes'])} in {trees['path']}"),
        )
    )  # fmt: skip
    sizes = ("bytes", "stored_bytes", "shared_bytes", "referenced_bytes")
    rows = [
        (a["name"], str(a["versions"]), *(size_in_words(a[size]) for size in sizes)) for a in found["artifacts"][:limit]
    ]
    names = ("artifact", "versions", "size", "its own", "shared", "referenced")
    return head + ("\n\n" + table(names, rows, right=names[1:]) if rows else "")


@click.command(cls=Verb)
@click.argument("size")
@click.pass_obj
def prune(session: Session, size: str) -> None:
    """Shrink what this machine keeps of downloaded files to SIZE (such as 5GB, or 0), the longest unused first.

    That is the cache of files and the shared trees of this repository; trees used within the last hour stay,
    unless SIZE is 0. The repository itself loses nothing.
    """
    from headwater.download.pruning import TREES, folder_bytes, prune_trees
    from headwater.store.cache import FileCache

    wanted, now = settings.parse_size(size, "SIZE"), settings.current()
    home, files = session.repository.home, now.cache / "files"
    freed = prune_trees(home, max(0, wanted - folder_bytes(files)))
    trees_left = folder_bytes(home.folder / TREES)
    if files.exists():
        freed += FileCache(files, now.quota).prune(max(0, wanted - trees_left))
    files_left = folder_bytes(files)
    left = {
        "files": {"path": str(files), "bytes": files_left},
        "trees": {"path": str(home.folder / TREES), "bytes": trees_left},
    }
    total = size_in_words(files_left + trees_left)
    session.emit({"freed_bytes": freed, **left}, lambda: f"freed {size_in_words(freed)}, {total} are left")
