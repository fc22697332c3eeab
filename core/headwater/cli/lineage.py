"""`lineage`: the graph around a version as a tree, JSON, Graphviz, Mermaid or a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from headwater.cli.completion import complete_name
from headwater.cli.session import Session, Verb, clean
from headwater.model.graph import Branch, Step, label

if TYPE_CHECKING:
    from headwater.model.graph import Graph

_FORMS = {"dot": "to_dot", "mermaid": "to_mermaid", "svg": "to_svg"}


@click.command(cls=Verb)
@click.argument("name", shell_complete=complete_name)
@click.option("--downstream", is_flag=True, help="What was made from it, not what it was made from.")
@click.option("--depth", type=click.IntRange(1), metavar="N", help="Most steps to go.  [default: all]")
@click.option("--all-edges", is_flag=True, help="Follow also runs that only reproduced a version.")
@click.option("--dot", "form", flag_value="dot", help="As Graphviz.")
@click.option("--mermaid", "form", flag_value="mermaid", help="As Mermaid, for Markdown.")
@click.option("--svg", "form", flag_value="svg", help="As a picture.")
@click.pass_obj
def lineage(
    session: Session, name: str, downstream: bool, depth: int | None, all_edges: bool, form: str | None
) -> None:
    """Show what the version NAME was made from, transitively, and by which runs."""
    version = session.repository.version(name)
    follow = version.downstream if downstream else version.upstream
    graph = follow(depth, all_edges=all_edges)
    session.emit(graph.to_json(), lambda: _drawn(graph, form))


def _drawn(graph: Graph, form: str | None) -> str:
    if form is not None:
        return str(getattr(graph, _FORMS[form])()).rstrip("\n")
    return tree(graph)


def tree(graph: Graph) -> str:
    """The graph as an indented tree: versions, and between them the runs.

    vision/cnn:v1  model
    └─ train  finished
       └─ vision/mnist:v0  dataset  as train
    """
    up = graph.direction == "upstream"
    return "\n".join(line for branch in graph.tree() for line in _branch(branch, up=up))


def _branch(branch: Branch, *, up: bool) -> Iterator[str]:
    """Lines of a branch; on an explicit stack, for a lineage may be deeper than Python's recursion limit."""
    stack: list[tuple[str, str, Branch | Step]] = [("", "", branch)]
    while stack:
        lead, indent, node = stack.pop()
        yield lead + (_version_line(node, up=up) if isinstance(node, Branch) else _run_line(node))
        children: Sequence[Step | Branch] = node.steps if isinstance(node, Branch) else node.branches
        for at, child in reversed(list(enumerate(children))):
            last = at == len(children) - 1
            stack.append((indent + ("└─ " if last else "├─ "), indent + ("   " if last else "│  "), child))


def _version_line(branch: Branch, *, up: bool) -> str:
    v = branch.version
    text = click.style(clean(f"{v.project}/{label(v)}"), bold=True) + f"  {clean(v.type)}"
    text += f"  ({v.state})" if v.state not in ("published", "draft") else ""
    text += f"  as {clean(branch.role)}" if branch.role else ""
    return text + (f"  {'made' if up else 'used'} as shown elsewhere" if branch.again else "")


def _run_line(step: Step) -> str:
    return f"{clean(step.run.name)}  {step.run.state}" + (f"  as {clean(step.role)}" if step.role else "")
