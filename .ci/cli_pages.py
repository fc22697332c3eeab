"""Writes docs/cli.md from the commands themselves; `make docs` runs it, tests/test_docs.py checks that it was run."""

from __future__ import annotations

import inspect
from pathlib import Path

import click

PAGE = Path(__file__).parent.parent / "docs" / "cli.md"

HEAD = """# The command line

The verbs of the Python face, for shells and scripts. With `--json` a command prints one document of a stable shape on
standard output; messages, progress and errors go to standard error. Names are written `project/artifact:alias`, `:v3`
or `@blake3:…`; without a suffix `:latest` is meant.

| exit code | means |
|---|---|
| 0 | fine, or the same |
| 1 | differs |
| 2 | the command was used wrongly |
| 3 | not found |
| 4 | conflict: somebody was first, or a file would be lost |
| 5 | denied |
| 6 | the storage failed |
| 7 | the bytes are not what was recorded |
"""


def page() -> str:
    """The whole document."""
    from headwater.cli.root import headwater

    found = commands(headwater, ("headwater",))
    shared = set.intersection(*({row[0] for row in _options(command)} for _, command in found))
    rows = [row for row in _options(found[0][1]) if row[0] in shared]
    head = HEAD + "\nEvery command takes these options:\n\n" + "\n".join(_table(rows)) + "\n"
    return head + "".join(_section(command, path, shared) for path, command in found)


def commands(command: click.Command, path: tuple[str, ...]) -> list[tuple[tuple[str, ...], click.Command]]:
    """Every command that does something, with the words that call it."""
    if not isinstance(command, click.Group):
        return [(path, command)]
    context = click.Context(command)
    children = [(name, command.get_command(context, name)) for name in command.list_commands(context)]
    return [found for name, child in children if child is not None for found in commands(child, (*path, name))]


def _section(command: click.Command, path: tuple[str, ...], shared: set[str]) -> str:
    usage = " ".join([" ".join(path), *command.collect_usage_pieces(click.Context(command))])
    rows = [row for row in _options(command) if row[0] not in shared]
    parts = [f"\n## `{' '.join(path)}`\n", f"    {usage}\n", _prose(command.help or ""), *_table(rows)]
    return "\n".join(parts) + ("\n" if rows else "")


def _options(command: click.Command) -> list[tuple[str, str]]:
    context = click.Context(command)
    options = [o for o in command.get_params(context) if isinstance(o, click.Option) and not o.hidden]
    return [record for option in options if (record := option.get_help_record(context)) is not None]


def _table(rows: list[tuple[str, str]]) -> list[str]:
    return ["| option | |", "|---|---|", *(f"| `{_cell(names)}` | {_cell(words)} |" for names, words in rows)] * bool(
        rows
    )


def _prose(text: str) -> str:
    """Help text as Markdown: what click is told to keep as it is becomes an indented block."""
    paragraphs = []
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        kept = paragraph.startswith("\b")
        lines = paragraph.removeprefix("\b").strip("\n").splitlines()
        paragraphs.append("\n".join("    " + line for line in lines) if kept else " ".join(lines))
    return "\n\n".join(paragraphs) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page())
