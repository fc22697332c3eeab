"""A lineage graph as a picture: SVG that stands alone, for pages, READMEs and reports.

Cards are versions, pills are runs, data flows from left to right. The same
graph gives the same bytes. Colours follow the reader's light or dark setting.
"""

from __future__ import annotations

from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING

from headwater.model.layout import Box, Layout, arrange
from headwater.model.naming import LATEST
from headwater.model.sizes import size_in_words

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from headwater.model.records import RunRecord, VersionRecord

MARGIN = 28.0
ROW_GAP = 42.0
"""Between two ranks of a drawing that runs downward, where labels need less room."""
CARD_HEIGHT, PILL_HEIGHT = 58.0, 36.0
TYPE_COLOURS = ("#0f766e", "#7c3aed", "#b45309", "#be185d", "#1d4ed8", "#4d7c0f", "#0e7490", "#a21caf")
KNOWN_TYPES = {"dataset": 0, "model": 1, "metrics": 2, "report": 2}
STATE_COLOURS = {"finished": "#22c55e", "running": "#f59e0b", "failed": "#ef4444", "lost": "#94a3b8",
                 "cancelled": "#94a3b8", "skipped": "#94a3b8", "cached": "#38bdf8"}  # fmt: skip
WIDE, NARROW = 1.0, 0.52
"""Width of a letter over the font size: of wide scripts, and of a usual sans serif in lower case."""

STYLE = """
.page{fill:#ffffff}.card{fill:#ffffff;stroke:#d5dce4}.card.root{stroke:#334155;stroke-width:2}
.name{font-size:14px;font-weight:600;fill:#0f172a}.fact{font-size:11.5px;fill:#64748b}
.badge{fill:#eef2f6}.badge-text{font-size:11.5px;font-weight:600;fill:#334155}
.pill{fill:#1e293b}.verb{font-size:13px;font-weight:600;fill:#f8fafc}.took{font-size:11px;fill:#a9b6c6}
.edge{fill:none;stroke:#a8b4c2;stroke-width:1.6}.again{stroke-dasharray:4 4}.tip{fill:#a8b4c2}
.role{font-size:10.5px;fill:#64748b;stroke:#ffffff;stroke-width:5px;paint-order:stroke;stroke-linejoin:round}
text{font-family:Inter,system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
@media (prefers-color-scheme:dark){.page{fill:#0d1117}.card{fill:#161b22;stroke:#30363d}.card.root{stroke:#c9d1d9}
.name{fill:#e6edf3}.fact,.role{fill:#8b949e}.badge{fill:#21262d}.badge-text{fill:#c9d1d9}.pill{fill:#30405a}
.role{stroke:#0d1117}.edge{stroke:#57606a}.tip{fill:#57606a}}
"""


def draw(
    versions: Sequence[VersionRecord],
    runs: Sequence[RunRecord],
    edges: Sequence[tuple[str, str, str]],
    roots: Collection[str] = (),
    *,
    downward: bool = False,
) -> str:
    """Draw a graph as one SVG document.

    Text is escaped and sized by an estimate of its width, as no font is at hand; long names are cut with `…`.

    Args:
        versions: Drawn as cards.
        runs: Drawn as pills.
        edges: (id, id, words) along the flow of data.
        roots: Ids of versions to stress.
        downward: Let data flow from top to bottom: for narrow pages.
    """
    sizes = {v.id: (_card_width(v), CARD_HEIGHT) for v in versions}
    sizes |= {r.id: (_pill_width(r), PILL_HEIGHT) for r in runs}
    pairs = [(a, b) for a, b, _ in edges]
    layout = _turned(sizes, pairs) if downward else arrange(sizes, pairs)
    parts = [_edge(layout, a, b, words) for a, b, words in edges if (a, b) in layout.routes]
    parts += [_card(v, layout.boxes[v.id], root=v.id in roots) for v in versions]
    parts += [_pill(r, layout.boxes[r.id]) for r in runs]
    return _document(layout, parts, title=f"Lineage: {len(versions)} versions, {len(runs)} runs")


def _turned(sizes: dict[str, tuple[float, float]], pairs: list[tuple[str, str]]) -> Layout:
    lying = arrange({node: (high, wide) for node, (wide, high) in sizes.items()}, pairs, ROW_GAP)
    boxes = {node: Box(b.y, b.x, b.height, b.width) for node, b in lying.boxes.items()}
    routes = {pair: [(y, x) for x, y in points] for pair, points in lying.routes.items()}
    return Layout(boxes, routes, lying.height, lying.width)


def _document(layout: Layout, parts: Sequence[str], title: str) -> str:
    width, height = layout.width + 2 * MARGIN, layout.height + 2 * MARGIN
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img">\n<title>{escape(title)}</title>\n<style>{STYLE}</style>\n'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path class="tip" d="M0 0.6 8 4 0 7.4z"/></marker></defs>\n'
        '<rect class="page" width="100%" height="100%" rx="10"/>\n'
        f'<g transform="translate({MARGIN:.0f} {MARGIN:.0f})">\n'
        f"{body}\n</g>\n</svg>\n"
    )


