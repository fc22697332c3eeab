"""Steps that other processes import by name."""

from __future__ import annotations

import os
from pathlib import Path

from prefect import task

import headwater as hw
from prefect_headwater import step


@step(log="raw")
def load(seed: int = 1) -> str:
    return f"raw{seed}"


@step(log="part")
def part(raw: str, item: int) -> str:
    return f"part{item}({raw})"


@step(log="merged")
def merge(parts: list[hw.Version[str]]) -> str:
    return "+".join(sorted(version.load() for version in parts))


@step(log="pid")
def process_id() -> int:
    return os.getpid()


@step(log="fragile", retries=1)
def fails_once(marker: str) -> str:
    hw.log("checkpoint", "half")
    if not Path(marker).exists():
        Path(marker).touch()
        raise ValueError("the first attempt fails")
    return "whole"


@task
def plain(raw: hw.Version[str]) -> hw.Version[str]:
    return hw.log("plain", hw.use(raw).load() + "!")


@step(log="features", asset=True)
def featurize(raw: hw.Version[str]) -> str:
    return raw.load().upper()


@step(log="valid")
def validated(raw: str, limit: int) -> str:
    if len(raw) > limit:
        raise ValueError("too long")
    return raw


@step(log="gathered")
def gather(nested: dict[str, dict[str, list[hw.Version[str]]]]) -> str:
    return " ".join(version.load() for inner in nested.values() for many in inner.values() for version in many)


@step(log="outer")
def calls_another(number: int) -> str:
    hw.log("own-draft", number, publish=False)
    return load(number).load()
