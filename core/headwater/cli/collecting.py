"""`gc` and `retention set/show/rm`: what may go, and letting it go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from headwater.cli.amounts import Duration, in_words
from headwater.cli.completion import complete_artifact
from headwater.cli.session import Session, Verb
from headwater.cli.text import count, table
from headwater.errors import IntegrityError, NotFoundError
from headwater.model.sizes import size_in_words

if TYPE_CHECKING:
    from headwater.upkeep.collection import Amount, Collected
    from headwater.upkeep.retention import Retired, Rule


@click.command(cls=Verb)
@click.option("--dry-run", is_flag=True, help="Say what would go, how much and why; change nothing.")
@click.option(
    "--now", is_flag=True, help="Do not wait a day before and after condemning; only when nobody else writes."
)
@click.option("--grace", type=Duration(), help="Wait so long instead of a day before what is condemned is deleted.")
@click.option("--no-compact", is_flag=True, help="Leave sparse packs alone.")
@click.pass_obj
def gc(session: Session, dry_run: bool, now: bool, grace: float | None, no_compact: bool) -> None:
    """Delete what no version needs any more, beside writers; what retention rules let go becomes a tombstone first.

    A pack goes in two steps, a day apart: condemned, then looked at again and deleted. Interrupt it whenever you like.
    Something damaged that compaction meets stays where it is; the rest is done, and the exit code is 7.
    """
    from headwater.upkeep.collection import Terms, collect, preview

    terms = Terms(grace=Terms().grace if grace is None else grace, compact=not no_compact)
    with session.progress() as progress:
        home = session.repository.home
        found = (preview if dry_run else collect)(home, terms, now=now, progress=progress)
    document = {**msgspec.to_builtins(found), "freed_bytes": found.freed_bytes}
    session.emit(document, lambda: _collected(found))
    if found.compacted.damaged:
        click.get_current_context().exit(IntegrityError.exit_code)


def _collected(found: Collected) -> str:
    did, would = ("would ", "") if found.dry_run else ("", "d")
    lines = [f"{did}delete{would} {_retired(v)}" for v in found.retired]
    if found.lost_runs or found.discarded_drafts:
        ended = f"{count(found.lost_runs, 'run')} ended as lost"
        lines.append(f"{ended}, {count(found.discarded_drafts, 'draft')} discarded")
    if found.compacted.why:
        lines.append(f"compaction: {found.compacted.why}")
    if found.compacted.packs:
        lines.append(
            f"{did}compact{'ed' if would else ''} {count(found.compacted.packs, 'pack')}, "
            f"{size_in_words(found.compacted.frees)} can go"
        )
    lines += [f"damaged, left where it is (see `headwater verify`): {line}" for line in found.compacted.damaged]
    lines.append(f"{did}condemn{'ed' if would else ''} {_amount(found.condemned)} that nothing needs")
    lines.append(f"{did}delete{would} {_amount(found.deleted)}, whose grace is over")
    if found.waiting.packs:
        lines.append(f"{_amount(found.waiting)} wait for their grace to end")
    if found.awaiting_backup.packs:
        lines.append(f"{_amount(found.awaiting_backup)} of these wait for the next `headwater backup`")
    lines += _orphans(found)
    if found.backup:
        lines.append(f"made backup {found.backup}")
    if not found.dry_run:
        lines.append(f"freed {size_in_words(found.freed_bytes)}")
    return "\n".join(lines)


def _orphans(found: Collected) -> list[str]:
    orphans = found.orphans
    if orphans.why:
        return [f"orphans: {orphans.why}"]
    if orphans.objects:
        what = f"{count(orphans.objects, 'object')} ({size_in_words(orphans.bytes)}) that no row knows"
        return [f"would delete {what}" if found.dry_run else f"deleted {what}"]
    return []


def _retired(version: Retired) -> str:
    named = f", with its alias {', '.join(version.aliases)}" if version.aliases else ""
    return f"{version.name} ({size_in_words(version.size)}){named}: {version.why}"


def _amount(amount: Amount) -> str:
    return f"{count(amount.packs, 'pack')} ({size_in_words(amount.bytes)})"


@click.command("set", cls=Verb)
@click.argument("name", shell_complete=complete_artifact)
@click.option(
    "--keep-last", type=click.IntRange(0), metavar="N", default=1, show_default=True, help="Keep the newest so many."
)
@click.option("--keep-younger", type=Duration(), help="Keep those published within this time, such as 30d.")
@click.option(
    "--keep-aliased/--no-keep-aliased",
    default=True,
    show_default=True,
    help="Keep those with an alias other than latest; else their aliases go with them.",
)
@click.option("--keep-tagged", is_flag=True, help="Keep those with a tag.")
@click.option("--keep-upstream", is_flag=True, help="Keep what something that stays was made from.")
@click.pass_obj
def set_rule(
    session: Session, name: str, keep_last: int, keep_younger: float | None, keep_aliased: bool, keep_tagged: bool,
    keep_upstream: bool,
) -> None:  # fmt: skip
    """Say which versions of the artifact NAME are kept, in each partition; `gc` deletes the others.

    A version stays if any of the conditions holds. One that a running run uses is never deleted.
    """
    from headwater.upkeep.retention import Rule
    from headwater.upkeep.retention import set_rule as keep

    younger = None if keep_younger is None else int(keep_younger)
    rule = Rule(
        keep_last=keep_last, keep_younger_seconds=younger, keep_aliased=keep_aliased, keep_tagged=keep_tagged,
        keep_upstream=keep_upstream,
    )  # fmt: skip
    full = keep(session.repository.home, name, rule)
    session.emit({"artifact": full, "rule": _document(rule)}, lambda: f"{full}: keep {_words(rule)}")


def _document(rule: Rule) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.to_builtins(rule)
    return document


def _words(rule: Rule) -> str:
    said = [f"the newest {rule.keep_last}"] if rule.keep_last else []
    if rule.keep_younger_seconds is not None:
        said.append(f"younger than {in_words(rule.keep_younger_seconds)}")
    said += ["aliased"] if rule.keep_aliased else []
    said += ["tagged"] if rule.keep_tagged else []
    said += ["upstream of what stays"] if rule.keep_upstream else []
    return ", ".join(said) or "nothing"


@click.command(cls=Verb)
@click.argument("name", required=False, shell_complete=complete_artifact)
@click.pass_obj
def show(session: Session, name: str | None) -> None:
    """Show the rules, or that of the artifact NAME, and what they would delete now."""
    from headwater.upkeep.retention import full_name, overdue, rules

    home = session.repository.home
    known = rules(home)
    if name is not None:
        full = full_name(home, name)
        if full not in known:
            raise NotFoundError(what=f"{full} has no retention rule", fix="all its versions stay; see `retention set`")
        known = {full: known[full]}
    due = [v for v in overdue(home) if v.name.partition(":")[0].partition("[")[0] in known]
    document = {
        "rules": {artifact: _document(rule) for artifact, rule in known.items()},
        "overdue": msgspec.to_builtins(due),
    }

    def text() -> str:
        rows = [(artifact, _words(rule)) for artifact, rule in known.items()]
        lines = [f"the next gc deletes {_retired(v)}" for v in due]
        return "\n".join([table(("artifact", "keep"), rows), *lines]) if rows else ""

    session.emit(document, text)


@click.command("rm", cls=Verb)
@click.argument("name", shell_complete=complete_artifact)
@click.pass_obj
def rm(session: Session, name: str) -> None:
    """Take the rule of the artifact NAME away: all its versions stay."""
    from headwater.upkeep.retention import drop_rule, full_name

    full = full_name(session.repository.home, name)
    if not drop_rule(session.repository.home, name):
        raise NotFoundError(what=f"{full} has no retention rule")
    session.emit({"artifact": full, "rule": None}, lambda: f"{full}: all versions stay")
