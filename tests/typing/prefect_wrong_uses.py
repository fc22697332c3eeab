"""What must not type under Prefect: both checkers report every line marked `# wrong`, and no other."""

from __future__ import annotations

from pathlib import Path

from headwater import Version
from prefect_headwater import step, track


@step(log="raw")
def extract(day: str) -> Path:
    return Path(day)


@step
def report(model: Version[int]) -> str:
    return str(model.load())


@step(log=("a", "b"))  # wrong
def one_of_two() -> Path:
    return Path()


class Trainer:
    @step
    def train(self, data: Version[int]) -> int:
        return data.load()


def calls() -> None:
    Trainer().train(1)  # wrong
    Trainer().train.submit()  # wrong
    extract.submit(1)  # wrong
    extract(1)  # wrong
    report(extract("x"))  # wrong
    extract("x").exists()  # wrong
    step(log="x", retriez=2)  # wrong
    step(logs="x")  # wrong
    track(calls)  # wrong
