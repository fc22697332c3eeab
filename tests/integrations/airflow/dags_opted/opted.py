"""DAGs for an Airflow that has opted into everything: XCom backend, capture, OpenLineage."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Asset, dag, task

from airflow_headwater import HeadwaterPromoteOperator


@dag(schedule=None)
def large():
    @task
    def part(i: int) -> str:
        return str(i) * 100_000

    @task
    def merge(parts: Any) -> int:
        return sum(len(found) for found in parts)

    merge(part.expand(i=[1, 2, 3]))


@dag(schedule=None)
def traced():
    @task.headwater(log="raw")
    def load() -> str:
        return "raw"

    @task.headwater(log="model", outlets=[Asset("s3://elsewhere/report.html")])
    def train(raw: str) -> str:
        return f"model of {raw}"

    HeadwaterPromoteOperator(task_id="promote", version=train(load()), aliases=["prod"])


large()
traced()
