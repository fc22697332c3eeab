"""The pipelines, as data that any orchestrator can turn into its own tasks.

Each body returns a text that says what it was made of, so that a version's content tells its true lineage.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import headwater as hw


@dataclass(frozen=True)
class Task:
    """One node of a pipeline."""

    name: str
    body: Callable[..., Any]
    """Importable by name; plain: the orchestrator makes a step of it."""
    log: Any = None
    inputs: tuple[str, ...] = ()
    """Tasks whose results are its first arguments, in order. What a mapped task returned arrives as a list."""
    given: Mapping[str, Any] = field(default_factory=dict)
    """Constant keyword arguments."""
    over: tuple[Any, ...] | None = None
    """Mapped: one execution for each value, which is passed as `item`."""
    retries: int = 0
    after: tuple[str, ...] = ()
    """Tasks that must have finished, without passing anything."""


Pipeline = tuple[Task, ...]
"""Tasks, each behind those it needs."""


def with_given(pipeline: Pipeline, **given: Any) -> Pipeline:
    """The pipeline with other constants; of each task those it has already."""
    return tuple(replace(t, given={**t.given, **{k: v for k, v in given.items() if k in t.given}}) for t in pipeline)


# -- bodies -------------------------------------------------------------------------
def load(seed: int) -> str:
    return f"raw{seed}"


def left(raw: hw.Version[str]) -> str:
    return f"left({raw.load()})"


def right(raw: str) -> str:
    return f"right({raw})"


def join(one: hw.Version[str], two: hw.Version[str]) -> str:
    return f"join({one.load()},{two.load()})"


def part(raw: hw.Version[str], item: int) -> str:
    return f"part{item}({raw.load()})"


def merge(parts: list[hw.Version[str]]) -> str:
    return "+".join(sorted(version.load() for version in parts))


def halves(raw: hw.Version[str]) -> tuple[str, str]:
    return f"train({raw.load()})", f"test({raw.load()})"


def flaky(raw: hw.Version[str], marker: str) -> tuple[str, str]:
    """Fails the first time, after it logged a checkpoint and with a declared result that cannot be recorded."""
    hw.log("checkpoint", f"checkpoint({raw.load()})")
    if _first_time(marker):
        return f"model({raw.load()})", object()  # type: ignore[return-value]
    return f"model({raw.load()})", "metrics"


def failing(raw: hw.Version[str]) -> str:
    hw.use("lookup")
    raise ValueError("this task always fails")


def killed(raw: hw.Version[str], marker: str) -> str:
    """Dies the first time, without a word, after it logged a checkpoint."""
    hw.log("checkpoint", f"checkpoint({raw.load()})")
    if _first_time(marker):
        os.kill(os.getpid(), signal.SIGKILL)
    return f"model({raw.load()})"


def waiting(marker: str, data: str = hw.Use("raw:latest")) -> str:
    """Reads `raw` by name, but only resolves it when the other launch has published its own."""
    return f"model({data})"


def meet(seed: int, marker: str) -> str:
    """Publishes its own and waits, without a use, until the other launch is as far."""
    Path(marker, str(seed)).touch()
    _wait_for(lambda: len(list(Path(marker).iterdir())) == 2)
    return f"met{seed}"


def _first_time(marker: str) -> bool:
    try:
        Path(marker).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _wait_for(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 100
    while not what():
        assert time.monotonic() < end, "the other launch never came"
        time.sleep(0.01)


# -- pipelines ----------------------------------------------------------------------
LOAD = Task("load", load, log="raw", given={"seed": 1})

DIAMOND: Pipeline = (
    LOAD,
    Task("left", left, log=hw.Log("left", type="table"), inputs=("load",)),
    Task("right", right, log="right", inputs=("load",)),
    Task("join", join, log=hw.Log("joined", aliases=["candidate"]), inputs=("left", "right")),
)

FAN: Pipeline = (
    LOAD,
    Task("part", part, log="part", inputs=("load",), over=(1, 2, 3)),
    Task("merge", merge, log="merged", inputs=("part",)),
)

SPLIT: Pipeline = (LOAD, Task("halves", halves, log=("train", "test"), inputs=("load",)))

RETRY: Pipeline = (
    LOAD,
    Task("train", flaky, log=("model", "metrics"), inputs=("load",), given={"marker": ""}, retries=1),
)

FAILURE: Pipeline = (
    Task("lookup", load, log="lookup", given={"seed": 7}),
    LOAD,
    Task("train", failing, log="model", inputs=("load",), after=("lookup",)),
    Task("report", left, log="report", inputs=("train",)),
)

KILL: Pipeline = (LOAD, Task("train", killed, log="model", inputs=("load",), given={"marker": ""}))

OVERLAP: Pipeline = (
    LOAD,
    Task("meet", meet, given={"seed": 1, "marker": ""}, after=("load",)),
    Task("train", waiting, log="model", given={"marker": ""}, after=("meet",)),
)
