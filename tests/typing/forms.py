"""Every form of a step, and what calling it gives: both checkers must reveal the type in the comment."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from typing_extensions import reveal_type

import headwater as hw
from headwater import Version


@dataclass
class Metrics:
    accuracy: float


@hw.step(log=hw.Log("cnn", type="model", aliases=["candidate"]), project="vision")
def train(data: Path = hw.Use("mnist:latest"), lr: float = 0.1) -> Path:
    return data / "model"


@hw.step(log="cnn")
def train_on_handle(data: Version[Path] = hw.Use("mnist:latest", role="train"), lr: float = 0.1) -> Path:
    return data.load() / "model"


@hw.step
def evaluate(model: Version[Path]) -> float:
    return 0.1


@hw.step()
def evaluate_called(model: Version[Path]) -> float:
    return 0.1


@hw.step(log=None, project="vision")
def evaluate_elsewhere(model: Version[Path]) -> float:
    return 0.1


@hw.step(log="metrics")
def measure(model: Version[Path], folds: list[Version[Path]]) -> Metrics:
    return Metrics(0.9)


@hw.step(log="config")
def annotated(cfg: Annotated[Path, hw.Use("config:prod")]) -> str:
    return cfg.read_text()


@hw.step(log=("a", "b"))
def split(data: Version[Path]) -> tuple[Path, dict[str, int]]:
    return data.load(), {}


@hw.step(log=("a", hw.Log("b", aliases=["test"]), "c"))
def split_three(data: Version[Path]) -> tuple[Path, int, str]:
    return data.load(), 1, ""


@hw.step(log=("a", "b", "c", "d"))
def split_four(data: Version[Path]) -> tuple[int, int, int, int]:
    return 1, 2, 3, 4


@hw.step(log={"train": "a", "test": hw.Log("b", type="dataset")})
def split_by_name(data: Version[Path]) -> dict[str, Path]:
    return {}


@hw.step(log="a")
async def fetch(data: Version[Path]) -> int:
    return 1


@hw.step
async def fetch_only(data: Version[Path]) -> int:
    return 1


@hw.step(log=("a", "b"))
async def fetch_two(data: Version[Path]) -> tuple[Path, int]:
    return data.load(), 1


@hw.step(log={"train": "a"})
async def fetch_by_name(data: Version[Path]) -> dict[str, int]:
    return {"train": 1}


@hw.step(log="a")
def shards(data: Version[Path]) -> Iterator[int]:
    yield 1


@hw.step(log="a")
def shards_with_result(data: Version[Path]) -> Generator[int, None, str]:
    yield 1
    return ""


@hw.step(log=("a", "b"))
def shard_pairs(data: Version[Path]) -> Iterator[tuple[int, str]]:
    yield 1, ""


@hw.step
def plain_items(data: Version[Path]) -> Iterator[int]:
    yield 1


@hw.step(log="a")
async def stream(data: Version[Path]) -> AsyncIterator[int]:
    yield 1


@hw.step(log="best")
def pick(models: list[Version[Path]]) -> Version[Path]:
    return models[0]


@hw.step(log="best")
async def pick_later(models: list[Version[Path]]) -> Version[Path]:
    return models[0]


@hw.step(log="raw")
def by_hand() -> hw.Artifact:
    return hw.Artifact("raw")


class Trainer:
    @hw.step(log="a")
    def fit(self, data: Version[Path], n: int = 1) -> Path:
        return data.load()

    @staticmethod
    @hw.step(log="a")
    def static(n: int) -> Path:
        return Path()

    @classmethod
    @hw.step(log="a")
    def cls_method(cls, n: int) -> Path:
        return Path()

    @hw.step
    async def score(self, n: int) -> Path:
        return Path()


def takes_any_version(version: Version[object]) -> None: ...


def takes_callable(fn: Callable[[Version[Path]], float]) -> None: ...


async def every_form() -> None:
    model = train()
    reveal_type(model)  # Version[Path]
    reveal_type(train(Path(), lr=0.2))  # Version[Path]
    reveal_type(train_on_handle(model))  # Version[Path]
    reveal_type(evaluate(model))  # float
    reveal_type(evaluate_called(model))  # float
    reveal_type(evaluate_elsewhere(model))  # float
    reveal_type(measure(model, [model]))  # Version[Metrics]
    reveal_type(measure(model, folds=[]).load())  # Metrics
    reveal_type(annotated(Path()))  # Version[str]
    reveal_type(split(model))  # tuple[Version[Path], Version[dict[str, int]]]
    reveal_type(split_three(model))  # tuple[Version[Path], Version[int], Version[str]]
    reveal_type(split_four(model))  # tuple[Version[Any], ...]
    reveal_type(split_by_name(model))  # dict[str, Version[Path]]
    reveal_type(await fetch(model))  # Version[int]
    reveal_type(await fetch_only(model))  # int
    reveal_type(await fetch_two(model))  # tuple[Version[Path], Version[int]]
    reveal_type(await fetch_by_name(model))  # dict[str, Version[int]]
    reveal_type(shards(model))  # Iterator[Version[int]]
    reveal_type(shards_with_result(model))  # Iterator[Version[int]]
    reveal_type(shard_pairs(model))  # Iterator[tuple[Version[int], Version[str]]]
    reveal_type(plain_items(model))  # Iterator[int]
    reveal_type(stream(model))  # AsyncIterator[Version[int]]
    async for item in stream(model):
        reveal_type(item)  # Version[int]
    reveal_type(pick([model]))  # Version[Path]
    reveal_type(await pick_later([model]))  # Version[Path]
    reveal_type(by_hand())  # Version[Any]

    reveal_type(Trainer().fit(model))  # Version[Path]
    reveal_type(Trainer().fit(model, n=2))  # Version[Path]
    reveal_type(Trainer.static(1))  # Version[Path]
    reveal_type(Trainer.cls_method(1))  # Version[Path]
    reveal_type(Trainer().cls_method(1))  # Version[Path]
    reveal_type(await Trainer().score(1))  # Path
    reveal_type(Trainer().fit.fn(Trainer(), model))  # Path
    reveal_type(Trainer.fit(Trainer(), model))  # Version[Path]

    reveal_type(train.fn())  # Path
    reveal_type(train.fn(Path(), 0.2))  # Path
    reveal_type(train.__wrapped__())  # Path
    reveal_type(split.fn(model))  # tuple[Path, dict[str, int]]
    reveal_type(train.__name__)  # str
    takes_callable(evaluate)

    reveal_type(hw.use("mnist:latest"))  # Version[Any]
    reveal_type(hw.use("mnist:latest", Path))  # Version[Path]
    reveal_type(hw.use("mnist:latest", as_=Path, role="train").load())  # Path
    reveal_type(hw.use(model))  # Version[Path]
    reveal_type(hw.log("x", 3))  # Version[int]
    reveal_type(hw.log("x", Path(), aliases=["prod"], metadata={"rows": 3}))  # Version[Path]
    reveal_type(hw.log("x", model))  # Version[Path]
    reveal_type(hw.log("x", hw.Artifact("x")))  # Version[Any]
    reveal_type(hw.scratch())  # Path
    reveal_type(hw.current_run())  # Run
    hw.current_run().summary["accuracy"] = 0.9
    reveal_type(model.load())  # Path
    reveal_type(model.load(str))  # str

    bare: Version = model
    reveal_type(bare.load())  # Any
    takes_any_version(model)
    with hw.start_run("train", project="vision", config={"lr": 0.1}) as run:
        reveal_type(run)  # Run
        reveal_type(run.use_artifact("mnist:latest"))  # Version[Any]
    with contextlib.suppress(hw.HeadwaterError):
        hw.use("never:latest")
