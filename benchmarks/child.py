"""Runs one scenario in a process of its own, so that its memory is its own.

`python -m benchmarks.child benchmarks.small_files:log '{"data": "…"}'` calls the
function with those keyword arguments and prints one line of JSON: what it
returned and `peak_mib`, the most memory the process ever held.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
TIME_LIMIT = 1800


class Clock:
    """Collects named durations: `with clock("first"): …`."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        os.sync()  # what was written before must not be paid here
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start


def run(
    scenario: Callable[..., Mapping[str, Any]],
    *,
    prefix: tuple[str, ...] = (),
    env: Mapping[str, str] = {},
    **arguments: Any,
) -> dict[str, Any]:
    """Call a module-level function in a new process of this interpreter; `prefix` is a command to run it under."""
    name = f"{scenario.__module__}:{scenario.__name__}"
    command = [*prefix, sys.executable, "-m", "benchmarks.child", name, json.dumps(arguments)]
    paths = [str(ROOT), str(ROOT / "core"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, **env, "PYTHONPATH": os.pathsep.join(paths)}
    return last_json_line(command, environment, cwd=ROOT)


def best(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Of several rounds the least of each time, as if nothing else had been on the machine, and the most memory."""
    numbers = [name for name, value in rounds[0].items() if isinstance(value, int | float)]
    least = {name: min(found[name] for found in rounds) for name in numbers}
    return {**rounds[0], **least, "peak_mib": max(found.get("peak_mib", 0) for found in rounds)}


def last_json_line(command: list[str], env: Mapping[str, str], cwd: Path) -> dict[str, Any]:
    """Run a command that ends by printing one JSON object; its errors become ours."""
    done = subprocess.run(
        command, env=dict(env), cwd=cwd, capture_output=True, text=True, timeout=TIME_LIMIT, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:5])} … failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def peak_mib() -> float:
    """The most memory this process ever held; VmHWM, as ru_maxrss would count the parent's on Linux."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024


if __name__ == "__main__":
    module, _, function = sys.argv[1].partition(":")
    answer = getattr(importlib.import_module(module), function)(**json.loads(sys.argv[2]))
    print(json.dumps({**answer, "peak_mib": peak_mib()}))
