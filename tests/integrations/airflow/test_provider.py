"""The provider as Airflow finds it: described without loading anything, cheap to parse, within the house's limits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import distribution, entry_points
from pathlib import Path

from tests.integrations.airflow.conftest import PATHS, ROOT

PLAIN = """
from airflow.sdk import dag, task
from airflow.providers.standard.operators.empty import EmptyOperator

@dag(schedule=None)
def plain():
    @task
    def scan(): ...
    @task(multiple_outputs=True)
    def deal(pictures): ...
    @task
    def strengths(): ...
    @task
    def train(images, strength): ...
    @task
    def evaluate(model, images): ...
    @task
    def choose(scores): ...
    parts = deal(scan())
    models = train.partial(images=parts["training"]).expand(strength=strengths())
    choose(evaluate.partial(images=parts["testing"]).expand(model=models)) >> EmptyOperator(task_id="promote")

plain()
"""
PROBE = """
import json, sys, time
from pathlib import Path
plain, ours = sys.argv[1:]
def cost(path):
    code = compile(Path(path).read_text(), path, "exec")
    before = time.process_time()
    exec(code, {"__name__": "unusual_prefix_dag", "__file__": path})
    return time.process_time() - before
cost(plain)  # Airflow itself, and what it loads when it is first used
import airflow_headwater.plugin  # as the DAG processor has, before it forks a process for each file
print(json.dumps([cost(plain), cost(ours)]))
"""


def run(code: str, *arguments: str, home: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=90,
        env={**os.environ, "PYTHONPATH": PATHS, "AIRFLOW_HOME": str(home)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip().splitlines()[-1]


def test_the_package_is_called_as_its_distribution() -> None:
    found = [point for point in entry_points(group="apache_airflow_provider") if "headwater" in point.value]
    assert len(found) == 1
    info = found[0].load()()
    assert info["package-name"] == distribution("headwater").name == found[0].dist.name
    assert {point.value for point in entry_points(group="airflow.plugins") if point.name == "headwater"} == {
        "airflow_headwater.plugin:HeadwaterPlugin"
    }


def test_every_class_and_module_that_the_description_names_is_there() -> None:
    from importlib import import_module

    from airflow_headwater.provider import get_provider_info

    info = get_provider_info()
    named = [info["task-decorators"][0]["class-name"], info["connection-types"][0]["hook-class-name"]]
    named += [info["asset-uris"][0][key] for key in ("handler", "factory", "to_openlineage_converter")]
    for path in [*named, *info["extra-links"]]:
        module, _, name = path.rpartition(".")
        assert hasattr(import_module(module), name), path
    for kind in ("operators", "hooks", "sensors", "triggers"):
        for module in info[kind][0]["python-modules"]:
            import_module(module)
    import airflow_headwater

    for name in airflow_headwater.__all__:
        assert getattr(airflow_headwater, name)


def test_the_description_loads_nothing(tmp_path) -> None:
    code = (
        "import sys; from airflow_headwater.provider import get_provider_info as g; g();"
        "print(sorted({'airflow', 'headwater', 'sqlalchemy'} & set(sys.modules)))"
    )
    assert run(code, home=tmp_path) == "[]"


def test_parsing_the_example_costs_under_50_ms_beyond_the_same_dag_without_headwater(tmp_path) -> None:
    plain = tmp_path / "plain.py"
    plain.write_text(PLAIN)
    example = ROOT / "examples" / "airflow" / "dags" / "digits.py"
    costs = [json.loads(run(PROBE, str(plain), str(example), home=tmp_path)) for _ in range(3)]
    assert min(ours - theirs for theirs, ours in costs) < 0.05, costs
