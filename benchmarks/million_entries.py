"""A version of 1,000,000 entries: a change of one, a full re-log, a diff, a listing."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import child, data
from benchmarks.figures import Figure, at_most
from benchmarks.small_files import scan

COUNT, SIZE, PER_FOLDER, CONTENTS = 1_000_000, 16, 1000, 5000
TITLE = "A version of 1,000,000 entries"


def tree(folder: Path) -> Path:
    """A million files of 16 bytes, 5,000 different contents; made once."""
    done = folder.with_suffix(".made")
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        for number in range(0, COUNT, PER_FOLDER):
            inside = folder / f"{number // PER_FOLDER:04}"
            inside.mkdir(parents=True)
            for at in range(number, number + PER_FOLDER):
                handle = os.open(f"{inside}/{at:07}.txt", os.O_WRONLY | os.O_CREAT, 0o644)
                os.write(handle, b"%015d\n" % (at % CONTENTS))
                os.close(handle)
        done.touch()
        data.settle()
    return folder


def log(source: str, home: str) -> dict[str, Any]:
    """Log a folder as `rows`."""
    import headwater as hw

    hw.configure(url=home, project="bench")
    clock = child.Clock()
    with clock("log"), hw.start_run("bench") as run:
        artifact = hw.Artifact("rows", type="dataset")
        artifact.add_dir(source)
        version = run.log_artifact(artifact)
    return {**clock.seconds, "version": str(version)}


def log_changed(source: str, home: str) -> dict[str, Any]:
    """As `log`, after one file has changed."""
    changed = Path(source, "0500", "0500500.txt")
    before = changed.read_bytes()
    changed.write_bytes(before[::-1])
    try:
        return log(source, home)
    finally:
        changed.write_bytes(before)


def walk(source: str, home: str) -> dict[str, Any]:
    """Walk the folder and look every file up in the stat cache, and nothing else."""
    import headwater as hw

    repository, clock = hw.connect(home), child.Clock()
    with clock("walk"):
        walked = sum(1 for _ in hw.Artifact("rows").add_dir(source).items(repository.home.statcache))
    return {**clock.seconds, "walked": walked}


def change_one(home: str) -> dict[str, Any]:
    """Change one entry by a draft of the newest version."""
    import headwater as hw

    hw.configure(url=home, project="bench")
    repository, clock = hw.connect(), child.Clock()
    before = data.bytes_below(Path(home, "objects"))
    with clock("draft"), hw.start_run("bench") as run:
        draft = repository.version("rows").new_draft()
        draft.add_bytes(b"changed", name="0500/0500500.txt", overwrite=True)
        run.log_artifact(draft)
    after = data.bytes_below(Path(home, "objects"))
    return {**clock.seconds, "puts": after[0] - before[0], "sent": after[1] - before[1]}


def ask(home: str) -> dict[str, Any]:
    """Compare the two newest versions, and list one folder of a thousand."""
    import headwater as hw

    repository = hw.connect(home, project="bench")
    new = repository.version("rows")
    old = repository.version(f"rows:v{int(new.version[1:]) - 1}")
    compared = time.perf_counter()
    changes = old.diff(new)
    compared = time.perf_counter() - compared
    listed = sum(1 for _ in new.entries("0700"))
    return {
        "diff": compared,
        "list": median(lambda: list(new.entries("0500"))),
        "all": timed(lambda: sum(1 for _ in new.entries())),
        "changes": len(changes.changed) + len(changes.added) + len(changes.removed),
        "listed": listed,
    }


def timed(question: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    question()
    return time.perf_counter() - start


def median(question: Callable[[], object]) -> float:
    """Median of five."""
    return statistics.median(timed(question) for _ in range(5))


def measure(work: Path, *, peers: bool) -> list[Figure]:
    """All figures of this file; the peers need minutes and gigabytes for it, so they are left out."""
    del peers
    source, home = tree(work / "million"), work / "home-million"
    shutil.rmtree(home, ignore_errors=True)
    floor = min(child.run(scan, source=str(source))["seconds"] for _ in range(2))
    begun = child.run(log, source=str(source), home=str(home))
    walked = child.run(walk, source=str(source), home=str(home))
    again = child.run(log, source=str(source), home=str(home))
    changed = child.run(log_changed, source=str(source), home=str(home))
    draft = child.run(change_one, home=str(home))
    asked = child.run(ask, home=str(home))
    shutil.rmtree(home)
    floor_walk = walked["walk"]
    return [
        Figure(what="bare scan with stat", value=floor),
        Figure(what="first log of 1,000,000 files", value=begun["log"]),
        Figure(what="walk with stat cache", value=walked["walk"]),
        *(
            at_most(
                f"full re-log{what}, beyond that walk",
                found["log"] - floor_walk,
                3,
                note=f"{found['log']:.1f} s in all",
            )
            for what, found in (("", again), (" of one change", changed))
        ),
        at_most(
            "one change by new_draft", draft["draft"], 1, note=f"{draft['puts']} PUT, {draft['sent'] / 1024:.0f} KiB"
        ),
        at_most(
            "diff with the version before, nothing cached",
            asked["diff"] * 1000,
            100,
            "ms",
            f"{asked['changes']} change",
        ),
        Figure(what=f"list one folder of {asked['listed']:,}", value=asked["list"] * 1000, unit="ms"),
        Figure(what="list all of it", value=asked["all"]),
        at_most("peak memory, first log", begun["peak_mib"], 200, "MiB"),
        at_most("peak memory, re-log", max(again["peak_mib"], changed["peak_mib"]), 200, "MiB"),
        at_most("peak memory, one change", draft["peak_mib"], 200, "MiB"),
        at_most("peak memory, diff and listings", asked["peak_mib"], 200, "MiB"),
    ]
