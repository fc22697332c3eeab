"""One file of 1 GiB, then the same with 5 bytes inserted at 5 MiB."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from benchmarks import child, data
from benchmarks.figures import Figure, at_most, faster
from benchmarks.peers import Dvc, Wandb, version_of

SIZE = 1 << 30
ROUNDS = 2
"""Everybody's best of this many."""
TITLE = "One file of 1 GiB"


def ours(original: str, edited: str, home: str) -> dict[str, Any]:
    """Log the file, the same file again, and the edited one; read the edited one back."""
    import headwater as hw

    hw.configure(url=home, project="bench")
    clock, sent = child.Clock(), {}
    with hw.start_run("bench") as run:
        for name, path in (("first", original), ("again", original), ("edited", edited)):
            before = data.bytes_below(Path(home, "objects"))[1]
            with clock(name):
                artifact = hw.Artifact("file", type="model")
                artifact.add_file(path, name="weights.bin")
                version = run.log_artifact(artifact)
            sent[name] = data.bytes_below(Path(home, "objects"))[1] - before
        with clock("fetch"):
            version.fetch(root=Path(home).with_suffix(".back"))
    shutil.rmtree(Path(home).with_suffix(".back"))
    return {**clock.seconds, "sent": sent}


def plain_copy(source: str, target: str) -> dict[str, Any]:
    """The floor: read the file, write it, make it durable."""
    clock = child.Clock()
    with clock("seconds"), Path(source).open("rb") as reading, Path(target).open("wb") as writing:
        while piece := reading.read(8 * data.MIB):
            writing.write(piece)
        writing.flush()
        os.fsync(writing.fileno())
    Path(target).unlink()
    return clock.seconds


def fresh(original: Path, edited: Path, home: Path) -> dict[str, Any]:
    """One round in a new repository."""
    shutil.rmtree(home, ignore_errors=True)
    found = child.run(ours, original=str(original), edited=str(edited), home=str(home))
    shutil.rmtree(home)
    return found


def measure(work: Path, *, peers: bool) -> list[Figure]:
    """All figures of this file."""
    original = data.large_file(work / "large.bin", SIZE)
    edited = data.with_insertion(original, work / "edited.bin", 5 * data.MIB, b"hello")
    data.settle()
    home = work / "home-large"
    copy = {"source": str(original), "target": str(work / "plain.bin")}
    plain = min(child.run(plain_copy, **copy)["seconds"] for _ in range(2))  # the first may find nothing in memory
    mine = child.best([fresh(original, edited, home) for _ in range(ROUNDS)])
    figures = [
        Figure(what="plain copy and fsync", value=plain),
        Figure(what="Headwater, first", value=mine["first"], note=f"{mine['first'] / plain:.1f} × plain copy"),
        Figure(what="Headwater, again unchanged", value=mine["again"]),
        Figure(what="Headwater, 5 bytes inserted", value=mine["edited"]),
        at_most("  bytes stored for that", mine["sent"]["edited"] / data.MIB, 2, "MiB"),
        Figure(what="Headwater, fetch a private copy", value=mine["fetch"]),
        at_most("Headwater, peak memory", mine["peak_mib"], 300, "MiB"),
    ]
    return figures + (beside_peers(mine, original, edited, work) if peers else [])


def wandb_round(original: Path, work: Path) -> dict[str, Any]:
    """W&B: first, and again unchanged."""
    peer = Wandb(work)
    first, again = peer.log(original), peer.log(original)
    shutil.rmtree(peer.work)
    return {**first, "again": again["add"]}


def dvc_round(original: Path, edited: Path, work: Path) -> dict[str, Any]:
    """DVC: first, and with the insertion."""
    peer = Dvc(work)
    shutil.copyfile(original, peer.work / "weights.bin")
    first, before = peer.add("weights.bin"), peer.stored()
    shutil.copyfile(edited, peer.work / "weights.bin")
    inserted, stored = peer.add("weights.bin"), peer.stored() - before
    shutil.rmtree(peer.work)
    return {"first": first, "inserted": inserted, "stored": stored}


def beside_peers(mine: dict[str, Any], original: Path, edited: Path, work: Path) -> list[Figure]:
    """The same work done by W&B and DVC on this disk, now."""
    logged = child.best([wandb_round(original, work) for _ in range(ROUNDS)])
    dvc = child.best([dvc_round(original, edited, work) for _ in range(ROUNDS)])
    wandb_name, dvc_name = f"W&B {version_of('wandb')}", f"DVC {version_of('dvc')}"
    return [
        Figure(
            what=f"{wandb_name}, first",
            value=logged["add"],
            note=f"add_file alone; {logged['total']:.1f} s with log and finish",
        ),
        Figure(what="  Headwater is faster by", value=logged["add"] / mine["first"], unit="times"),
        Figure(what=f"{wandb_name}, again unchanged", value=logged["again"]),
        Figure(what=f"{dvc_name}, first", value=dvc["first"]),
        faster("  Headwater is faster by", mine["first"], dvc["first"], 2.5),
        Figure(
            what=f"{dvc_name}, 5 bytes inserted",
            value=dvc["inserted"],
            note=f"{dvc['stored'] / data.MIB:,.0f} MiB stored again",
        ),
        Figure(what="  Headwater is faster by", value=dvc["inserted"] / mine["edited"], unit="times"),
    ]
