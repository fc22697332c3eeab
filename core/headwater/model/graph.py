"""A piece of lineage as a value: versions, runs, and the two edges between them.

A run *used* versions and *logged* versions. `to_json`, `to_dot`, `to_mermaid`
and `to_svg` give the same graph to programs, Graphviz, Markdown and people.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import msgspec

from headwater.model.records import Direction, EdgeRecord, LogKind, RunRecord, VersionRecord


def label(version: VersionRecord) -> str:
    """`artifact[partition]:v3`; a draft is `artifact:draft`."""
    partition = f"[{version.partition}]" if version.partition else ""
    return f"{version.artifact}{partition}:{'draft' if version.number is None else f'v{version.number}'}"


class Graph:
    """A lineage graph around one or more versions; immutable.

    Which versions are in it is known from the start; edges and records are asked for when first looked at,
    all of a kind at once.

    Attributes:
        ids: Of its versions, sorted.
        roots: Ids of the versions that were asked about.
        direction: From the roots, `upstream` or `downstream`.
    """

    def __init__(
        self,
        ids: Iterable[str],
        roots: tuple[str, ...],
        direction: Direction,
        *,
        edges: Callable[[], EdgeRecord],
        nodes: Callable[[Sequence[str], Sequence[str]], tuple[Sequence[VersionRecord], Sequence[RunRecord]]],
    ) -> None:
        """`edges()` gives the edges among the versions, `nodes(version ids, run ids)` records in any order."""
        self.ids = tuple(sorted(ids))
        self.roots = roots
        self.direction = direction
        self._ask_edges, self._ask_nodes = edges, nodes

    @cached_property
    def versions(self) -> dict[str, VersionRecord]:
        """Version id → record, sorted by id."""
        versions, _ = self._ask_nodes(self.ids, ())
        return {v.id: v for v in sorted(versions, key=lambda v: v.id)}

    @cached_property
    def runs(self) -> dict[str, RunRecord]:
        """Run id → record, in the order they started."""
        ids = {use[0] for use in self.uses} | {log[0] for log in self.logs}
        _, runs = self._ask_nodes((), sorted(ids))
        return {r.id: r for r in sorted(runs, key=lambda r: (r.started_at, r.id))}

    @cached_property
    def _edges(self) -> EdgeRecord:
        return self._ask_edges()

    @property
    def uses(self) -> tuple[tuple[str, str, str | None], ...]:
        """(run id, version id, role), sorted."""
        return self._edges.uses

    @property
    def logs(self) -> tuple[tuple[str, str, str | None, LogKind], ...]:
        """(run id, version id, role, kind), sorted."""
        return self._edges.logs

    @property
    def derivations(self) -> tuple[tuple[str, str], ...]:
        """(version id, id of a version it derives from), sorted."""
        return self._edges.derivations

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, version: object) -> bool:
        wanted = getattr(version, "id", version)
        at = bisect_left(self.ids, wanted) if isinstance(wanted, str) else len(self.ids)
        return at < len(self.ids) and self.ids[at] == wanted

    def __getstate__(self) -> dict[str, Any]:
        """Pickled with everything in it: where it is read there may be nobody to ask."""
        whole = {"versions": self.versions, "runs": self.runs, "_edges": self._edges}
        return whole | {"ids": self.ids, "roots": self.roots, "direction": self.direction}

    def __repr__(self) -> str:
        return f"<Graph {self.direction} of {', '.join(self.roots)}: {len(self.ids)} versions>"

    def to_json(self) -> dict[str, Any]:
        """Plain values: nodes with what people look at, edges by id."""
        return {
            "direction": self.direction,
            "roots": list(self.roots),
            "versions": [_version_json(v) for v in self.versions.values()],
            "runs": [_run_json(r) for r in self.runs.values()],
            "uses": [{"run": r, "version": v, "role": role} for r, v, role in self.uses],
            "logs": [{"run": r, "version": v, "role": role, "kind": kind} for r, v, role, kind in self.logs],
            "derivations": [{"version": v, "from": s} for v, s in self.derivations],
        }

    def edges(self) -> Iterator[tuple[str, str, str]]:
        """(from id, to id, label) along the flow of data: version → run → version."""
        yield from ((v, r, role or "") for r, v, role in self.uses)
        for r, v, role, kind in self.logs:
            yield r, v, role or ("" if kind == "created" else kind)

    def to_dot(self) -> str:
        """Graphviz: boxes are versions, ellipses runs."""
        lines = ["digraph headwater {", "  rankdir=LR;", '  node [fontname="Helvetica", fontsize=11];']
        for v in self.versions.values():
            style = "bold" if v.id in self.roots else "solid"
            lines.append(f'  "{v.id}" [shape=box, style="rounded,{style}", label="{_dot(label(v))}\\n{_dot(v.type)}"];')
        lines += [f'  "{r.id}" [shape=ellipse, label="{_dot(r.name)}\\n{r.state}"];' for r in self.runs.values()]
        lines += [
            f'  "{a}" -> "{b}"' + (f' [label="{_dot(text)}"]' if text else "") + ";" for a, b, text in self.edges()
        ]
        return "\n".join([*lines, "}", ""])

    def to_mermaid(self) -> str:
        """A Mermaid flowchart, as GitHub and many wikis draw it."""
        ids = {node: f"n{i}" for i, node in enumerate([*self.versions, *self.runs])}
        lines = ["flowchart LR"]
        lines += [f'  {ids[v.id]}["{_mermaid(label(v))}"]' for v in self.versions.values()]
        lines += [f'  {ids[r.id]}(["{_mermaid(r.name)}"])' for r in self.runs.values()]
        for a, b, text in self.edges():
            lines.append(f"  {ids[a]} -->" + (f'|"{_mermaid(text)}"| ' if text else " ") + ids[b])
        return "\n".join([*lines, ""])

    def to_svg(self, *, downward: bool = False) -> str:
        """A picture that stands alone: cards are versions, pills runs; light or dark as the reader's page is.

        Args:
            downward: Data flows from top to bottom instead of left to right.
        """
        from headwater.model.drawing import draw  # only who asks for a picture pays for it

        return draw(
            list(self.versions.values()), list(self.runs.values()), list(self.edges()), self.roots, downward=downward
        )

    def tree(self) -> list[Branch]:
        """The graph as a tree from each root, for terminals; what was shown before is cut short."""
        makers, readers = self._index()
        return [self._branch(root, makers, readers, seen=set()) for root in self.roots]

    def _index(self) -> tuple[dict[str, list[tuple[str, str | None]]], dict[str, list[tuple[str, str | None]]]]:
        # Upstream: version → its run, run → what it used. Downstream: version → its readers, run → what it logged.
        from_version: dict[str, list[tuple[str, str | None]]] = defaultdict(list)
        from_run: dict[str, list[tuple[str, str | None]]] = defaultdict(list)
        up = self.direction == "upstream"
        for run, version, role in self.uses:
            (from_run[run] if up else from_version[version]).append((version if up else run, role))
        for run, version, role, _ in self.logs:
            (from_version[version] if up else from_run[run]).append((run if up else version, role))
        return from_version, from_run

    def _branch(
        self,
        root: str,
        from_version: dict[str, list[tuple[str, str | None]]],
        from_run: dict[str, list[tuple[str, str | None]]],
        seen: set[str],
    ) -> Branch:
        top = Branch(version=self.versions[root])
        stack = [(root, top)]  # explicit: a lineage may be deeper than Python's recursion limit
        while stack:
            version_id, branch = stack.pop()
            if version_id in seen:
                branch.again = bool(from_version.get(version_id))
                continue
            seen.add(version_id)
            for run_id, role in from_version.get(version_id, []):
                step = Step(run=self.runs[run_id], role=role)
                branch.steps.append(step)
                for child_id, child_role in from_run.get(run_id, []):
                    if child_id in self.versions and child_id != version_id:
                        child = Branch(version=self.versions[child_id], role=child_role)
                        step.branches.append(child)
                        stack.append((child_id, child))
        return top


class Step(msgspec.Struct):
    """A run in a tree, with the versions on its far side."""

    run: RunRecord
    role: str | None = None
    branches: list[Branch] = []


class Branch(msgspec.Struct):
    """A version in a tree, with the runs on its far side."""

    version: VersionRecord
    role: str | None = None
    steps: list[Step] = []
    again: bool = False
    """Its runs are shown elsewhere in the tree."""


def _version_json(v: VersionRecord) -> dict[str, Any]:
    return {
        "id": v.id,
        "project": v.project,
        "artifact": v.artifact,
        "partition": v.partition,
        "number": v.number,
        "type": v.type,
        "digest": v.digest,
        "state": v.state,
        "size": v.stored_size,
        "created_at": v.created_at.isoformat(),
    }


def _run_json(r: RunRecord) -> dict[str, Any]:
    return {
        "id": r.id,
        "key": r.key,
        "attempt": r.attempt,
        "project": r.project,
        "name": r.name,
        "group": r.group,
        "state": r.state,
        "started_at": r.started_at.isoformat(),
        "links": r.links,
    }


def _dot(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")


def _mermaid(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace("\n", " ")
