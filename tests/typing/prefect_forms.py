"""Every form of Prefect's `step`, and what calling it gives: both checkers must reveal the type in the comment."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from prefect import flow
from typing_extensions import reveal_type

import headwater as hw
from headwater import Version
from prefect_headwater import ARTIFACT_INPUTS, batch, step, track


@step(log=hw.Log("raw", type="dataset"), retries=2, tags=["ingest"], project="vision")
def extract(day: str) -> Path:
    return Path(day)


@step(log="clean", cache_policy=ARTIFACT_INPUTS)
async def clean(raw: Version[Path]) -> dict[str, int]:
    return {str(raw.load()): 1}


@step(log=("train", "test"), asset=True)
def split(raw: Version[Path]) -> tuple[Path, int]:
    return raw.load(), 1


@step(log=("a", "b", "c"))
def split_three(raw: Version[Path]) -> tuple[Path, int, str]:
    return raw.load(), 1, ""


@step(log={"train": "train"})
def by_name(raw: Version[Path]) -> dict[str, int]:
    return {}


@step(log="shard")
def shards(raw: Version[Path]) -> Iterator[int]:
    yield 1


@step(log="shard")
async def stream(raw: Version[Path]) -> AsyncIterator[int]:
    yield 1


@step(log="best")
def pick(models: list[Version[Path]]) -> Version[Path]:
    return models[0]


@step(log="by-hand")
def by_hand() -> hw.Artifact:
    return hw.Artifact("by-hand")


@step(retries=1)
def report(model: Version[dict[str, int]], n: int = 1) -> str:
    return str(model.load())


@step
def plain(x: int) -> int:
    return x


class Trainer:
    @step(log="model")
    def train(self, data: Version[Path]) -> int:
        return 1

    @step(log="model")
    async def tune(self, data: Version[Path], n: int) -> int:
        return n

    @step(log="shard")
    @staticmethod
    def load(n: int) -> Path:
        return Path()


@track
@flow
async def pipeline(day: str, data: Version[Path] = hw.Use("raw")) -> str:
    with batch():
        raw = extract(day)
    reveal_type(raw)  # Version[Path]
    cleaned = await clean(raw)
    reveal_type(cleaned)  # Version[dict[str, int]]
    reveal_type(split(raw))  # tuple[Version[Path], Version[int]]
    reveal_type(split_three(raw))  # tuple[Version[Path], Version[int], Version[str]]
    reveal_type(by_name(raw))  # dict[str, Version[int]]
    for shard in shards(raw):
        reveal_type(shard)  # Version[int]
    async for item in stream(raw):
        reveal_type(item)  # Version[int]
    reveal_type(pick([raw]))  # Version[Path]
    reveal_type(by_hand())  # Version[Any]
    reveal_type(plain(1))  # int
    reveal_type(report(cleaned))  # str
    trainer = Trainer()
    reveal_type(trainer.train(raw))  # Version[int]
    reveal_type(trainer.train.submit(raw).result())  # Version[int]
    reveal_type(await trainer.tune(raw, 1))  # Version[int]
    reveal_type(Trainer.load(1))  # Version[Path]
    reveal_type(extract.fn(day))  # Version[Path]
    reveal_type(extract(day, return_state=True).result())  # Version[Path]
    reveal_type(extract.submit(day).result())  # Version[Path]
    reveal_type(extract.submit(day, wait_for=[raw]).result())  # Version[Path]
    reveal_type(extract.submit(day, return_state=True).result())  # Version[Path]
    reveal_type(extract.map(["a", "b"]).result())  # list[Version[Path]]
    reveal_type(extract.delay(day).result())  # Version[Path]
    reveal_type(clean.submit(raw).result())  # Version[dict[str, int]]
    reveal_type(clean.map([raw]).result())  # list[Version[dict[str, int]]]
    reveal_type(clean.delay(raw).result())  # Version[dict[str, int]]
    reveal_type(split.submit(raw).result())  # tuple[Version[Path], Version[int]]
    reveal_type(extract.with_options(retries=1)(day))  # Version[Path]
    return report(cleaned)


async def run() -> None:
    reveal_type(await pipeline("2024-01-01"))  # str
