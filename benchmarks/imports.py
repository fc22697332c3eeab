"""How long `import headwater` takes, over an interpreter that imports nothing."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.child import ROOT
from benchmarks.figures import Figure, at_most
from benchmarks.peers import python_of, version_of

TITLE = "Import"
ROUNDS = 11


def seconds(python: str, code: str) -> float:
    """Median wall time of a fresh interpreter that runs `code`, warm."""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "core")}
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # nobody compiles anew at every start
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        subprocess.run([python, "-c", code], check=True, env=env, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


HELP = "import sys; sys.argv = ['headwater', '--help']; from headwater.cli import main; sys.exit(main())"


def measure(work: Path, *, peers: bool) -> list[Figure]:
    """Ours, and W&B's and DVC's `import` in their own environments."""
    del work
    bare = seconds(sys.executable, "pass")
    ours = seconds(sys.executable, "import headwater")
    figures = [
        Figure(what="bare interpreter", value=bare * 1000, unit="ms"),
        at_most("import headwater, beyond that", (ours - bare) * 1000, 300, "ms"),
        at_most("headwater --help, in all", seconds(sys.executable, HELP) * 1000, 400, "ms"),
    ]
    for peer, code in (("wandb", "import wandb"), ("dvc", "import dvc.api")) if peers else ():
        python = str(python_of(peer))
        beyond = seconds(python, code) - seconds(python, "pass")
        figures.append(Figure(what=f"{code} ({version_of(peer)})", value=beyond * 1000, unit="ms"))
    return figures
