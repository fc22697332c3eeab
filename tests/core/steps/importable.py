"""Steps in a module that other processes import."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import headwater as hw
from headwater import Version


def tell(environment: dict[str, str]) -> None:
    """What a process that is older than a test has to be told."""
    os.environ.update(environment)


@hw.step(log="numbers")
def make(n: int) -> list[int]:
    return [os.getpid(), n]


@hw.step(log="sum")
def add(first: Version[list[int]], *others: Version[list[int]]) -> int:
    return sum(version.load()[1] for version in (first, *others))


@hw.step(log="cnn")
def train(data: str = hw.Use("mnist:latest"), lr: float = 0.1) -> str:
    return f"{data} at {lr}"


@hw.step(log="cnn")
def train_asset(data: Annotated[str, hw.Use("mnist:latest")]) -> str:
    return f"{data} at 0.1"


@hw.step(log={"train": "tr", "test": "te"})
def split_op() -> dict[str, str]:
    return {"train": "1", "test": "2"}


@hw.step(log={"train": "tr", "test": "te"})
def split(lr: float = 0.1) -> dict[str, str]:
    return {"train": "1", "test": "2"}


@hw.step
def evaluate(model: Version[str]) -> float:
    return float(len(model.load()))


@hw.step(log="shard")
def shards(n: int) -> Iterator[str]:
    for i in range(n):
        yield str(i)


if __name__ == "__main__":  # a script whose steps live in __main__, run in a pool of processes
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    context = multiprocessing.get_context(sys.argv[1])
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        made = list(pool.map(make, range(3)))
        total = pool.submit(add, *made).result()
    assert total.load() == 3
    assert all(version.load()[0] != os.getpid() for version in made)
    print(total.name, Path(__file__).name)
