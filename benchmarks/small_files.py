"""20,000 files of 8 KiB: logged, logged again unchanged, logged again with one file changed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from benchmarks import child, data
from benchmarks.figures import Figure, at_most, faster
from benchmarks.peers import Dvc, Wandb, version_of

COUNT, SIZE = 20_000, 8192
TITLE = "20,000 files of 8 KiB"


def ours(source: str, home: str) -> dict[str, Any]:
    """Log a folder three times in one process."""
    import headwater as hw

    hw.configure(url=home, project="bench")
    folder, clock = Path(source), child.Clock()
    packs: dict[str, tuple[int, int]] = {}
    with hw.start_run("bench") as run:
        for name in ("first", "again", "changed"):
            if name == "changed":
                data.changed_one(folder, COUNT)
            before = data.bytes_below(Path(home, "objects"))
            with clock(name):
                artifact = hw.Artifact("files", type="dataset")
                artifact.add_dir(folder)
                run.log_artifact(artifact)
            after = data.bytes_below(Path(home, "objects"))
            packs[name] = (after[0] - before[0], after[1] - before[1])
    return {**clock.seconds, "packs": packs}


def scan(source: str) -> dict[str, Any]:
    """The floor under any answer: list the folder and stat every file."""
    clock, seen = child.Clock(), 0
    with clock("seconds"):
        stack = [source]
        while stack:
            with os.scandir(stack.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        stack.append(entry.path)
                    else:
                        seen += entry.stat().st_size
    return {**clock.seconds, "bytes": seen}


def plain_copy(source: str, target: str) -> dict[str, Any]:
    """The floor under the first log: read every file, append it to one, make that durable."""
    clock = child.Clock()
    with clock("seconds"), Path(target).open("wb") as file:
        for folder, _, names in os.walk(source):
            file.writelines(Path(folder, name).read_bytes() for name in names)
        file.flush()
        os.fsync(file.fileno())
    return clock.seconds


def wandb_times(source: Path, work: Path) -> tuple[dict[str, float], dict[str, float]]:
    """W&B: first, and again unchanged."""
    peer = Wandb(work)
    return peer.log(source), peer.log(source)


def dvc_times(source: Path, work: Path) -> dict[str, float]:
    """DVC: first, and again with one file changed (on a copy: it replaces what it adds)."""
    peer = Dvc(work)
    shutil.copytree(source, peer.work / "files")
    first = peer.add("files")
    path = data.changed_one(peer.work / "files", COUNT)
    data.settle()
    assert path.exists()
    return {"first": first, "changed": peer.add("files")}


def measure(work: Path, *, peers: bool) -> list[Figure]:
    """All figures of this file."""
    source = data.small_files(work / "small", COUNT, SIZE)
    floor = child.run(scan, source=str(source))["seconds"]
    copy = {"source": str(source), "target": str(work / "plain.bin")}
    plain = min(child.run(plain_copy, **copy)["seconds"] for _ in range(2))  # the first may find nothing in memory
    shutil.rmtree(work / "home-small", ignore_errors=True)
    mine = child.run(ours, source=str(source), home=str(work / "home-small"))
    data.restore(source)
    n_packs, sent = mine["packs"]["changed"]
    figures = [
        Figure(what="bare scan with stat", value=floor),
        Figure(what="plain read, one write, one fsync", value=plain),
        Figure(what="Headwater, first", value=mine["first"], note=f"{mine['packs']['first'][0]} packs"),
        at_most(
            "Headwater, again unchanged", mine["again"], 2 * floor, note=f"{mine['again'] / floor:.1f} × bare scan"
        ),
        Figure(what="Headwater, one file changed", value=mine["changed"]),
        at_most("  PUTs for that change", n_packs, 1, ""),
        Figure(what="  bytes sent for that change", value=sent / 1024, unit="KiB"),
        at_most("Headwater, peak memory", mine["peak_mib"], 300, "MiB"),
    ]
    return figures + (beside_peers(mine, source, work) if peers else [])


def beside_peers(mine: dict[str, Any], source: Path, work: Path) -> list[Figure]:
    """The same work done by W&B and DVC on this disk, now."""
    first, again = wandb_times(source, work)
    dvc = dvc_times(source, work)
    wandb_name, dvc_name = f"W&B {version_of('wandb')}", f"DVC {version_of('dvc')}"
    return [
        Figure(
            what=f"{wandb_name}, first",
            value=first["add"],
            note=f"add_dir alone; {first['total']:.1f} s with log and finish",
        ),
        faster("  Headwater is faster by", mine["first"], first["add"], 3),
        Figure(what=f"{wandb_name}, again unchanged", value=again["add"]),
        Figure(what="  Headwater is faster by", value=again["add"] / mine["again"], unit="times"),
        Figure(what=f"{dvc_name}, first", value=dvc["first"]),
        faster("  Headwater is faster by", mine["first"], dvc["first"], 3),
        Figure(what=f"{dvc_name}, one file changed", value=dvc["changed"]),
        Figure(what="  Headwater is faster by", value=dvc["changed"] / mine["changed"], unit="times"),
    ]
