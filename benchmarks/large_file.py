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


def measure(work: Path, *, peers: bool) -> list[Figure]:
    """All figures of this file."""
    original = data.large_file(work / "large.bin", SIZE)
    edited = data.with_insertion(original, work / "edited.bin", 5 * data.MIB, b"hello")
    data.settle()
    home = work / "home-large"
    shutil.rmtree(home, ignore_errors=True)
    copy = {"source": str(original), "target": str(work / "plain.bin")}
    plain = min(child.run(plain_copy, **copy)["seconds"] for _ in range(2))  # the first may find nothing in memory
    mine = child.run(ours, original=str(original), edited=str(edited), home=str(home))
    shutil.rmtree(home)
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


def beside_peers(mine: dict[str, Any], original: Path, edited: Path, work: Path) -> list[Figure]:
    """The same work done by W&B and DVC on this disk, now."""
    wandb = Wandb(work)
    logged, again = wandb.log(original), wandb.log(original)
    shutil.rmtree(wandb.work)
    dvc = Dvc(work)
    shutil.copyfile(original, dvc.work / "weights.bin")
    first, before = dvc.add("weights.bin"), dvc.stored()
    shutil.copyfile(edited, dvc.work / "weights.bin")
    inserted, stored = dvc.add("weights.bin"), dvc.stored() - before
    shutil.rmtree(dvc.work)
    wandb_name, dvc_name = f"W&B {version_of('wandb')}", f"DVC {version_of('dvc')}"
    return [
        Figure(
            what=f"{wandb_name}, first",
            value=logged["add"],
            note=f"add_file alone; {logged['total']:.1f} s with log and finish",
        ),
        Figure(what="  Headwater is faster by", value=logged["add"] / mine["first"], unit="times"),
        Figure(what=f"{wandb_name}, again unchanged", value=again["add"]),
        Figure(what=f"{dvc_name}, first", value=first),
        faster("  Headwater is faster by", mine["first"], first, 2.5),
        Figure(what=f"{dvc_name}, 5 bytes inserted", value=inserted, note=f"{stored / data.MIB:,.0f} MiB stored again"),
        Figure(what="  Headwater is faster by", value=inserted / mine["edited"], unit="times"),
    ]