def _card(version: VersionRecord, box: Box, *, root: bool) -> str:
    number = "draft" if version.number is None else f"v{version.number}"
    wide = _width(number, 11.5) + 14
    badge = Box(box.x + box.width - 12 - wide, box.y + 12, wide, 18)
    return "\n".join(
        (
            f"<g>{_rect('card root' if root else 'card', box, 9)}",
            _rect("", Box(box.x + 8, box.y + 12, 4, box.height - 24), 2, fill=_type_colour(version.type)),
            _text("name", box.x + 22, box.y + 25, _cut(_title(version), 34)),
            _rect("badge", badge, 9),
            _text("badge-text", badge.x + wide / 2, box.y + 25, number, middle=True),
            f"{_text('fact', box.x + 22, box.y + 44, _facts(version))}</g>",
        )
    )


def _pill(run: RunRecord, box: Box) -> str:
    name, left, base = _cut(run.name, 28), box.x + 28, box.middle + 4.5
    dot = f'<circle cx="{box.x + 17:.1f}" cy="{box.middle:.1f}" r="4" fill="{STATE_COLOURS[run.state]}">'
    return "\n".join(
        (
            f"<g>{_rect('pill', box, box.height / 2)}",
            f"{dot}<title>{run.state}</title></circle>",
            _text("verb", left, base, name),
            f"{_text('took', left + _width(name, 13, bold=True) + 7, base, _took(run))}</g>",
        )
    )


def _edge(layout: Layout, a: str, b: str, words: str) -> str:
    points = layout.routes[a, b]
    down = points[0][1] == layout.boxes[a].y + layout.boxes[a].height
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}" + "".join(_bend(p, q, down=down) for p, q in pairwise(points))
    again = " again" if words == "reproduced" else ""
    drawn = f'<path class="edge{again}" d="{path}" marker-end="url(#tip)"/>'
    (x0, y0), (x1, y1) = points[0], points[1]
    return drawn + (_text("role", (x0 + x1) / 2, (y0 + y1) / 2 + 3.5, _cut(words, 12), middle=True) if words else "")


def _bend(start: tuple[float, float], end: tuple[float, float], *, down: bool) -> str:
    (x0, y0), (x1, y1) = start, end
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    turns = f"{x0:.1f} {y:.1f} {x1:.1f} {y:.1f}" if down else f"{x:.1f} {y0:.1f} {x:.1f} {y1:.1f}"
    return f"C{turns} {x1:.1f} {y1:.1f}"


def _rect(kind: str, box: Box, radius: float, fill: str = "") -> str:
    look = f'class="{kind}"' if kind else f'fill="{fill}"'
    place = f'x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}"'
    return f'<rect {look} {place} rx="{radius:g}"/>'


def _text(kind: str, x: float, y: float, words: str, *, middle: bool = False) -> str:
    anchor = ' text-anchor="middle"' if middle else ""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}"{anchor}>{escape(words)}</text>'


def _title(version: VersionRecord) -> str:
    return version.artifact + (f"[{version.partition}]" if version.partition else "")


def _facts(version: VersionRecord) -> str:
    size = version.stored_size + (version.referenced_size or 0)
    files = "1 file" if version.n_entries == 1 else f"{version.n_entries:,} files"
    names = [alias for alias in version.aliases if alias != LATEST]
    return _cut(" · ".join([version.type, files, size_in_words(size), *names]), 52)


def _took(run: RunRecord) -> str:
    if run.finished_at is None:
        return run.state
    seconds = (run.finished_at - run.started_at).total_seconds()
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _card_width(version: VersionRecord) -> float:
    number = "draft" if version.number is None else f"v{version.number}"
    first = _width(_cut(_title(version), 34), 14, bold=True) + 12 + _width(number, 11.5) + 14
    return 22 + max(first, _width(_facts(version), 11.5)) + 14


def _pill_width(run: RunRecord) -> float:
    return 28 + _width(_cut(run.name, 28), 13, bold=True) + 7 + _width(_took(run), 11) + 18


def _width(words: str, size: float, *, bold: bool = False) -> float:
    return sum(_letters(words)) * size * (1.08 if bold else 1.0)


def _letters(words: str) -> Iterable[float]:
    for letter in words:
        if letter in "iljtf.,:;|!'[]() ·":
            yield 0.33
        elif letter in "mwMW—…@%":
            yield 0.86
        else:
            yield WIDE if ord(letter) > 0x1100 else 0.66 if letter.isupper() else NARROW + 0.04


def _cut(words: str, longest: int) -> str:
    return words if len(words) <= longest else words[: longest - 1] + "…"


def _type_colour(kind: str) -> str:
    number = KNOWN_TYPES.get(kind, sum(kind.encode()))
    return TYPE_COLOURS[number % len(TYPE_COLOURS)]
