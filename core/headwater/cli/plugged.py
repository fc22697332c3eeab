"""Commands that other distributions bring: entry points in the group `headwater.commands`.

An entry point is named by the words that call it, `forward.prefect`, and gives a `click.Command` whose
callback takes the open repository first and returns what to print, a dict, or None. Its module is
imported when the command is called.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.root import CONTEXT
from headwater.cli.session import Session, Verb

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "headwater.commands"


class PluggedGroup(click.Group):
    """The commands below one word.

    Args:
        word: The first part of the entry points' names.
    """

    def __init__(self, word: str, **kwargs: Any) -> None:
        super().__init__(word, **kwargs)
        self._points = points(word)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names, sorted."""
        return sorted(self._points)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command and give it the options all commands have; None if there is none of that name."""
        if cmd_name not in self._points:
            return None
        try:
            return as_verb(self._points[cmd_name].load())
        except ImportError as error:
            raise click.ClickException(
                f"{cmd_name} is not installed ({error}): pip install 'headwater[{cmd_name}]'"
            ) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the names without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, f"`{ctx.command_path} {name} -h` says more.") for name in sorted(self._points)])


def as_verb(plugged: click.Command) -> Verb:
    """A command of ours that opens the repository for the callback of theirs."""
    theirs = plugged.callback

    @click.pass_obj
    def callback(session: Session, /, **options: Any) -> None:
        document = None if theirs is None else theirs(session.repository, **options)
        if document is not None:
            session.emit(document, lambda: "   ".join(f"{name} {value}" for name, value in document.items()))

    return Verb(plugged.name, callback=callback, params=list(plugged.params), help=plugged.help)


@cache
def points(word: str) -> dict[str, EntryPoint]:
    """Second word → entry point, of those installed."""
    from importlib.metadata import entry_points  # reads every installed distribution: only when a command is called

    found = ((point, *point.name.partition(".")) for point in entry_points(group=GROUP))
    return {second: point for point, first, _, second in found if first == word and second}


forward = PluggedGroup("forward", context_settings=CONTEXT, help="Bring the repository's events to another system.")
