"""Where the nodes of a layered graph go, so that its edges run one way and cross little.

The steps of Sugiyama, Tagawa and Toda (1981), each in its simplest form: ranks by
longest path, an edge over several ranks held by a point in each, orders by repeated
barycentres, heights by pulling nodes towards their neighbours. Deterministic, and
linear in the edges for each of a fixed number of sweeps.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

SWEEPS = 12
COLUMN_GAP = 54.0
ROW_GAP = 18.0


class Box(NamedTuple):
    """A placed node; `x` and `y` are its upper left corner."""

    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        """Height of its centre."""
        return self.y + self.height / 2


class Layout(NamedTuple):
    """Every node's box, every edge's points from left to right, and the size of it all."""

    boxes: dict[str, Box]
    routes: dict[tuple[str, str], list[tuple[float, float]]]
    width: float
    height: float


def arrange(
    sizes: Mapping[str, tuple[float, float]], edges: Iterable[tuple[str, str]], gap: float = COLUMN_GAP
) -> Layout:
    """Place nodes of the given (width, height); an edge that would close a circle is drawn, but moves nothing.

    Args:
        sizes: By node.
        edges: Drawn from left to right.
        gap: Between two ranks.
    """
    wanted = sorted({(a, b) for a, b in edges if a in sizes and b in sizes and a != b})
    forward = _without_circles(sizes, wanted)
    rank = _ranks(sizes, forward)
    chains = {edge: _chain(edge, rank) for edge in forward}
    columns = _columns(rank, chains)
    links = [pair for chain in chains.values() for pair in pairwise(chain)]
    _untangle(columns, links)
    boxes = _place(columns, links, sizes, gap)
    routes = {edge: _route([boxes[node] for node in chains.get(edge, list(edge))]) for edge in wanted}
    real = {node: boxes[node] for node in sizes}
    width = max((b.x + b.width for b in real.values()), default=0.0)
    return Layout(real, routes, width, max((b.y + b.height for b in boxes.values()), default=0.0))


def _without_circles(nodes: Iterable[str], edges: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    after = defaultdict(list)
    for a, b in edges:
        after[a].append(b)
    state: dict[str, int] = {}
    backward: set[tuple[str, str]] = set()
    for start in nodes:
        stack = [(start, iter(after[start]))] if start not in state else []
        state.setdefault(start, 1)
        while stack:
            node, targets = stack[-1]
            target = next(targets, None)
            if target is None:
                state[node] = 2
                stack.pop()
            elif state.get(target) == 1:
                backward.add((node, target))
            elif target not in state:
                state[target] = 1
                stack.append((target, iter(after[target])))
    return [edge for edge in edges if edge not in backward]


def _ranks(nodes: Iterable[str], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    after, before = _neighbours(edges)
    waiting = {node: len(before[node]) for node in nodes}
    ready = [node for node, count in waiting.items() if not count]
    rank = dict.fromkeys(waiting, 0)
    for node in ready:  # grows while it is walked
        for target in after[node]:
            rank[target] = max(rank[target], rank[node] + 1)
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    for node in reversed(ready):  # a source stands next to its first reader, not at the far left
        if not before[node] and after[node]:
            rank[node] = min(rank[target] for target in after[node]) - 1
    return rank


def _neighbours(edges: Iterable[tuple[str, str]]) -> tuple[defaultdict[str, list[str]], defaultdict[str, list[str]]]:
    after, before = defaultdict(list), defaultdict(list)
    for a, b in edges:
        after[a].append(b)
        before[b].append(a)
    return after, before


def _chain(edge: tuple[str, str], rank: Mapping[str, int]) -> list[str]:
    a, b = edge
    return [a, *(f"{a}\0{b}\0{at}" for at in range(rank[a] + 1, rank[b])), b]


def _columns(rank: Mapping[str, int], chains: Mapping[tuple[str, str], list[str]]) -> list[list[str]]:
    columns: list[list[str]] = [[] for _ in range(max(rank.values(), default=-1) + 1)]
    for node, at in rank.items():
        columns[at].append(node)
    for (a, _), chain in chains.items():
        for step, node in enumerate(chain[1:-1], start=1):
            columns[rank[a] + step].append(node)
    return columns


def _untangle(columns: list[list[str]], links: Sequence[tuple[str, str]]) -> None:
    after, before = _neighbours(links)
    for sweep in range(SWEEPS):
        rightward = sweep % 2 == 0
        near = before if rightward else after
        for column in columns if rightward else reversed(columns):
            at = {node: float(i) for other in columns for i, node in enumerate(other)}
            weight = {n: sum(at[m] for m in near[n]) / len(near[n]) if near[n] else at[n] for n in column}
            column.sort(key=weight.__getitem__)


def _place(
    columns: list[list[str]],
    links: Sequence[tuple[str, str]],
    sizes: Mapping[str, tuple[float, float]],
    gap: float,
) -> dict[str, Box]:
    after, before = _neighbours(links)
    height = {node: sizes.get(node, (0.0, 0.0))[1] for column in columns for node in column}
    middle: dict[str, float] = {}
    for column in columns:
        _stack(column, dict.fromkeys(column, 0.0), height, middle)
    for sweep in range(SWEEPS):
        for column in columns if sweep % 2 else reversed(columns):
            near = {n: [middle[m] for m in (*before[n], *after[n])] for n in column}
            wish = {n: sum(ys) / len(ys) if ys else middle[n] for n, ys in near.items()}
            _stack(column, wish, height, middle)
    top = min((middle[n] - height[n] / 2 for n in middle), default=0.0)
    boxes, x = {}, 0.0
    for column in columns:
        wide = max((sizes.get(node, (0.0, 0.0))[0] for node in column), default=0.0)
        for node in column:
            own = sizes.get(node, (wide, 0.0))[0]
            boxes[node] = Box(x + (wide - own) / 2, middle[node] - height[node] / 2 - top, own, height[node])
        x += wide + gap
    return boxes


def _stack(column: list[str], wish: Mapping[str, float], height: Mapping[str, float], middle: dict[str, float]) -> None:
    """Put a column's nodes near where they wish to be, in order and apart: averages of a push down and a push up."""
    down, floor = {}, float("-inf")
    for node in column:
        down[node] = max(wish[node], floor + height[node] / 2)
        floor = down[node] + height[node] / 2 + ROW_GAP
    up, ceiling = {}, float("inf")
    for node in reversed(column):
        up[node] = min(wish[node], ceiling - height[node] / 2)
        ceiling = up[node] - height[node] / 2 - ROW_GAP
    middle.update({node: (down[node] + up[node]) / 2 for node in column})


def _route(boxes: Sequence[Box]) -> list[tuple[float, float]]:
    first, last = boxes[0], boxes[-1]
    between = [point for box in boxes[1:-1] for point in ((box.x, box.middle), (box.x + box.width, box.middle))]
    return [(first.x + first.width, first.middle), *between, (last.x, last.middle)]
