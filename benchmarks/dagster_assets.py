"""What an asset costs over Dagster's filesystem IO manager: a small one, and a large one that hardly changes.

Both IO managers run the same two jobs in one process with the in-process executor, in turns: a chain of small
assets, and an asset whose value a second one takes as its argument. So each round stores a value and loads it
again. What a round stored lies in the page cache when it is loaded, on both sides. Ours is durable by then (fsync),
Dagster's file is not; it is brought to disk between the rounds, where nobody pays for it.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

from benchmarks import child
from benchmarks.figures import Figure, at_most, faster

TITLE = "Dagster: assets stored and loaded, beside the filesystem IO manager"
SMALL = 10
"""Assets in the chain."""
ROUNDS = 8
"""Of which the quickest counts: the machine may have other things to do."""
CHANGED = 64 * 1024
"""Bytes of the large value that are others each round."""
SIZES = (100, 400)
"""MiB of the large value."""
OVERHEAD_MS = 30


def small(home: str) -> dict[str, float]:
    """Seconds per asset of a chain, each loading the one before."""
    import dagster as dg

    @dg.asset(name="a0")
    def first() -> dict[str, float]:
        return {"x": time.time()}

    chain: list[Any] = [first]
    for number in range(1, SMALL):

        @dg.asset(name=f"a{number}", ins={"before": dg.AssetIn(f"a{number - 1}")})
        def link(before: dict[str, float]) -> dict[str, float]:
            return {"x": before["x"] + 1}

        chain.append(link)
    return {name: took / SMALL for name, took in in_turns(home, chain, lambda: None).items()}


def large(home: str, mib: int, changed: int) -> dict[str, float]:
    """Seconds to store and load `mib` MiB of bytes of which `changed` are others than in the round before."""
    import dagster as dg
    import numpy as np

    rng = np.random.default_rng(0)
    value = bytearray(rng.bytes(mib << 20))
    now = bytes(value)

    def change() -> None:
        nonlocal now
        if changed:
            at = int(rng.integers(0, len(value) - changed))
            value[at : at + changed] = rng.bytes(changed)
            now = bytes(value)

    @dg.asset
    def made() -> bytes:
        return now

    @dg.asset
    def taken(made: bytes) -> None:
        assert len(made) == len(now)

    return in_turns(home, [made, taken], change)


def in_turns(home: str, assets: list[Any], before: Any) -> dict[str, float]:
    """The least seconds of the assets under each IO manager; the first round of each warms up."""
    import logging

    import dagster as dg

    from dagster_headwater import HeadwaterIOManager, HeadwaterResource

    logging.disable(logging.CRITICAL)
    resource = HeadwaterResource(url=f"{home}/headwater", project="bench")
    managers = {
        "filesystem": dg.FilesystemIOManager(base_dir=f"{home}/files"),
        "headwater": HeadwaterIOManager(headwater=resource),
    }
    least: dict[str, float] = {}
    with dg.DagsterInstance.ephemeral() as instance:
        for number in range(ROUNDS + 1):
            before()
            for name, manager in managers.items():
                os.sync()
                begun = time.perf_counter()
                dg.materialize(assets, resources={"io_manager": manager}, instance=instance)
                took = time.perf_counter() - begun
                if number:
                    least[name] = min(took, least.get(name, took))
    return least


def measure(work: Path, *, peers: bool) -> list[Figure]:
    """All figures of this file; the peer is Dagster's own IO manager, so it is never left out."""
    del peers
    found = _in_a_new_home(work, small)
    theirs, ours = found["filesystem"] * 1000, found["headwater"] * 1000
    figures = [
        Figure(what="a small asset, filesystem", value=theirs, unit="ms"),
        at_most("over it, headwater", ours - theirs, OVERHEAD_MS, "ms", f"{ours / theirs:.1f}× in the same run"),
    ]
    for mib in SIZES:
        for changed in (CHANGED, 0):
            found = _in_a_new_home(work, large, mib=mib, changed=changed)
            theirs, ours = found["filesystem"], found["headwater"]
            what = f"{mib} MiB, {f'{changed >> 10} KiB of them new' if changed else 'unchanged'}"
            note = f"{theirs * 1000:.0f} ms filesystem, {ours * 1000:.0f} ms headwater"
            figures.append(faster(what, ours, theirs, 1, note))
    return figures


def _in_a_new_home(work: Path, scenario: Any, **arguments: int) -> dict[str, Any]:
    home = work / "home-dagster"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    try:
        return child.run(scenario, home=str(home), **arguments)
    finally:
        shutil.rmtree(home, ignore_errors=True)
