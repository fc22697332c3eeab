"""Starts whenever `digits/classifier` gets the alias prod, whoever gave it: a DAG, a colleague, a command."""

from __future__ import annotations

from typing import Any

from airflow.sdk import dag, task

import headwater as hw
from airflow_headwater import Use, watched_asset

model = watched_asset("digits/classifier", alias="prod", poll_seconds=1)


@dag(schedule=[model], tags=["headwater"])
def deployment():
    @task.headwater(log="deployed")
    def deploy(weights: hw.Version[Any]) -> dict[str, Any]:
        return {"model": str(weights), "shape": list(weights.load().shape)}

    deploy(Use("digits/classifier:prod"))


deployment()
