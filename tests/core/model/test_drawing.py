"""The lineage picture: well-formed, deterministic, nothing overlaps, no text escapes as markup."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from headwater.model.graph import Graph
from headwater.model.layout import arrange
from headwater.model.records import EdgeRecord, RunRecord, VersionRecord

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def version(vid: str, name: str = "data", number: int | None = 0, type: str = "dataset") -> VersionRecord:
    return VersionRecord(
        id=vid, project="p", artifact=name, type=type, number=number, state="published", digest="blake3:00",
        n_entries=3, stored_size=1234, referenced_size=0, created_at=NOW, created_by="me",
    )  # fmt: skip


def run(rid: str, name: str = "train") -> RunRecord:
    return RunRecord(
        id=rid, key=rid, attempt=1, project="p", name=name, state="finished", actor="me", started_at=NOW,
        finished_at=NOW + timedelta(seconds=3.2),
    )  # fmt: skip


def graph(versions: tuple[VersionRecord, ...], runs: tuple[RunRecord, ...], edges: EdgeRecord, *roots: str) -> Graph:
    return Graph([v.id for v in versions], roots, "upstream", edges=lambda: edges, nodes=lambda _, __: (versions, runs))


def diamond() -> Graph:
    versions = tuple(version(v, f"artifact-{v}") for v in "abcd")
    runs = tuple(run(r, f"step {r}") for r in ("r1", "r2", "r3"))
    edges = EdgeRecord(
        uses=(("r1", "a", None), ("r2", "a", "left"), ("r3", "b", None), ("r3", "c", None)),
        logs=(("r1", "b", None, "created"), ("r2", "c", None, "created"), ("r3", "d", None, "created"),
              ("r1", "c", None, "reproduced")),
        derivations=(("b", "a"), ("c", "a"), ("d", "b"), ("d", "c")),
    )  # fmt: skip
    return graph(versions, runs, edges, "d")


def test_the_picture_is_well_formed_and_names_every_node() -> None:
    root = ET.fromstring(diamond().to_svg())
    words = " ".join(root.itertext())
    for name in ("artifact-a", "artifact-d", "step r1", "left", "v0", "3 files"):
        assert name in words


def test_downward_the_picture_is_narrow_and_says_the_same() -> None:
    lying, standing = (ET.fromstring(diamond().to_svg(downward=downward)) for downward in (False, True))
    assert float(standing.attrib["width"]) < float(lying.attrib["width"])
    assert float(standing.attrib["height"]) > float(lying.attrib["height"])
    assert sorted(standing.itertext()) == sorted(lying.itertext())


def test_the_same_graph_gives_the_same_bytes() -> None:
    assert diamond().to_svg() == diamond().to_svg()


def test_names_cannot_become_markup() -> None:
    nasty = '<script>alert("&")</script>'
    picture = graph((version("a", nasty),), (run("r", nasty),), EdgeRecord(uses=(("r", "a", nasty),)), "a").to_svg()
    assert "<script" not in picture
    ET.fromstring(picture)


def test_an_empty_graph_is_an_empty_picture() -> None:
    ET.fromstring(graph((), (), EdgeRecord()).to_svg())


nodes = st.integers(1, 12)


@given(st.data(), nodes)
def test_whatever_the_graph_no_two_nodes_overlap_and_every_edge_has_a_route(data: st.DataObject, n: int) -> None:
    names = [f"n{i}" for i in range(n)]
    edges = data.draw(st.lists(st.tuples(st.sampled_from(names), st.sampled_from(names)), max_size=30))
    layout = arrange({name: (60.0 + 5 * i, 40.0) for i, name in enumerate(names)}, edges)
    assert set(layout.routes) == {(a, b) for a, b in edges if a != b}
    for one, other in combinations(layout.boxes.values(), 2):
        apart_x = one.x + one.width <= other.x or other.x + other.width <= one.x
        apart_y = one.y + one.height <= other.y + 1e-6 or other.y + other.height <= one.y + 1e-6
        assert apart_x or apart_y
    assert all(box.x >= 0 and box.y >= -1e-6 for box in layout.boxes.values())


def test_in_a_graph_without_circles_data_flows_to_the_right() -> None:
    layout = arrange(dict.fromkeys("abcde", (50.0, 30.0)), [("a", "b"), ("b", "c"), ("a", "c"), ("d", "c"), ("c", "e")])
    for (a, b), points in layout.routes.items():
        assert layout.boxes[a].x < layout.boxes[b].x
        assert points == sorted(points, key=lambda p: p[0])
