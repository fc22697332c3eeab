"""What a recorded step costs over a bare Prefect task, in one flow of a hundred."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks import child
from benchmarks.figures import Figure, at_most

TITLE = "A Prefect flow of 100 steps that each use one and log one small artifact"
STEPS = 100
ROUNDS = 3
"""Flows of each kind, after one that warms up."""
FLUSH = 0.5
"""How often Prefect's server writes the events it was told, seconds."""


def flows(home: str, count: int) -> dict[str, Any]:
    """Run the same chain of tasks bare, recorded, and recorded without links and tables in Prefect's pages."""
    os.environ |= {
        "PREFECT_HOME": f"{home}/prefect",
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL": str(FLUSH),
        "DO_NOT_TRACK": "1",
    }
    from prefect import flow, task
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    import headwater as hw
    from prefect_headwater import settings, step, track

    hw.configure(url=f"{home}/repository", project="bench")

    def add(before: hw.Version[int], number: int) -> int:
        return before.load() + number

    def bare_add(before: int, number: int) -> int:
        return before + number

    bare = task(bare_add)
    recorded = step(log="total")(add)
    start = step(log="start")(lambda: 0)

    def timed(name: str, first: Any, each: Any) -> float:
        def body() -> None:
            value = first()
            for number in range(count):
                value = each(value, number + 1)

        made = track(flow(name=name)(body)) if each is recorded else flow(name=name)(body)
        begun = time.perf_counter()
        made()
        return (time.perf_counter() - begun) / count

    def pages(shown: str) -> None:
        for name in ("ARTIFACTS", "EVENTS"):
            os.environ[f"PREFECT_INTEGRATIONS_HEADWATER_{name}"] = shown
        settings.forget()

    found: dict[str, list[float]] = {"bare": [], "plain": [], "recorded": []}
    with prefect_test_harness(), temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        for _ in range(ROUNDS + 1):  # in turns, so that a busy minute hits all
            for name, first, each, shown in (
                ("bare", lambda: 0, bare, "true"),
                ("plain", start, recorded, "false"),
                ("recorded", start, recorded, "true"),
            ):
                pages(shown)
                found[name].append(timed(name, first, each))
                settle()
    return {name: statistics.median(times[1:]) for name, times in found.items()}


def settle() -> None:
    """Wait until Prefect's server has written what the last flow told it.

    On SQLite it refuses the next flow meanwhile, and Prefect's client sleeps for seconds before it asks again:
    that is no cost of the flow that waits.
    """
    from prefect.client.orchestration import get_client
    from prefect.events.worker import EventsWorker

    EventsWorker.drain_all()
    known, now = -1, 0
    with get_client(sync_client=True) as client:
        while known != now:
            time.sleep(4 * FLUSH)
            known, now = now, client.request("POST", "/events/filter", json={}).json()["total"]


def measure(work: Path, *, peers: bool) -> list[Figure]:
    """All figures of this file; no peer has a comparable step."""
    del peers
    home = work / "home-prefect"
    shutil.rmtree(home, ignore_errors=True)
    found = child.run(flows, home=str(home), count=STEPS)
    return [
        Figure(what="a bare task", value=found["bare"] * 1000, unit="ms"),
        at_most("over it, recorded", (found["plain"] - found["bare"]) * 1000, 25, "ms", "no pages, no events"),
        at_most("over it, with link, table and event", (found["recorded"] - found["bare"]) * 1000, 25, "ms"),
    ]
