"""A graph of 100,000 runs and 1,000,000 edges: how long a transitive question takes on SQLite."""

from __future__ import annotations

import random
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import child
from benchmarks.figures import Figure, at_most

TITLE = "Lineage over 100,000 runs and 1,000,000 edges"
ISLANDS, LAYERS, WIDTH, USES = 8, 20, 625, 9
"""8 islands of 20 layers of 625 versions, each made by a run that used 9 of the layer before."""
SLICE = 50_000


def rows() -> dict[str, Iterator[dict[str, Any]]]:
    """Table → rows. Versions and runs share their numbers: run n made version n."""
    total = ISLANDS * LAYERS * WIDTH
    chance = random.Random(1)
    layer = [(n // WIDTH) % LAYERS for n in range(total)]
    start = [n // WIDTH * WIDTH for n in range(total)]
    sources = {n: chance.sample(range(start[n] - WIDTH, start[n]), USES) for n in range(total) if layer[n]}
    now = 1_700_000_000_000_000
    made = {"project": "bench", "type": "dataset", "created_at": now, "updated_at": now}
    ran = {"attempt": 1, "project": "bench", "name": "step", "state": "finished", "actor": "bench", "lease_until": 0}
    stood = {"state": "published", "n_entries": 1, "stored_size": 1, "created_by": "bench"}
    island = LAYERS * WIDTH
    return {
        "artifacts": (
            {"id": i + 1, "uid": f"artifact{i}", "name": f"island{i}", "next_number": island, **made}
            for i in range(ISLANDS)
        ),
        "runs": (
            {"id": n + 1, "uid": f"run{n:08}", "key": f"b:{n}", "started_at": now + n, "finished_at": now + n, **ran}
            for n in range(total)
        ),
        "versions": (
            {
                "id": n + 1, "uid": f"version{n:08}", "artifact": n // island + 1, "number": n % island, "run": n + 1,
                "root": n.to_bytes(32, "big"), "created_at": now + n, "published_at": now + n, **stood,
            }
            for n in range(total)
        ),
        "uses": (
            {"run": n + 1, "version": s + 1, "role": "", "asked": "", "at": n} for n, of in sources.items() for s in of
        ),
        "logs": ({"run": n + 1, "version": n + 1, "role": "", "kind": "created", "at": now} for n in range(total)),
        "derivations": ({"version": n + 1, "source": s + 1} for n, ss in sources.items() for s in ss),
    }  # fmt: skip


def fill(home: str) -> dict[str, Any]:
    """Make the repository, and load the graph past the verbs: a million of them would take an hour."""
    import sqlalchemy as sa

    import headwater as hw
    from headwater.catalog import tables

    hw.connect(home).close()
    engine = sa.create_engine(f"sqlite:///{home}/catalog.sqlite")
    for name, made in rows().items():
        batch = list(made)
        with engine.begin() as connection:
            for at in range(0, len(batch), SLICE):
                connection.execute(getattr(tables, name).insert(), batch[at : at + SLICE])
    with engine.connect() as connection:
        connection.exec_driver_sql("ANALYZE")
        connection.commit()
    return {}


def ask(home: str) -> dict[str, Any]:
    """Median seconds of each question, after one to warm up."""
    import headwater as hw

    repository = hw.connect(home, project="bench")
    top = repository.version(f"island0:v{LAYERS * WIDTH - 1}")
    middle = repository.version(f"island0:v{10 * WIDTH}")
    graph = top.upstream()
    return {
        "query": median(lambda: closure(home, top.id)),
        "upstream": median(top.upstream),
        "edges": median(lambda: top.upstream().uses),
        "records": median(lambda: top.upstream().versions),
        "near": median(lambda: top.upstream(depth=1)),
        "downstream": median(middle.downstream),
        "users": median(middle.used_by),
        "versions": len(graph),
        "n_edges": len(graph.uses) + len(graph.logs),
    }


def closure(home: str, version_id: str) -> int:
    """The recursive query alone, past our own code."""
    import sqlite3

    from headwater.catalog.lineage import walk

    with sqlite3.connect(f"{home}/catalog.sqlite") as connection:
        query = walk("upstream", depth=False, all_edges=False, limit=False).format(having="uid = ?")
        return len(connection.execute(query, (version_id,)).fetchall())


def median(question: Callable[[], object]) -> float:
    """Median of nine."""
    times = []
    for _ in range(9):
        start = time.perf_counter()
        question()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def measure(work: Path, *, peers: bool) -> list[Figure]:
    """All figures of this file; no peer answers the question offline."""
    del peers
    home = work / "home-lineage"
    shutil.rmtree(home, ignore_errors=True)
    child.run(fill, home=str(home))
    mine = child.run(ask, home=str(home))
    note = f"{mine['versions']:,} versions, {mine['n_edges']:,} edges"
    figures = [
        at_most("upstream, 20 layers deep", mine["upstream"] * 1000, 100, "ms", note),
        Figure(what="  of that the recursive query", value=mine["query"] * 1000, unit="ms"),
        Figure(what="  and its edges, when looked at", value=mine["edges"] * 1000, unit="ms"),
        Figure(what="  and its versions' records, when looked at", value=mine["records"] * 1000, unit="ms"),
        Figure(what="upstream, one step", value=mine["near"] * 1000, unit="ms"),
        Figure(what="downstream, 10 layers deep", value=mine["downstream"] * 1000, unit="ms"),
        Figure(what="used by", value=mine["users"] * 1000, unit="ms"),
        Figure(what="peak memory", value=mine["peak_mib"], unit="MiB"),
    ]
    shutil.rmtree(home)
    return figures
