"""Dagster: what a small asset costs over Dagster's filesystem IO manager, and large data that hardly changes.

    python -m benchmarks.dagster_assets

Both IO managers run the same assets in one process, in turns; the best of each is compared.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np

from dagster_headwater import HeadwaterIOManager, HeadwaterResource

ROUNDS = 8
LARGE = 100 * 1024 * 1024
"""Bytes of the large asset."""
CHANGED = 64 * 1024
"""Bytes of it that each round changes."""


def managers(folder: Path) -> dict[str, Any]:
    """The two that are compared."""
    resource = HeadwaterResource(url=str(folder / "headwater"), project="bench")
    return {
        "filesystem": dg.FilesystemIOManager(base_dir=str(folder / "files")),
        "headwater": HeadwaterIOManager(headwater=resource),
    }


def small_assets(count: int = 10) -> list[Any]:
    """A chain of small assets, each loading the one before."""

    @dg.asset(name="a0")
    def first() -> dict[str, float]:
        return {"x": time.time()}

    chain = [first]
    for number in range(1, count):

        @dg.asset(name=f"a{number}", ins={"before": dg.AssetIn(f"a{number - 1}")})
        def link(before: dict[str, float]) -> dict[str, float]:
            return {"x": before["x"] + 1}

        chain.append(link)
    return chain


def seconds(assets: list[Any], manager: Any, instance: dg.DagsterInstance) -> float:
    begin = time.perf_counter()
    dg.materialize(assets, resources={"io_manager": manager}, instance=instance)
    return time.perf_counter() - begin


def folder_size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    logging.disable(logging.CRITICAL)
    rng = np.random.default_rng(0)
    data = rng.bytes(LARGE)

    @dg.asset
    def large() -> bytes:
        nonlocal data
        at = int(rng.integers(0, LARGE - CHANGED))
        data = data[:at] + rng.bytes(CHANGED) + data[at + CHANGED :]
        return data

    @dg.asset
    def steady() -> bytes:
        return data

    with tempfile.TemporaryDirectory() as name, dg.DagsterInstance.ephemeral() as instance:
        folder = Path(name)
        both = managers(folder)
        chain = small_assets()
        for what, assets, divisor in (("a small asset", chain, len(chain)), ("100 MB, 64 KiB changed", [large], 1),
                                      ("100 MB, unchanged", [steady], 1)):  # fmt: skip
            best = dict.fromkeys(both, float("inf"))
            rounds = ROUNDS if divisor > 1 else 5
            for manager in both.values():
                seconds(assets, manager, instance)
            for _ in range(rounds):
                for name_, manager in both.items():
                    best[name_] = min(best[name_], seconds(assets, manager, instance) / divisor)
            more = best["headwater"] - best["filesystem"]
            print(f"{what}: filesystem {best['filesystem'] * 1000:.1f} ms, headwater {best['headwater'] * 1000:.1f} ms"
                  f" ({more * 1000:+.1f} ms, {best['headwater'] / best['filesystem']:.2f}x)")  # fmt: skip
        print(f"on disk: filesystem {folder_size(folder / 'files') / 1e6:.0f} MB (its last version only), headwater "
              f"{folder_size(folder / 'headwater' / 'objects') / 1e6:.0f} MB (every version)")  # fmt: skip
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
