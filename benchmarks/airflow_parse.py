"""What parsing the example DAG costs beyond the same DAG written without Headwater, in Airflow's DAG processor."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import child
from benchmarks.figures import Figure, at_most

TITLE = "Airflow parses the example DAG, which a DAG processor does twice a minute"
ROUNDS = 5
"""Of which the quickest counts: the machine may have other things to do."""
EXAMPLE = child.ROOT / "examples" / "airflow" / "dags" / "digits.py"
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


def parse(example: str) -> dict[str, Any]:
    """CPU seconds, in a process that has parsed other DAGs: the plain one, the plugin, ours; and what ours loaded."""
    import sys
    import time

    def cost(code: str, path: str) -> float:
        compiled = compile(code, path, "exec")
        before = time.process_time()
        exec(compiled, {"__name__": "unusual_prefix_dag", "__file__": path})
        return time.process_time() - before

    cost(PLAIN, "plain.py")  # Airflow itself, and what it loads when it is first used
    plain = cost(PLAIN, "plain.py")
    import airflow.listeners
    import airflow.plugins_manager  # noqa: F401 - Airflow's own, whose cost is not ours

    before = set(sys.modules)
    ours = cost(Path(example).read_text(), example)
    parsed = sorted(set(sys.modules) - before)
    plugin = cost("import airflow_headwater.plugin", "plugin.py")  # serialising a DAG loads Airflow's plugins
    loaded = sorted(set(sys.modules) - before)
    return {"plain": plain, "ours": ours, "plugin": plugin, "parsed": parsed, "loaded": loaded}


def cold(example: Path = EXAMPLE) -> dict[str, Any]:
    """`parse` in a fresh process with an Airflow home of its own."""
    with tempfile.TemporaryDirectory() as home:
        paths = [str(child.ROOT / "integrations"), os.environ.get("PYTHONPATH", "")]
        env = {"AIRFLOW_HOME": home, "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "PYTHONPATH": os.pathsep.join(paths)}
        return child.run(parse, env=env, example=str(example))


def measure(work: Path, *, peers: bool) -> list[Figure]:
    """Cold: nothing of Headwater was loaded before, which is the worst a DAG processor meets."""
    del work, peers
    rounds = [cold() for _ in range(ROUNDS)]
    plain, ours, plugin = (min(found[name] for found in rounds) * 1000 for name in ("plain", "ours", "plugin"))
    return [
        Figure(what="the same DAG without Headwater", value=plain, unit="ms", note="CPU time"),
        at_most("the example, beyond that", ours - plain, 50, "ms", note="CPU time, cold"),
        at_most("the plugin, which serialising loads", plugin, 50, "ms", note="CPU time, after the example"),
        Figure(what="modules of Headwater loaded", value=sum("headwater" in m for m in rounds[0]["loaded"]), unit=""),
    ]
