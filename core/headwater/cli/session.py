"""What every command has: its common options, the repository it opens, and how errors end it."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import click

from headwater import settings
from headwater.cli.root import HELP
from headwater.errors import HeadwaterError, NotFoundError
from headwater.model.values import mask_text

if TYPE_CHECKING:
    from headwater.ports import Progress
    from headwater.repository import Repository

UNEXPECTED = 70
"""Exit code of a fault of ours (EX_SOFTWARE of sysexits.h): none of the documented ones would be true."""
INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""


class Session:
    """One invocation of one command.

    Args:
        url: The repository; None for the default.
        project: The current project; None for the default.
        as_json: Whether standard output is one JSON document.
        quiet: Whether to leave progress and summaries out.
        debug: Whether to show tracebacks.
    """

    def __init__(self, url: str | None, project: str | None, *, as_json: bool, quiet: bool, debug: bool) -> None:
        self.url, self.project = url, project
        self.as_json, self.quiet, self.debug = as_json, quiet, debug
        self._opened: Repository | None = None

    @cached_property
    def repository(self) -> Repository:
        """The repository, opened when first asked for."""
        from headwater.connect import connect  # SQL and backends: not for --help

        self._opened = connect(self.url or settings.current().url, project=self.project)
        return self._opened

    def emit(self, document: dict[str, Any], text: Callable[[], str]) -> None:
        """Print the result: the document with `--json`, else the text."""
        if self.as_json:
            click.echo(json.dumps(document, ensure_ascii=False, indent=2))
        elif shown := text():
            click.echo(shown)

    def note(self, text: str) -> None:
        """Say something that is not the result."""
        if not self.quiet:
            click.echo(text, err=True)

    @contextlib.contextmanager
    def progress(self) -> Iterator[Progress | None]:
        """A `progress(stage, done, total)` to hand to long work, shown while the block lasts."""
        if self.quiet or self.as_json:
            yield None
            return
        from headwater.cli.progress import reporter  # rich takes a tenth of a second

        with reporter() as report:
            yield report

    def close(self) -> None:
        """Give the repository up."""
        if self._opened is not None:
            self._opened.close()


def _options() -> list[click.Parameter]:
    from headwater.cli.completion import complete_project

    return [
        click.Option(["--json", "as_json"], is_flag=True, help="Print the result as one JSON document."),
        click.Option(["-p", "--project"], help="Where names without a project live.  [env: HEADWATER_PROJECT]",
                     shell_complete=complete_project),
        click.Option(["--url"], help="The repository.  [env: HEADWATER_URL; default: ~/.headwater]"),
        click.Option(["-q", "--quiet"], is_flag=True, help="No progress, no summaries."),
        click.Option(["--debug"], is_flag=True, help="Show the traceback of an error."),
    ]  # fmt: skip


class Verb(click.Command):
    """A command with the common options; its callback takes a `Session` first (`click.pass_obj`)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._common = _options()
        self.params += self._common

    def get_help_option_names(self, ctx: click.Context) -> list[str]:
        """The same in every context: click keeps the option it makes first."""
        return list(HELP)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Its own options first: those are what a reader looks for."""
        common = [*self._common, self.get_help_option(ctx)]
        own = [param for param in self.get_params(ctx) if isinstance(param, click.Option) and param not in common]
        for title, options in (("Options", own), ("Options of every command", common)):
            if records := [record for option in options if option and (record := option.get_help_record(ctx))]:
                with formatter.section(title):
                    formatter.write_dl(records)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the callback; whatever goes wrong becomes one line and an exit code."""
        given = {name: ctx.params.pop(name) for name in ("as_json", "project", "url", "quiet", "debug")}
        session = ctx.obj = Session(given.pop("url"), given.pop("project"), **given)
        try:
            with _warnings_in_words():
                return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit):
            raise
        except (KeyboardInterrupt, Exception) as error:  # noqa: BLE001  # the last frame before the shell
            ctx.exit(report(error, session))
        finally:
            with contextlib.suppress(HeadwaterError):
                session.close()


@contextlib.contextmanager
def _warnings_in_words() -> Iterator[None]:
    """Show what the library warns of as one line, without the place in its source."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_, **__: click.echo(
            click.style("warning: ", fg="yellow", bold=True) + clean(mask_text(str(message))), err=True
        )
        yield


def report(error: BaseException, session: Session) -> int:
    """Say on standard error what went wrong; return the exit code."""
    if isinstance(error, BrokenPipeError):  # the reader (`head`) has seen enough
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if session.debug:
        import traceback

        traceback.print_exception(error)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        click.echo("interrupted; what was stored is kept, the same command goes on from there", err=True)
        return INTERRUPTED
    if isinstance(error, HeadwaterError):
        body, line, code = error.to_json(), str(error), error.exit_code
    elif isinstance(error, FileNotFoundError):
        line = f"{error.filename}: {error.strerror}"
        body, code = {"code": "not-found", "message": line, "facts": {}}, NotFoundError.exit_code
    else:
        line = f"{type(error).__name__}: {error}".splitlines()[0]
        body, code = {"code": "unexpected", "message": line, "facts": {}}, UNEXPECTED
        line = f"something unexpected happened ({line}); --debug shows where, please report it"
    if session.as_json:
        click.echo(json.dumps({"error": body}, ensure_ascii=False), err=True)
    else:
        click.echo(click.style("error: ", fg="red", bold=True) + clean(mask_text(line)), err=True)
    return code


def clean(text: str) -> str:
    """The text without characters that could steer a terminal; line feeds and tabs stay."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
