"""A pipeline as an Airflow DAG: scan pictures, deal them out, train several classifiers, promote the best one.

What each task reads and makes is a version; what travels between tasks are handles of a few hundred bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow.sdk import dag, task

import headwater as hw
from airflow_headwater import HeadwaterPromoteOperator


@dag(schedule=None, params={"strengths": [0.0001, 0.01, 1.0]}, tags=["headwater"])
def digits():
    @task.headwater(log=hw.Log("digits", type="dataset"))
    def scan() -> Path:
        from headwater.demo.pictures import write_digits

        write_digits(hw.scratch() / "digits")
        return hw.scratch() / "digits"

    @task.headwater(log={"training": "training", "testing": "testing"})
    def deal(pictures: Path) -> dict[str, Path]:
        from headwater.demo.pipeline import split

        training, testing = split.fn(pictures)
        return {"training": training, "testing": testing}

    @task
    def strengths(params: Any = None) -> list[float]:
        return params["strengths"]

    @task.headwater(log=hw.Log("classifier", type="model"), map_index_template="{{ task.op_kwargs['strength'] }}")
    def train(images: Path, strength: float) -> Any:
        from headwater.demo.pipeline import train

        return train.fn(images, strength)

    @task.headwater(log=hw.Log("scores", type="metrics"))
    def evaluate(model: hw.Version[Any], images: Path) -> dict[str, Any]:
        from headwater.demo.pipeline import evaluate

        return {"model": str(model), **evaluate.fn(model.load(), images)}

    @task.headwater
    def choose(scores: list[dict[str, Any]]) -> str:
        return max(scores, key=lambda found: found["accuracy"])["model"]

    parts = deal(scan())
    models = train.partial(images=parts["training"]).expand(strength=strengths())
    scores = evaluate.partial(images=parts["testing"]).expand(model=models)
    HeadwaterPromoteOperator(task_id="promote", version=choose(scores), aliases=["prod"])


digits()
