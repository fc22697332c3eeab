"""`alias set/rm/rollback/ls` and `tag`."""

from __future__ import annotations

import click

from headwater.cli.completion import complete_artifact, complete_name
from headwater.cli.session import Session, Verb
from headwater.cli.shapes import version_json
from headwater.cli.text import table, when
from headwater.errors import InvalidInputError, VersionNotFoundError
from headwater.model.naming import parse_name


@click.command("set", cls=Verb)
@click.argument("name", metavar="NAME:ALIAS", shell_complete=complete_name)
@click.argument("to", metavar="VERSION")
@click.option("--expect", help="Only if the alias is at this version now; '' means nowhere.")
@click.pass_obj
def set_alias(session: Session, name: str, to: str, expect: str | None) -> None:
    """Point an alias at VERSION of the same artifact: v12, another alias, or a digest."""
    repository = session.repository
    repository.set_alias(name, to=_selector(to), expect=None if expect is None else _selector(expect))
    version = repository.version(name)
    session.emit({"alias": _alias_of(name), "version": version_json(version)}, lambda: f"{name} is {version}")


def _selector(text: str) -> str:
    """`v3` of `v3` as well as of `project/artifact:v3`."""
    return text if text == "" or not ("/" in text or ":" in text.removeprefix("blake3:")) else parse_name(text).selector


def _alias_of(name: str) -> str:
    alias = parse_name(name).alias
    if alias is None:
        raise InvalidInputError(what=f"{name!r} names no alias", fix="write project/artifact:alias")
    return alias


@click.command(cls=Verb)
@click.argument("name", metavar="NAME:ALIAS", shell_complete=complete_name)
@click.pass_obj
def rm(session: Session, name: str) -> None:
    """Remove an alias; the version stays."""
    repository = session.repository
    version = repository.version(name)  # that it is nowhere is worth an error
    if _alias_of(name) not in version.aliases:
        raise VersionNotFoundError(name=name)
    repository.set_alias(name, to=None, expect=version)
    session.emit({"alias": _alias_of(name), "version": None}, lambda: f"{name} is gone, it was at {version}")


@click.command(cls=Verb)
@click.argument("name", metavar="NAME:ALIAS", shell_complete=complete_name)
@click.pass_obj
def rollback(session: Session, name: str) -> None:
    """Point an alias back to the version it was at before its last move."""
    version = session.repository.rollback_alias(name)
    session.emit({"alias": _alias_of(name), "version": version_json(version)}, lambda: f"{name} is {version} again")


@click.command(cls=Verb)
@click.argument("name", shell_complete=complete_artifact)
@click.pass_obj
def ls(session: Session, name: str) -> None:
    """List the aliases of the artifact NAME and where they are."""
    versions = session.repository.artifact(name).versions()
    found = sorted((alias, version) for version in versions for alias in version.aliases)
    document = {"aliases": {alias: version_json(version) for alias, version in found}}
    rows = [(alias, version.version, when(version.created_at)) for alias, version in found]
    session.emit(document, lambda: table(("alias", "version", "logged (UTC)"), rows) if rows else "")


@click.command(cls=Verb)
@click.argument("name", shell_complete=complete_name)
@click.argument("tags", nargs=-1, metavar="[TAG]...")
@click.option("--rm", "removed", multiple=True, metavar="TAG", help="A tag to take off; repeatable.")
@click.pass_obj
def tag(session: Session, name: str, tags: tuple[str, ...], removed: tuple[str, ...]) -> None:
    """Put tags on the version NAME, or take them off; without tags, list them."""
    version = session.repository.version(name)
    version.tags = sorted({*version.tags, *tags} - set(removed))
    version.save()
    shown = f"{version}  {' '.join(version.tags)}".rstrip()
    session.emit({"version": version_json(version)}, lambda: shown)
