"""Plain `@hw.step` as an orchestrator: tasks in one thread, in threads, or in processes.

It shows what an adapter brings to the binding engine: a `Host` that opens the run of the execution it is at.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import headwater as hw
from headwater.run import open_run
from headwater.runspec import RunSpec
from headwater.steps.ambient import default_home
from headwater.steps.binding import Hosted
from headwater.steps.declared import read_outputs
from headwater.steps.decorator import make_step
from headwater.steps.inspection import Plan
from tests.conformance.pipelines import Pipeline, Task


def execute(task: Task, group: str, index: int, arguments: tuple[Any, ...], given: Mapping[str, Any]) -> Any:
    """One attempt at one execution, in whatever process or thread this is."""

    def host(plan: Plan, config: Mapping[str, Any]) -> Hosted:
        spec = RunSpec(name=task.name, key=key_of(task, group, index), group=group, config=dict(config))
        return Hosted(run=open_run(default_home(), spec))

    return make_step(task.body, read_outputs(task.log), host=host)(*arguments, **given)


def key_of(task: Task, group: str, index: int) -> str:
    return f"plain:{group}/{task.name}/{index}"


class Plain:
    """Runs the tasks of a pipeline level by level on an executor of Python's own."""

    def __init__(self, executor: Callable[[], Executor], name: str) -> None:
        self._executor = executor
        self._name = name

    def launch(self, pipeline: Pipeline, group: str) -> dict[str, str]:
        return self._launch(pipeline, group, {})

    def resume(self, pipeline: Pipeline, group: str) -> dict[str, str]:
        return self._launch(
            pipeline, group, {task.name: found for task in pipeline if (found := finished(task, group))}
        )

    def launch_mortal(self, pipeline: Pipeline, group: str) -> None:
        """The whole orchestrator is in a process of its own, as its thread may be the one that is killed."""
        marker = next(task.given["marker"] for task in pipeline if "marker" in task.given)
        code = (
            "from tests.conformance import pipelines, plain\n"
            f"deadly = pipelines.with_given(pipelines.KILL, marker={marker!r})\n"
            f"plain.ORCHESTRATORS[{self._name!r}].launch(deadly, {group!r})"
        )
        subprocess.run(
            [sys.executable, "-c", code], timeout=90, cwd=Path(__file__).parents[2], capture_output=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        assert Path(marker).exists(), "nothing was killed"

    def _launch(self, pipeline: Pipeline, group: str, done: dict[str, list[Any]]) -> dict[str, str]:
        states = dict.fromkeys(done, "finished")
        with self._executor() as executor:
            for level in levels(pipeline):
                ready = [task for task in level if task.name not in done]
                skipped = [t for t in ready if any(states[need] != "finished" for need in (*t.inputs, *t.after))]
                states |= {task.name: "skipped" for task in skipped}
                futures = {
                    task.name: self._submit(executor, task, group, done) for task in ready if task not in skipped
                }
                for task in ready:
                    if task.name in futures:
                        states[task.name], done[task.name] = self._collect(executor, task, group, futures[task.name])
        return states

    def _submit(self, executor: Executor, task: Task, group: str, done: dict[str, list[Any]]) -> list[Any]:
        arguments = tuple(only(done[need]) for need in task.inputs)
        items = [{}] if task.over is None else [{"item": item} for item in task.over]
        calls = [(task, group, i, arguments, {**task.given, **item}) for i, item in enumerate(items)]
        return [(executor.submit(execute, *call), call) for call in calls]

    def _collect(self, executor: Executor, task: Task, group: str, futures: list[Any]) -> tuple[str, list[Any]]:
        results = []
        for future, call in futures:
            for attempt in range(task.retries + 1):
                try:
                    results.append((future if attempt == 0 else executor.submit(execute, *call)).result(90))
                    break
                except (Exception, BrokenProcessPool):
                    if attempt == task.retries:
                        return "failed", []
        return "finished", results


def only(results: list[Any]) -> Any:
    return results[0] if len(results) == 1 else results


def finished(task: Task, group: str) -> list[Any]:
    """What the finished executions of a task logged before; empty if one is missing."""
    repo, results = hw.connect(), []
    for index in range(len(task.over or (1,))):
        try:
            run = repo.run(key_of(task, group, index))
        except hw.RunNotFoundError:
            return []
        if run.state != "finished":
            return []
        results.append(only(run.logged_artifacts()))
    return results


def levels(pipeline: Pipeline) -> Iterator[list[Task]]:
    """Tasks that can run beside each other, in order."""
    depth: dict[str, int] = {}
    for task in pipeline:
        depth[task.name] = 1 + max((depth[need] for need in (*task.inputs, *task.after)), default=0)
    for level in range(1, max(depth.values()) + 1):
        yield [task for task in pipeline if depth[task.name] == level]


class InOneThread(Executor):
    """Runs at once what is submitted."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def pool(method: str) -> Callable[[], Executor]:
    return lambda: ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method))


ORCHESTRATORS = {
    "one thread": Plain(InOneThread, "one thread"),
    "threads": Plain(lambda: ThreadPoolExecutor(4), "threads"),
    "processes by spawn": Plain(pool("spawn"), "processes by spawn"),
    "processes by fork": Plain(pool("fork"), "processes by fork"),
}
