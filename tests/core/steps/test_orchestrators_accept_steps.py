"""The real Prefect, Airflow and Dagster, each in a process of its own, take a step as their own task.

No adapter is involved: only what a step looks like from outside counts here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import headwater as hw
from headwater import Repository

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.parametrize("world", ["folder"], indirect=True)

PREFECT = """
import os
os.environ.update(PREFECT_SERVER_ANALYTICS_ENABLED="false", PREFECT_LOGGING_LEVEL="ERROR")
import headwater as hw
from prefect import Task
from prefect.utilities.callables import get_call_parameters, parameter_schema
from tests.core.steps import importable as steps

task = Task(fn=steps.train, name="train")
assert not task.isasync and not task.isgenerator
assert list(parameter_schema(task.fn).properties) == ["lr"], parameter_schema(task.fn)
assert get_call_parameters(task.fn, (), {"lr": 0.2}) == {"lr": 0.2}
from prefect.utilities.callables import call_with_parameters
model = call_with_parameters(task.fn, {"lr": 0.2})
assert model.load() == "data at 0.2"
assert call_with_parameters(Task(fn=steps.evaluate).fn, {"model": model}) == 11.0
assert Task(fn=steps.shards).isgenerator
assert "lr" in parameter_schema(steps.split).properties
from prefect.cache_policies import TASK_SOURCE
import inspect
assert "{data} at" in inspect.getsource(task.fn)
print("ok")
"""

PREFECT_FLOW = """
import os
import headwater as hw
from prefect import flow, task
from prefect.testing.utilities import prefect_test_harness
from tests.core.steps import importable as steps

train, evaluate = task(steps.train), task(steps.evaluate)

@flow
def pipeline(lr: float) -> float:
    return evaluate(train(lr=lr))

with prefect_test_harness():
    assert pipeline(0.3) == 11.0
    assert flow(steps.split)(lr=0.1)["train"].load() == "1"
print("ok")
"""

AIRFLOW = """
import os, tempfile
os.environ.update(AIRFLOW_HOME=tempfile.mkdtemp(), AIRFLOW__LOGGING__LOGGING_LEVEL="ERROR")
from airflow.sdk import DAG, task
from tests.core.steps import importable as steps

with DAG("d") as dag:
    model = task(steps.train)(lr=0.2)
    score = task(steps.evaluate)(model)
    parts = task(steps.split)()
    many = task(steps.train).partial().expand(lr=[0.1, 0.2])
assert dag.task_dict["train"].op_kwargs == {"lr": 0.2}
assert dag.task_dict["split"].multiple_outputs is True
assert parts["train"].key == "train"
made = dag.task_dict["train"].python_callable(lr=0.2)
assert made.load() == "data at 0.2"
assert dag.task_dict["evaluate"].python_callable(model=made) == 11.0
print("ok")
"""

DAGSTER = """
import dagster as dg
from tests.core.steps import importable as steps

train = dg.asset(name="model")(steps.train_asset)
evaluate = dg.asset(name="score")(steps.evaluate)
result = dg.materialize([train, evaluate], resources={"io_manager": dg.mem_io_manager})
assert result.success
assert result.output_for_node("model").load() == "data at 0.1"
assert result.output_for_node("score") == 11.0
op = dg.op(name="split")(steps.split_op)
assert op().keys() == {"train", "test"}
print("ok")
"""


def run_alone(code: str, home: Path) -> str:
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=110, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PREFECT_HOME": str(home / "prefect"),
             "DAGSTER_HOME": "", "NO_PROXY": "*"},
    )  # fmt: skip
    assert output.returncode == 0, output.stderr[-3000:]
    return output.stdout.strip().splitlines()[-1]


CASES = {
    "prefect": ("prefect", PREFECT),
    "prefect-flow": ("prefect", PREFECT_FLOW),
    "airflow": ("airflow", AIRFLOW),
    "dagster": ("dagster", DAGSTER),
}
INSTALLED = [case for case, (library, _) in CASES.items() if find_spec(library)]


@pytest.mark.slow
@pytest.mark.parametrize("case", INSTALLED)
def test_a_step_is_taken_as_a_task(case: str, repo: Repository, tmp_path: Path) -> None:
    with hw.start_run("load"):
        hw.log("mnist", "data")
    assert run_alone(CASES[case][1], tmp_path) == "ok"
    used = [edge.asked for run in repo.runs() for edge in run.uses()]
    assert "mnist:latest" in used
