"""Tasks of every kind that Airflow has, and DAG runs that begin in other ways."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pendulum
from airflow.sdk import BaseOperator, dag, setup, task, task_group, teardown

import headwater as hw
from airflow_headwater import Use
from airflow_headwater.triggers import VersionTrigger


@dag(schedule=None)
def kinds():
    @setup
    @task.headwater(log="cluster")
    def make() -> str:
        return "cluster"

    @task.headwater(log={"left": "left", "right": "right"})
    def both(where: str) -> dict[str, str]:
        return {"left": f"left of {where}", "right": f"right of {where}"}

    @task_group
    def sides(left: Any, right: Any) -> Any:
        @task.headwater(log="joined")
        async def join(left: str, right: str) -> str:
            return f"{left}, {right}"

        return join(left, right)

    @task.external_python(python=sys.executable)
    def outside(handle: Any) -> str:
        import headwater as hw

        return str(hw.log("from-outside-python", hw.use(handle).load() + "!"))

    @task.virtualenv(requirements=[], system_site_packages=False)
    def alone(path: str, name: str) -> str:
        from pathlib import Path

        (file,) = Path(path).iterdir()
        return f"{name}: {file.read_text()}"

    @teardown
    @task.headwater
    def drop(where: hw.Version[str]) -> None: ...

    where = make()
    parts = both(where)
    joined = sides(parts["left"], parts["right"])
    by_name = alone(Use("joined", "path"), Use("joined", "name"))
    joined >> by_name
    [outside(joined), by_name] >> drop(where)
    where >> joined


@dag(schedule="@daily", start_date=pendulum.datetime(2026, 1, 1), catchup=False)
def daily():
    @task.headwater(log="events[{{ ds }}]")
    def day(ds: Any = None) -> str:
        return f"events of {ds}"

    day()


@dag(schedule=None)
def orphaned():
    @task.headwater(log="once", retries=1, retry_delay=0)
    def slow(marker: str) -> str:
        import time

        hw.log("began", "yes")
        if not Path(marker).exists():
            Path(marker).write_text(f"{os.getpid()} {os.getppid()}")
            time.sleep(600)
        return "the only one"

    slow("{{ dag_run.conf['marker'] }}")


class Waiting(BaseOperator):
    """Somebody's deferrable operator, which knows nothing of Headwater."""

    template_fields = ("data",)

    def __init__(self, *, data: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data = data

    def execute(self, context: Any) -> None:
        self.defer(trigger=VersionTrigger("vision/go-on", poll_seconds=0.5), method_name="go_on")

    def go_on(self, context: Any, event: Any = None) -> str:
        return str(self.data)


@dag(schedule=None)
def foreign():
    Waiting(task_id="waits", data=Use("waited-with", "name"))


kinds()
daily()
orphaned()
foreign()
