"""What a step costs over the bare function, and how often it makes the disk confirm."""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import child
from benchmarks.figures import Figure, at_most

TITLE = "One step that uses one and logs one small artifact"
STEPS = 40
CALLS = "fsync,fdatasync,sync_file_range,msync,sync"
MARK = "/headwater-benchmark-step"
"""Asked for before each step, to be found again in the trace of system calls."""


def many_steps(home: str, count: int) -> dict[str, Any]:
    """Run the same step again and again; its input is one artifact, each result a new version of another."""
    import headwater as hw

    hw.configure(url=home, project="bench")
    with hw.start_run("seed"):
        hw.log("table", {"rows": list(range(100))})

    def bare(number: int, table: dict[str, list[int]]) -> dict[str, int]:
        return {"sum": sum(table["rows"]) + number}

    @hw.step(log="total")
    def recorded(number: int, table: dict[str, list[int]] = hw.Use("table:latest")) -> dict[str, int]:
        return bare(number, table)

    recorded(-1)  # opens the repository, fills caches
    with_it, without = [], []
    for number in range(count):
        os.access(MARK, os.F_OK)
        start = time.perf_counter()
        recorded(number)
        middle = time.perf_counter()
        bare(number, {"rows": list(range(100))})
        with_it.append(middle - start)
        without.append(time.perf_counter() - middle)
    return {"over": statistics.median(with_it) - statistics.median(without), "worst": max(with_it)}


def fsync_seconds(folder: str) -> float:
    """Median time this disk takes to confirm a small write."""
    times = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(50):
            file.write(b"x" * 4096)
            file.flush()
            start = time.perf_counter()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def confirmations(home: Path, count: int) -> list[int]:
    """System calls that wait for the disk, step by step; none without strace, or where it is forbidden."""
    strace = shutil.which("strace")
    if strace is None:
        return []
    with tempfile.NamedTemporaryFile() as trace:
        watched = f"trace={CALLS},access,faccessat,faccessat2"
        try:
            child.run(
                many_steps, prefix=(strace, "-f", "-qq", "-e", watched, "-o", trace.name), home=str(home), count=count
            )
        except (RuntimeError, subprocess.SubprocessError):
            return []
        text = Path(trace.name).read_text()
    steps = text.split(MARK)[1:]
    return [len(re.findall(rf"\b({CALLS.replace(',', '|')})\(", step)) for step in steps[:-1]]


def measure(work: Path, *, peers: bool) -> list[Figure]:
    """All figures of this file; no peer has a comparable step."""
    del peers
    homes = [work / f"home-steps-{number}" for number in range(2)]
    for home in homes:
        shutil.rmtree(home, ignore_errors=True)
    counts = confirmations(homes[0], STEPS)
    mine = child.run(many_steps, home=str(homes[1]), count=STEPS)
    disk = fsync_seconds(str(work))
    over, worst = mine["over"] * 1000, mine["worst"] * 1000
    figures = [
        at_most("over the bare function, median", over, 25, "ms", f"worst of {STEPS}: {worst:.0f} ms"),
        Figure(what="one fsync of 4 KiB on this disk", value=disk * 1000, unit="ms"),
    ]
    if not counts:
        return [*figures, Figure(what="fsyncs per step", value=float("nan"), unit="", note="needs strace")]
    note = f"most {max(counts)}: a new folder, or SQLite moves its log into the database"
    return [*figures, at_most("fsyncs per step, median", statistics.median(counts), 6, "", note)]
