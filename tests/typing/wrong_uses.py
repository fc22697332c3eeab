"""What must not type: both checkers report every line marked `# wrong`, and no other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import headwater as hw
from headwater import Version


@hw.step(log=hw.Log("cnn", type="model"))
def train(data: Path = hw.Use("mnist:latest"), lr: float = 0.1) -> Path:
    return data


@hw.step
def evaluate(model: Version[Path]) -> float:
    return 0.1


@hw.step(log=("a", "b"))
def split(data: Version[Path]) -> tuple[Path, dict[str, int]]:
    return data.load(), {}


@hw.step(log="shards")
def shards(data: Version[Path]) -> Iterator[int]:
    yield 1


@hw.step(log="later")
async def later(data: Version[Path]) -> int:
    return 1


class Trainer:
    @hw.step(log="a")
    def fit(self, data: Version[Path]) -> Path:
        return data.load()


@hw.step(log=("a", "b"))  # wrong
def one_of_two() -> Path:
    return Path()


@hw.step(log=("a", "b"))  # wrong
def three_of_two() -> tuple[int, int, int]:
    return 1, 2, 3


@hw.step(log={"train": "a"})  # wrong
def no_mapping() -> Path:
    return Path()


def calls(model: Version[Path]) -> None:
    evaluate(split(model)[1])  # wrong
    evaluate(Path())  # wrong
    evaluate("cnn:latest")  # wrong
    evaluate()  # wrong
    train(lr="fast")  # wrong
    train(model)  # wrong
    train(speed=1)  # wrong
    train().exists()  # wrong
    model.exists()  # wrong
    Trainer().fit("x")  # wrong
    Trainer().fit.fn(model)  # wrong
    later(model).load()  # wrong
    text: str = train().load()  # wrong
    for item in shards(model):
        item.bit_length()  # wrong
    hw.step(log=1)  # wrong
    hw.step(logs="a")  # wrong
    hw.Log("cnn", alias="prod")  # wrong
    hw.Log()  # wrong
    hw.Use()  # wrong
    hw.Use("mnist", rolle="x")  # wrong
    hw.use(3)  # wrong
    hw.use("x", Path).load().upper()  # wrong
    hw.log("x")  # wrong
    hw.log("x", 3).load().upper()  # wrong
    train.nothing  # wrong
