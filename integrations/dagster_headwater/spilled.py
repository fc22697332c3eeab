"""Where a value stays for the rest of its Dagster run when tracking is lenient and Headwater cannot be had.

In Dagster's own storage directory, pickled as Dagster's filesystem IO manager does; nothing pretends that it was
recorded, and no other run reads it.
"""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import headwater as hw


def path_of(instance: Any, run_id: str, step_key: str, role: str, partition: str | None) -> Path:
    """The file of one output."""
    name = hw.name(step_key, role, *([partition] if partition is not None else []))
    return Path(instance.storage_directory()) / "headwater-unrecorded" / run_id / name


def write(path: Path, value: Any) -> None:
    """Keep a value; whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    spare = path.with_name(f"{path.name}.{os.getpid()}")
    spare.write_bytes(pickle.dumps(value))
    spare.replace(path)


def read(path: Path) -> Any:
    """The value again."""
    return pickle.loads(path.read_bytes())
