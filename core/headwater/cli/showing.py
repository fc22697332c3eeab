"""`demo` and `completion`: for those who have just arrived."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from headwater.cli.session import Session, Verb

DEMO_FOLDER = "demo-output"


@click.command(cls=Verb)
@click.argument("folder", metavar="[DIR]", default=DEMO_FOLDER, type=click.Path(file_okay=False))
@click.pass_obj
def demo(session: Session, folder: str) -> None:
    """Run a small pipeline on real data three times and see what is stored; in a repository of its own in DIR."""
    from headwater.demo.tour import show

    if session.as_json:
        raise click.UsageError("the demo is for reading and has no JSON form")
    show(Path(folder))


@click.command(cls=Verb)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_obj
def completion(session: Session, shell: Literal["bash", "zsh", "fish"]) -> None:
    """Print what makes SHELL complete commands, options and names of artifacts.

    In bash or zsh, put `eval "$(headwater completion bash)"`, or zsh, into ~/.bashrc or ~/.zshrc. In fish, save the
    output as ~/.config/fish/completions/headwater.fish.
    """
    from click.shell_completion import get_completion_class

    from headwater.cli.root import headwater

    cls = get_completion_class(shell)
    assert cls is not None, "click brings these three"
    script = cls(headwater, {}, "headwater", "_HEADWATER_COMPLETE").source()
    if shell == "bash":  # bash cuts words at colons, which our names hold
        script += '\nCOMP_WORDBREAKS="${COMP_WORDBREAKS//:/}"\n'
    session.emit({"shell": shell, "script": script}, lambda: script)
