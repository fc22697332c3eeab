"""PostgreSQL: small commits from many writers, and questions to a catalog of a million versions.

`HEADWATER_BENCH_SCALE=0.1` loads a tenth; `HEADWATER_BENCH_PLANS=1` prints what EXPLAIN says.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, at_most

TITLE = "Catalog in PostgreSQL"
SCALE = float(os.environ.get("HEADWATER_BENCH_SCALE", "1"))
WRITERS, RATE, SECONDS = 16, 32.0, 15.0
ISLANDS = max(1, int(80 * SCALE))
LAYERS, WIDTH, USES = 20, 625, 10
"""80 islands of 12,500 versions: a million, each derived from 10 of the layer before it."""
PER_ISLAND = LAYERS * WIDTH
OTHERS = 5_000
"""Artifacts beside them, for a million versions are not of eighty names: of so few, reading all would be quickest."""


def commit_some(url: str, writer: int, seconds: float, rate: float, out: Any) -> None:
    """Commit small versions for a while, at a rate or (0) as fast as possible; give the durations back."""
    from headwater.catalog.sql import open_catalog
    from tests.contracts.catalog_world import World

    world = World(open_catalog(url))
    took: list[float] = []
    end, step = time.monotonic() + seconds, 0
    due = time.monotonic() + random.random() / (rate or 1)
    while time.monotonic() < end:
        if rate:
            time.sleep(max(0.0, due - time.monotonic()))
            due += 1 / rate
        publication = world.publication(f"a{writer}", f"{writer} {step} {seconds}")
        start = time.perf_counter()
        world.catalog.versions.commit(publication)
        took.append(time.perf_counter() - start)
        step += 1
    world.catalog.close()
    out.put(took)


def together(url: str, rate: float, seconds: float) -> list[float]:
    """The durations of all writers' commits."""
    context = multiprocessing.get_context("spawn")
    out = context.Queue()
    running = [context.Process(target=commit_some, args=(url, n, seconds, rate / WRITERS, out)) for n in range(WRITERS)]
    for process in running:
        process.start()
    took = [duration for _ in running for duration in out.get(timeout=seconds + 120)]
    for process in running:
        process.join(60)
    return took


def load(url: str) -> None:
    """A million versions and ten million edges, past the verbs, by COPY."""
    import psycopg

    now = 1_700_000_000_000_000
    tables: dict[str, tuple[str, Iterator[tuple[Any, ...]]]] = {
        "artifacts": ("id, uid, project, name, type, next_number, created_at, updated_at",
            ((i + 1, f"artifact{i}", "bench", f"island{i}", "dataset", PER_ISLAND * (i < ISLANDS), now, now)
             for i in range(ISLANDS + OTHERS))),
        "runs": ("id, uid, key, attempt, project, name, state, actor, started_at, finished_at, lease_until",
            ((n + 1, f"run{n:09}", f"b:{n}", 1, "bench", "step", "finished", "bench", now + n, now + n, 0)
             for n in range(ISLANDS * PER_ISLAND))),
        "versions": (
            "id, uid, artifact, number, state, root, n_entries, stored_size, created_at, created_by, run, published_at",
            ((n + 1, f"version{n:09}", n // PER_ISLAND + 1, n % PER_ISLAND, "published", n.to_bytes(32, "big"), 1, 1,
              now + n, "bench", n + 1, now + n) for n in range(ISLANDS * PER_ISLAND))),
        "logs": ("run, version, role, kind, at",
            ((n + 1, n + 1, "", "created", now) for n in range(ISLANDS * PER_ISLAND))),
        "uses": ("run, version, role, asked, at", ((v, s, "", "", now) for v, s in edges())),
        "derivations": ("version, source", edges()),
    }  # fmt: skip
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        for name, (columns, rows) in tables.items():
            with cursor.copy(f"COPY {name} ({columns}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")


def edges() -> Iterator[tuple[int, int]]:
    """(version, source), the same every time."""
    chance = random.Random(1)
    for n in range(ISLANDS * PER_ISLAND):
        if n // WIDTH % LAYERS:
            start = n // WIDTH * WIDTH
            for source in chance.sample(range(start - WIDTH, start), USES):
                yield n + 1, source + 1


