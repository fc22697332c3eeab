"""`python -m benchmarks [NAME …]`: measure, print figures beside the peers', say where a target is missed."""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import sys
from pathlib import Path

from benchmarks.child import ROOT
from benchmarks.figures import Figure, print_table, to_json

NAMES = (
    "imports", "steps", "prefect_steps", "airflow_parse", "dagster_assets", "small_files", "large_file",
    "million_entries", "lineage", "collection", "team_store", "team_catalog",
)  # fmt: skip


def main() -> int:
    """Run the benchmarks asked for; exit 1 if a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which of {', '.join(NAMES)}; all without any")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    parser.add_argument("--no-peers", action="store_true", help="leave W&B and DVC out")
    parser.add_argument(
        "--work", type=Path, default=ROOT / ".cache" / "bench", help="where data is made: the disk measured"
    )
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - set(NAMES):
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}")
    chosen.work.mkdir(parents=True, exist_ok=True)
    groups: list[tuple[str, list[Figure]]] = []
    for name in chosen.names or NAMES:
        module = importlib.import_module(f"benchmarks.{name}")
        print(f"measuring: {module.TITLE} …", file=sys.stderr, flush=True)
        groups.append((module.TITLE, module.measure(chosen.work, peers=not chosen.no_peers)))
        print_table(groups[-1:])
    if chosen.json:
        chosen.json.write_text(to_json(groups, machine()) + "\n")
    missed = [figure.what.strip() for _, figures in groups for figure in figures if figure.holds is False]
    print(f"{len(missed)} target(s) missed" + (": " + "; ".join(missed) if missed else ""))
    return 1 if missed else 0


def machine() -> dict[str, str]:
    """What was measured on."""
    return {"python": platform.python_version(), "system": platform.platform(), "cores": str(os.cpu_count())}


if __name__ == "__main__":
    sys.exit(main())
