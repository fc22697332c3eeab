"""W&B and DVC, each in an environment of its own, so that their requirements never meet ours.

An environment is made when its peer is first asked for (a minute or two), below `.cache/peers` or where
HEADWATER_BENCH_PEERS says, and kept. Remove the directory to get newer versions. Without network, `--no-peers`
leaves both out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.child import ROOT, TIME_LIMIT, last_json_line

PEERS = Path(os.environ.get("HEADWATER_BENCH_PEERS") or ROOT / ".cache" / "peers")
REQUIREMENTS = {"wandb": "wandb", "dvc": "dvc[s3]"}
"""What is installed for each peer: DVC also talks to S3 (`team_store`)."""

WANDB_SCRIPT = """
import json, sys, time
import wandb
path, is_dir = sys.argv[1], sys.argv[2] == "dir"
run = wandb.init(mode="offline", project="bench", settings=wandb.Settings(silent=True, console="off"))
artifact = wandb.Artifact("bench", type="dataset")
start = time.perf_counter()
(artifact.add_dir if is_dir else artifact.add_file)(path)
added = time.perf_counter()
run.log_artifact(artifact)
run.finish()
print(json.dumps({"add": added - start, "total": time.perf_counter() - start}))
"""


def python_of(name: str) -> Path:
    """The interpreter of the peer's environment; makes it when it is not there, or not for what is required now."""
    home = PEERS / name
    python, ready = home / "bin" / "python", home / "ready"
    if not ready.exists() or ready.read_text() != REQUIREMENTS[name]:
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        uv = Path(sys.executable).parent / "uv"
        install = [str(uv), "pip", "install", "-q", "--python", str(python)] if uv.exists() else []
        subprocess.run([*(install or [str(python), "-m", "pip", "install", "-q"]), REQUIREMENTS[name]], check=True)
        ready.write_text(REQUIREMENTS[name])
    return python


def version_of(name: str) -> str:
    """The installed version of a peer."""
    code = f"import importlib.metadata as m; print(m.version({name!r}))"
    return subprocess.run([str(python_of(name)), "-c", code], check=True, capture_output=True, text=True).stdout.strip()


class Wandb:
    """W&B offline: `add_dir`/`add_file`, then `log_artifact` and `finish`; nothing leaves the machine."""

    def __init__(self, work: Path) -> None:
        self.work = work / "wandb"
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        names = ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR", "WANDB_ARTIFACT_DIR")
        self.env = {**os.environ, **{name: str(self.work / name.lower()) for name in names}, "WANDB_MODE": "offline"}
        for name in names:
            Path(self.env[name]).mkdir()

    def log(self, path: Path) -> dict[str, Any]:
        """Seconds of `add` alone and in `total`."""
        command = [str(python_of("wandb")), "-c", WANDB_SCRIPT, str(path), "dir" if path.is_dir() else "file"]
        return last_json_line(command, self.env, cwd=self.work)


class Dvc:
    """DVC in a git repository of its own; `add` moves data into its cache and copies (or links) it back."""

    def __init__(self, work: Path) -> None:
        self.work = work / "dvc"
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        self.env = {
            **os.environ,
            "HOME": str(self.work),
            "DVC_SITE_CACHE_DIR": str(self.work / "site"),
            "DVC_NO_ANALYTICS": "1",
        }
        subprocess.run(["git", "init", "-q", "."], cwd=self.work, check=True)
        self._dvc("init", "-q")
        self._dvc("config", "core.analytics", "false")
        self._dvc("config", "core.check_update", "false")

    def _dvc(self, *arguments: str) -> None:
        command = [str(python_of("dvc")), "-m", "dvc", *arguments]
        subprocess.run(command, cwd=self.work, env=self.env, check=True, capture_output=True, timeout=TIME_LIMIT)

    def add(self, name: str) -> float:
        """Seconds of `dvc add NAME`, where NAME lies in `work`."""
        os.sync()
        start = time.perf_counter()
        self._dvc("add", "-q", name)
        return time.perf_counter() - start

    def stored(self) -> int:
        """Bytes in DVC's cache."""
        return sum(path.stat().st_size for path in (self.work / ".dvc" / "cache").rglob("*") if path.is_file())
