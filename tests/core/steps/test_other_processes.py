"""Steps and handles travel to other processes: by name, by value, from __main__, over fork and spawn."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

import headwater as hw
from headwater import Repository
from tests.core.steps import importable

ROOT = Path(__file__).parents[3]


def test_a_step_pickles_by_its_name() -> None:
    assert pickle.loads(pickle.dumps(importable.train)) is importable.train
    assert len(pickle.dumps(importable.train)) < 100


def test_a_step_of_main_is_copied_by_value_with_cloudpickle(repo: Repository) -> None:
    import cloudpickle  # comes with Prefect and Dagster, which send steps this way

    namespace = {"__name__": "__main__", "hw": hw}
    exec('@hw.step(log="a")\ndef f(x: int, data: str = hw.Use("mnist")) -> str:\n    return data * x', namespace)
    with hw.start_run("load"):
        hw.log("mnist", "data")
    copied = cloudpickle.loads(cloudpickle.dumps(namespace["f"]))
    assert copied is not namespace["f"]
    assert copied(2).load() == "datadata"
    assert copied.fn(1, "x") == "x"


def test_a_handle_opens_again_in_another_process(repo: Repository) -> None:
    made = importable.make(7)
    code = (
        "import pickle, sys, headwater as hw\n"
        "handle = pickle.loads(sys.stdin.buffer.read())\n"
        "assert handle.load()[1] == 7 and handle.name == 'vision/numbers'\n"
        "from tests.core.steps import importable\n"
        "print(importable.add(handle).load())"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(made), capture_output=True, timeout=60, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert output.stdout.decode().strip() == "7", output.stderr.decode()
    assert repo.version("sum").upstream().versions.keys() >= {made.id}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", pytest.param("fork", marks=pytest.mark.linux), "forkserver"])
def test_steps_run_in_pools_of_processes(repo: Repository, method: str) -> None:
    importable.make(0)  # the parent has connections and a heartbeat when it forks
    context = multiprocessing.get_context(method)
    # said again: the server of `forkserver` lives as long as this process, in the environment it began with
    with ProcessPoolExecutor(2, mp_context=context, initializer=importable.tell, initargs=(dict(os.environ),)) as pool:
        made = list(pool.map(importable.make, range(1, 4)))
        total = pool.submit(importable.add, *made).result(60)
    assert total.load() == 6
    assert {version.load()[0] for version in made}.isdisjoint({os.getpid()})
    assert sorted(run.state for run in repo.runs()) == ["finished"] * 5


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_steps_defined_in_main_run_in_pools_of_processes(repo: Repository, method: str) -> None:
    output = subprocess.run(
        [sys.executable, importable.__file__, method], capture_output=True, text=True, timeout=90,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "core"), *sys.path])},
    )  # fmt: skip
    assert output.stdout.split() == ["vision/sum", "importable.py"], output.stderr
