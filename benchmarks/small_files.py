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
ROUNDS = 2
"""Everybody's best of this many."""
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


def ours_later(source: str, home: str) -> dict[str, Any]:
    """Log the folder once more, in a new process: all it knows is on disk."""
    import headwater as hw

    hw.configure(url=home, project="bench")
    clock = child.Clock()
    with clock("later"), hw.start_run("bench") as run:
        run.log_artifact(hw.Artifact("files", type="dataset").add_dir(source))
    return clock.seconds


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


def wandb_round(source: Path, work: Path) -> dict[str, Any]:
    """W&B: first, and again unchanged."""
    peer = Wandb(work)
    first = peer.log(source)
    return {**first, "again": peer.log(source)["add"]}


def dvc_round(source: Path, work: Path) -> dict[str, Any]:
    """DVC: first, and again with one file changed (on a copy: it replaces what it adds)."""
    peer = Dvc(work)
    shutil.copytree(source, peer.work / "files")
    first = peer.add("files")
    path = data.changed_one(peer.work / "files", COUNT)
    data.settle()
    assert path.exists()
    return {"first": first, "changed": peer.add("files")}


def fresh(source: Path, home: Path) -> dict[str, Any]:
    """One round in a new repository."""
    shutil.rmtree(home, ignore_errors=True)
    found = child.run(ours, source=str(source), home=str(home))
    later = child.run(ours_later, source=str(source), home=str(home))["later"]
    data.restore(source)
    return {**found, "later": later}


def measure(work: Path, *, peers: bool) -> list[Figure]:
    """All figures of this file."""
    source = data.small_files(work / "small", COUNT, SIZE)
    copy = {"source": str(source), "target": str(work / "plain.bin")}
    floor = min(child.run(scan, source=str(source))["seconds"] for _ in range(ROUNDS))
    plain = min(child.run(plain_copy, **copy)["seconds"] for _ in range(ROUNDS))
    mine = child.best([fresh(source, work / "home-small") for _ in range(ROUNDS)])
    n_packs, sent = mine["packs"]["changed"]
    figures = [
        Figure(what="bare scan with stat", value=floor),
        Figure(what="plain read, one write, one fsync", value=plain),
        Figure(what="Headwater, first", value=mine["first"], note=f"{mine['packs']['first'][0]} packs"),
        at_most(
            "Headwater, again unchanged", mine["again"], 2 * floor, note=f"{mine['again'] / floor:.1f} × bare scan"
        ),
        Figure(what="Headwater, again in a new process", value=mine["later"]),
        Figure(what="Headwater, one file changed", value=mine["changed"]),
        at_most("  PUTs for that change", n_packs, 1, ""),
        Figure(what="  bytes sent for that change", value=sent / 1024, unit="KiB"),
        at_most("Headwater, peak memory", mine["peak_mib"], 300, "MiB"),
    ]
    return figures + (beside_peers(mine, source, work) if peers else [])


def beside_peers(mine: dict[str, Any], source: Path, work: Path) -> list[Figure]:
    """The same work done by W&B and DVC on this disk, now."""
    wandb = child.best([wandb_round(source, work) for _ in range(ROUNDS)])
    dvc = child.best([dvc_round(source, work) for _ in range(ROUNDS)])
    wandb_name, dvc_name = f"W&B {version_of('wandb')}", f"DVC {version_of('dvc')}"
    return [
        Figure(
            what=f"{wandb_name}, first",
            value=wandb["add"],
            note=f"add_dir alone; {wandb['total']:.1f} s with log and finish",
        ),
        faster("  Headwater is faster by", mine["first"], wandb["add"], 3),
        Figure(what=f"{wandb_name}, again unchanged", value=wandb["again"]),
        Figure(
            what="  Headwater is faster by",
            value=wandb["again"] / mine["later"],
            unit="times",
            note="both in new processes",
        ),
        Figure(what=f"{dvc_name}, first", value=dvc["first"]),
        faster("  Headwater is faster by", mine["first"], dvc["first"], 3),
        Figure(what=f"{dvc_name}, one file changed", value=dvc["changed"]),
        Figure(what="  Headwater is faster by", value=dvc["changed"] / mine["changed"], unit="times"),
    ]