def ask(url: str) -> dict[str, Any]:
    """Median seconds of each question."""
    from headwater.catalog.sql import open_catalog
    from headwater.model.naming import parse_name

    catalog = open_catalog(url)
    names = [parse_name(f"island{n % ISLANDS}:v{n * 7919 % PER_ISLAND}").within("bench") for n in range(50)]
    latest = [parse_name(f"island{n % ISLANDS}").within("bench") for n in range(50)]
    top = f"version{PER_ISLAND - 1:09}"
    found = {
        "number": median([lambda name=name: catalog.versions.find(name) for name in names]),
        "latest": median([lambda name=name: catalog.versions.find(name) for name in latest]),
        "upstream": median([lambda: catalog.lineage.closure([top], "upstream")] * 7),
        "reached": len(catalog.lineage.closure([top], "upstream")),
    }
    catalog.close()
    return found


def median(questions: list[Any]) -> float:
    """Median of all but the first, which warms up."""
    times = []
    for question in questions:
        start = time.perf_counter()
        question()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def plans(url: str) -> dict[str, str]:
    """What EXPLAIN says of the statements that must stay quick."""
    import psycopg

    from headwater.catalog.lineage import walk

    closure = walk("upstream", depth=False, all_edges=False, limit=False).format(having="uid = 'version000012499'")
    questions = {
        "a version by number": "SELECT v.id FROM versions v JOIN artifacts a ON a.id = v.artifact WHERE a.project ="
        " 'bench' AND a.name = 'island0' AND a.partition = '' AND v.number = 17",
        "the newest version": "SELECT id FROM versions WHERE artifact = 1 AND state = 'published' ORDER BY number DESC"
        " LIMIT 1",
        "upstream": closure,
        "who used it": "SELECT run FROM uses WHERE version = 17",
    }
    with psycopg.connect(url) as connection:
        return {
            name: "\n".join(row[0] for row in connection.execute(f"EXPLAIN (COSTS OFF) {text}").fetchall())
            for name, text in questions.items()
        }


def scans(plan: str) -> list[str]:
    """Tables of the plan that are read whole."""
    return [line.split(" on ")[1].split()[0] for line in plan.splitlines() if "Seq Scan on " in line]


def measure(work: Path, *, peers: bool) -> list[Figure]:
    """All figures of this file; no peer has these questions."""
    del work, peers
    from headwater.catalog.sql import create
    from tests.postgres import cluster

    commits = cluster().new_database()
    create(commits).close()
    paced = sorted(together(commits, RATE, SECONDS))
    closed = together(commits, 0, SECONDS)
    big = cluster().new_database()
    create(big).close()
    start = time.perf_counter()
    load(big)
    loaded = time.perf_counter() - start
    mine, shown = ask(big), plans(big)
    if os.environ.get("HEADWATER_BENCH_PLANS"):
        for name, plan in shown.items():
            print(f"-- {name}\n{plan}\n")
    whole = sorted({table for plan in shown.values() for table in scans(plan)})
    n = ISLANDS * PER_ISLAND
    return [
        at_most(f"commit, {RATE:g} a second from {WRITERS} writers, median", paced[len(paced) // 2] * 1000, 10, "ms"),
        Figure(what="  95 of 100 within", value=paced[len(paced) * 95 // 100] * 1000, unit="ms"),
        Figure(what=f"commits a second, {WRITERS} writers as fast as they can", value=len(closed) / SECONDS, unit=""),
        Figure(what=f"loading {n:,} versions, {n * USES * (LAYERS - 1) // LAYERS:,} edges twice", value=loaded),
        at_most("a name with a number", mine["number"] * 1000, 5, "ms"),
        at_most("a name alone (latest)", mine["latest"] * 1000, 5, "ms"),
        at_most("upstream, 20 deep", mine["upstream"] * 1000, 100, "ms", f"{mine['reached']:,} versions"),
        at_most("tables that these questions read whole", len(whole), 0, "", ", ".join(whole)),
    ]
