"""`backup`, `restore`, `repair` and `purge`: bad days, and days with a lawyer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

from headwater.cli.amounts import Duration, in_words
from headwater.cli.session import Session, Verb
from headwater.cli.text import count, table, when
from headwater.errors import IntegrityError
from headwater.model.sizes import size_in_words

if TYPE_CHECKING:
    from headwater.upkeep.repairing import Repaired

_STOP = "never"


class _Schedule(Duration):
    """A duration, or `never`."""

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        return 0.0 if value == _STOP else super().convert(value, param, ctx)


@click.command(cls=Verb)
@click.option("--every", type=_Schedule(), metavar="DURATION", help="Have gc make one so often, such as 24h, or never.")
@click.option(
    "--keep", type=click.IntRange(1), metavar="N", default=7, show_default=True, help="How many usable backups stay."
)
@click.option("--ls", "listing", is_flag=True, help="List the usable backups instead.")
@click.pass_obj
def backup(session: Session, every: float | None, keep: int, listing: bool) -> None:
    """Put a consistent snapshot of the catalog beside the packs; names and lineage cannot be rebuilt from packs."""
    from headwater.upkeep import backups

    home = session.repository.home
    if listing:
        found = backups.usable(home.objects)
        rows = [(b.id, when(b.made_at), size_in_words(b.size), str(b.rows.get("versions", 0))) for b in found]
        text = table(("backup", "made (UTC)", "size", "versions"), rows, right=("size", "versions")) if rows else ""
        session.emit({"backups": [_document(b) for b in found]}, lambda: text)
        return
    if every is not None:
        backups.schedule(home, every or None)
        said = f"gc makes a backup every {in_words(every)}" if every else "gc makes no backups"
        session.emit({"every_seconds": every or None}, lambda: said)
        return
    made = backups.make(home, keep=keep)
    session.emit(
        {"backup": _document(made)}, lambda: f"backup {made.id}, {size_in_words(made.size)}, is beside the packs"
    )


def _document(made: object) -> dict[str, object]:
    from headwater.cli.shapes import time_json
    from headwater.upkeep.backups import Backup

    assert isinstance(made, Backup)
    return {"id": made.id, "made_at": time_json(made.made_at), "bytes": made.size, "rows": made.rows}


@click.command(cls=Verb)
@click.argument("where", metavar="[URL]", required=False)
@click.option("--objects", metavar="URL", help="Where the packs and backups are; by default beside a SQLite catalog.")
@click.option("--backup", "chosen", metavar="ID", help="Which backup; the newest usable by default.")
@click.pass_obj
def restore(session: Session, where: str | None, objects: str | None, chosen: str | None) -> None:
    """Fill the empty (or missing) catalog at URL from the newest backup; then run `headwater repair`."""
    from headwater import settings
    from headwater.restoring import restore as bring_back

    found, rows = bring_back(where or session.url or settings.current().url, objects, chosen)
    document = {"backup": _document(found), "rows": rows}
    what = f"{count(rows.get('versions', 0), 'version')}, {count(rows.get('runs', 0), 'run')}"
    session.emit(
        document, lambda: f"restored {what} as of {when(found.made_at)} UTC; run `headwater repair` before you write"
    )


@click.command(cls=Verb)
@click.option("--full", is_flag=True, help="Read every byte, and leave damaged blobs out, so that they are sent again.")
@click.pass_obj
def repair(session: Session, full: bool) -> None:
    """Rebuild the index of blobs from the packs; needed after a restore, harmless at any time."""
    from headwater.upkeep.repairing import repair as mend

    with session.progress() as progress:
        found = mend(session.repository.home, full=full, progress=progress)
    session.emit({"sound": bool(found), **msgspec.to_builtins(found)}, lambda: _repaired(found))
    if not found:
        click.get_current_context().exit(IntegrityError.exit_code)


def _repaired(found: Repaired) -> str:
    lines = [f"{finding.kind}: {finding.where}: {finding.what}" for finding in found.findings]
    lines.append(
        f"looked at {count(found.packs, 'pack')}: {found.reindexed} indexed anew, {found.adopted} adopted, "
        f"{found.lost} given up, {count(found.pages, 'page')} proved anew"
    )
    if found.restored:
        lines.append(f"the catalog restored from backup {found.restored} takes writers again")
    return "\n".join(lines)


@click.command(cls=Verb)
@click.argument("digest", metavar="[DIGEST]", required=False)
@click.option("--reason", help="Why; it is what people read instead of the bytes.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def purge(session: Session, digest: str | None, reason: str | None, yes: bool) -> None:
    """Remove one file's content (blake3:…) from every version, for good; without DIGEST, list what was purged.

    Versions keep their entries, digests and lineage. Copies that people downloaded are not reached.
    """
    from headwater.upkeep import purging

    home = session.repository.home
    if digest is None:
        stones = purging.tombstones(home)
        rows = [(s.digest, s.actor, s.reason) for s in stones]
        text = table(("content", "purged by", "reason"), rows) if rows else ""
        session.emit({"purged": msgspec.to_builtins(stones)}, lambda: text)
        return
    if not reason:
        raise click.UsageError("a purge needs a --reason")
    if not yes and not session.as_json:
        click.confirm(f"Remove {digest} from every version for good?", abort=True, err=True)
    with session.progress() as progress:
        found = purging.purge(home, digest, reason=reason, progress=progress)
    held = ", ".join(found.versions[:10]) + (" …" if len(found.versions) > 10 else "")
    session.emit(
        msgspec.to_builtins(found),
        lambda: f"{found.digest} is gone; {count(found.packs, 'pack')} written anew. It was in {held}",
    )
