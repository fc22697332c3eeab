"""The tree of commands; a command's module is imported when the command is called."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

_GROUP = "headwater.cli."


class LazyGroup(click.Group):
    """A group that knows its commands by name and one line, and imports them when asked.

    Args:
        commands: Name → (module in this package, attribute, one line of help).
    """

    def __init__(self, *args: Any, table: dict[str, tuple[str, str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order they are documented."""
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command; None if there is none of that name."""
        if cmd_name not in self.table:
            return None
        module, attribute, _ = self.table[cmd_name]
        command: click.Command = getattr(import_module(_GROUP + module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in self.table.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, and an unknown command is answered with the closest one."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            close = get_close_matches(args[0], self.table, n=1)
            if close:
                raise click.UsageError(f"{error.message} Did you mean {close[0]!r}?", ctx) from None
            raise


HELP = ("-h", "--help")
CONTEXT = {"help_option_names": list(HELP), "max_content_width": 100}

_ARTIFACT = {
    "put": ("transfer", "put", "Log files, directories or URIs as the next version."),
    "get": ("transfer", "get", "Bring a version's files here."),
    "ls": ("browse", "ls", "List artifacts, or the versions of one."),
    "show": ("browse", "show", "Show one version."),
    "diff": ("compare", "diff", "What changed between two versions."),
    "check": ("compare", "check", "Whether what a version points at is still as recorded."),
    "status": ("compare", "status", "What changed in a directory since a version."),
    "history": ("browse", "history", "Who changed what, and when."),
    "rm": ("browse", "rm", "Delete one version; a tombstone keeps its lineage."),
}
_ALIAS = {
    "set": ("alias", "set_alias", "Point an alias at a version."),
    "rm": ("alias", "rm", "Remove an alias."),
    "rollback": ("alias", "rollback", "Point an alias back to where it was before."),
    "ls": ("alias", "ls", "List the aliases of an artifact."),
}
_RUN = {
    "ls": ("runs", "ls", "List runs."),
    "show": ("runs", "show", "Show one run with what it used and logged."),
}
_RETENTION = {
    "set": ("collecting", "set_rule", "Say which versions of an artifact are kept."),
    "show": ("collecting", "show", "Show the rules and what they would delete."),
    "rm": ("collecting", "rm", "Take a rule away."),
}
_CACHE = {"prune": ("upkeep", "prune", "Shrink the cache of files to a size.")}

artifact = LazyGroup("artifact", table=_ARTIFACT, context_settings=CONTEXT, help="Artifacts and their versions.")
alias = LazyGroup("alias", table=_ALIAS, context_settings=CONTEXT, help="Names that move between versions.")
run = LazyGroup("run", table=_RUN, context_settings=CONTEXT, help="Runs and their lineage edges.")
retention = LazyGroup(
    "retention", table=_RETENTION, context_settings=CONTEXT, help="Which versions of an artifact are kept."
)
cache = LazyGroup("cache", table=_CACHE, context_settings=CONTEXT, help="This machine's copies of files.")

_TOP = {
    "init": ("upkeep", "init", "Make a repository."),
    "demo": ("showing", "demo", "Watch a small pipeline version real data."),
    "artifact": ("root", "artifact", "Artifacts: put, get, ls, show, diff, status, check, history, rm."),
    "alias": ("root", "alias", "Aliases: set, rm, rollback, ls."),
    "tag": ("alias", "tag", "Put tags on a version, or take them off."),
    "run": ("root", "run", "Runs: ls, show."),
    "lineage": ("lineage", "lineage", "What a version was made from, or what was made from it."),
    "lock": ("runs", "lock", "Write down exactly what a run used, to replay it."),
    "push": ("exchange", "push", "Copy versions with their lineage to another repository."),
    "pull": ("exchange", "pull", "Copy versions with their lineage from another repository."),
    "export": ("exchange", "export", "Write versions with their lineage to a file."),
    "import": ("exchange", "import_", "Take over the versions in such a file."),
    "verify": ("upkeep", "verify", "Check the bytes of the repository, or of a directory."),
    "gc": ("collecting", "gc", "Delete what no version needs any more."),
    "retention": ("root", "retention", "Which versions are kept: set, show, rm."),
    "du": ("upkeep", "du", "How much is stored, and what it stands for."),
    "forward": ("plugged", "forward", "Bring the repository's events to another system."),
    "cache": ("root", "cache", "The file cache: prune."),
    "backup": ("disaster", "backup", "Put a snapshot of the catalog beside the packs."),
    "restore": ("disaster", "restore", "Fill an empty catalog from a backup."),
    "repair": ("disaster", "repair", "Rebuild the index of blobs from the packs."),
    "purge": ("disaster", "purge", "Remove one content from every version."),
    "doctor": ("doctor", "doctor", "Find out what is wrong with this set-up."),
    "completion": ("showing", "completion", "Print what makes your shell complete commands and names."),
}


def _print_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from importlib.metadata import PackageNotFoundError, version

        try:
            found = version("headwater")
        except PackageNotFoundError:
            found = "(not installed)"
        click.echo(f"headwater {found}")
        ctx.exit()


headwater = LazyGroup(
    "headwater",
    table=_TOP,
    context_settings=CONTEXT,
    params=[
        click.Option(
            ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_print_version,
            help="Show the version and exit.",
        )
    ],
    help="Versions and lineage for everything your pipeline steps read and make.\n\n"
    "Names: project/artifact:alias, :v3 or @blake3:…; without a suffix :latest is meant.\n\n"
    "\b\nExit codes: 0 fine or same   1 differs    2 usage      3 not found\n"
    "            4 conflict       5 denied     6 storage    7 integrity",
)  # fmt: skip
