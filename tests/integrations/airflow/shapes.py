"""The pipelines of tests/conformance as DAGs, for `dag.test()` and for files that a real Airflow reads."""

from __future__ import annotations

import inspect
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, task

from tests.conformance import pipelines
from tests.conformance.pipelines import Pipeline, Task

NAMES = {
    "diamond": pipelines.DIAMOND, "fan": pipelines.FAN, "split": pipelines.SPLIT, "retry": pipelines.RETRY,
    "failure": pipelines.FAILURE, "kill": pipelines.KILL, "overlap": pipelines.OVERLAP,
}  # fmt: skip
ENDED = {"success": "finished", "failed": "failed", "upstream_failed": "skipped", "skipped": "skipped"}


def dag_id_of(pipeline: Pipeline) -> str:
    """Which of the pipelines it is, whatever constants it is given."""
    tasks = {tuple((t.name, t.body) for t in shape): name for name, shape in NAMES.items()}
    return tasks[tuple((t.name, t.body) for t in pipeline)]


def conf_of(pipeline: Pipeline, project: str) -> dict[str, Any]:
    """What a DAG run is told: the project of this test, and the pipeline's constants."""
    return {"project": project, "given": {t.name: dict(t.given) for t in pipeline}}


def build(name: str) -> DAG:
    """The DAG of a pipeline; its constants come with the conf of each DAG run."""
    made: dict[str, Any] = {}
    with DAG(name, schedule=None, max_active_runs=4) as dag:
        for shape in NAMES[name]:
            made[shape.name] = _task(shape, [made[need] for need in shape.inputs])
            for need in shape.after:
                made[need] >> made[shape.name]
    return dag


def _task(shape: Task, inputs: list[Any]) -> Any:
    decorated = task.headwater(
        log=shape.log, project="{{ dag_run.conf['project'] }}", task_id=shape.name, retries=shape.retries,
        retry_delay=timedelta(0),
    )(shape.body)  # fmt: skip
    passed = dict(zip(inspect.signature(shape.body).parameters, inputs))
    given = {key: f"{{{{ dag_run.conf['given']['{shape.name}']['{key}'] }}}}" for key in shape.given}
    if shape.over is None:
        return decorated(**passed, **given)
    return decorated.partial(**passed, **given).expand(item=list(shape.over))
