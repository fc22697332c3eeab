"""`push`, `pull`, `export` and `import`: versions from one repository to another."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from headwater.cli.completion import complete_name
from headwater.cli.session import Session, Verb
from headwater.cli.text import count, table
from headwater.model.sizes import size_in_words

if TYPE_CHECKING:
    from headwater.exchange import Copied, Wishes
    from headwater.repository import Repository

_UPSTREAM = click.option(
    "--upstream",
    type=click.Choice(["content", "facts", "none"]),
    default="content",
    show_default=True,
    help="Of what the versions were made from: everything, only their lineage, or nothing.",
)


def _wishes(*, upstream: bool = True) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command its session, and the options that say what comes along as `wishes`."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @click.option("--aliases", is_flag=True, help="Also move aliases, as they are at the source.")
        @click.option("--allow-file-references", is_flag=True, help="Copy versions that refer to file:// URIs.")
        @click.pass_obj
        @wraps(command)
        def call(session: Session, /, **given: Any) -> None:
            from headwater.exchange import Wishes

            fields = {name: given.pop(name) for name in Wishes.__struct_fields__ if name in given}
            command(session, wishes=Wishes(**fields), **given)

        return _UPSTREAM(call) if upstream else call

    return decorate


@click.command(cls=Verb)
@click.argument("target", metavar="REPOSITORY")
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=complete_name)
@_wishes()
def push(session: Session, target: str, names: tuple[str, ...], wishes: Wishes) -> None:
    """Copy versions to REPOSITORY, with the runs that made them and what they were made from.

    NAME is a version (without a suffix the latest), or NAME:* for all versions of an artifact; without any NAME
    everything is copied. Ids are kept, numbers are given there; only blobs that are missing there are sent.
    """
    from headwater.connect import open_other

    with open_other(target) as other:
        _copy(session, session.repository, other, names, wishes)


@click.command(cls=Verb)
@click.argument("source", metavar="REPOSITORY")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@_wishes()
def pull(session: Session, source: str, names: tuple[str, ...], wishes: Wishes) -> None:
    """Copy versions from REPOSITORY to here; the other direction of push, with the same words.

    NAME is a version (without a suffix the latest), or NAME:* for all versions of an artifact; without any NAME
    everything is copied.
    """
    from headwater.connect import open_other

    with open_other(source) as other:
        _copy(session, other, session.repository, names, wishes)


def _copy(session: Session, source: Repository, target: Repository, names: tuple[str, ...], wishes: Wishes) -> None:
    from headwater.exchange import copy_versions, select

    with session.progress() as progress:
        done = copy_versions(source.home, target.home, select(source.home, names), wishes, progress)
    _report(session, done, str(target))


@click.command(cls=Verb)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=complete_name)
@_wishes()
def export(session: Session, file: Path, names: tuple[str, ...], wishes: Wishes) -> None:
    """Write versions to FILE, with the runs that made them and what they were made from.

    NAME is a version (without a suffix the latest), or NAME:* for all versions of an artifact; without any NAME
    everything is copied.
    """
    from headwater.exchange import export_file, select

    home = session.repository.home
    with session.progress() as progress:
        done = export_file(home, file, select(home, names), wishes, progress)
    _report(session, done, str(file))


@click.command("import", cls=Verb)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_wishes(upstream=False)
def import_(session: Session, file: Path, wishes: Wishes) -> None:
    """Take over every version in FILE, which `headwater export` wrote. Doing it again changes nothing."""
    from headwater.exchange import import_file

    with session.progress() as progress:
        done = import_file(session.repository.home, file, wishes, progress)
    _report(session, done, str(session.repository))


def _report(session: Session, done: Copied, target: str) -> None:
    session.emit({"target": target, **msgspec.to_builtins(done)}, lambda: _told(done, target))


def _told(done: Copied, target: str) -> str:
    rows = [(v.source, v.target, v.outcome) for v in done.versions]
    copied = sum(v.outcome == "copied" for v in done.versions)
    head = (
        f"copied {count(copied, 'version')} to {target}: sent {count(done.sent_blobs, 'blob')}, "
        f"{size_in_words(done.sent_bytes)}"
    )
    return table(("from", "as", "outcome"), rows) + "\n\n" + head
