"""Which Headwater run is this? That of the Prefect task run the caller is in, else that of its flow run.

Key and attempt are Prefect's own: the task run's id and its retry, the flow run's id and its run
count. The group is the flow run, so that tasks of one flow run read one version under one name.
"""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any, TypeVar

from prefect.context import FlowRunContext, TaskRunContext, get_run_context
from prefect.exceptions import MissingContextError
from prefect.utilities.urls import url_for

from headwater import NotFoundError, RunIdentity
from headwater.adapter import default_repository, run_id, surrounding_run
from prefect_headwater.settings import settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import CodeType

    from prefect import Flow, Task
    from prefect.client.schemas.objects import FlowRun, TaskRun

C = TypeVar("C", FlowRunContext, TaskRunContext)

MAX_KNOWN = 1_000
"""Most flow runs whose Headwater run a process keeps in mind."""

_flow_runs: dict[tuple[str, str, int], str] = {}


def task_key(task_run_id: Any) -> str:
    """The key of the run that records a task run."""
    return f"prefect:task-run/{task_run_id}"


def flow_key(flow_run_id: Any) -> str:
    """The key of the run that records a flow run."""
    return f"prefect:flow-run/{flow_run_id}"


def attempt_of(prefect_run: FlowRun | TaskRun) -> int:
    """Which attempt a task or flow run is at; a cached task run counts none of its own."""
    return max(1, prefect_run.run_count)


def run_context() -> TaskRunContext | FlowRunContext | None:
    """The Prefect run whose code the caller is: not a generator task whose loop body it is."""
    try:
        context = get_run_context()
    except MissingContextError:
        return None
    if isinstance(context, TaskRunContext) and not _inside(context.task):
        return FlowRunContext.get()
    return context


def _inside(task: Task[..., Any]) -> bool:
    """Whether the caller is in the body of the task.

    In `for x in task():` Prefect's context stays that of the generator while the loop's body runs.
    """
    if not task.isgenerator:
        return True
    if hasattr(task, "__headwater_step__"):
        return surrounding_run() is not None  # while its own body runs, there is one
    code: CodeType | None = getattr(inspect.unwrap(task.fn), "__code__", None)
    frame = sys._getframe()  # noqa: SLF001 - the stack is the only place that knows
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code is code:
            return True
    return False


def of_task_run(task: Task[..., Any], task_run: TaskRun, config: Mapping[str, Any]) -> RunIdentity:
    """The identity of this attempt of a task run."""
    settings()
    return RunIdentity(
        key=task_key(task_run.id),
        attempt=attempt_of(task_run),
        group=str(task_run.flow_run_id) if task_run.flow_run_id else None,
        parent=_parent(task_run),
        config=config,
        links=_links("task-run", task_run.id),
        name=task.name,
    )


def of_flow_run(flow: Flow[..., Any], flow_run: FlowRun, attempt: int | None = None) -> RunIdentity:
    """The identity of an attempt of a flow run; by default the one it is at."""
    settings()
    return RunIdentity(
        key=flow_key(flow_run.id),
        attempt=attempt or attempt_of(flow_run),
        group=str(flow_run.id),
        parent=_parent_of_flow(flow_run),
        config=flow_run.parameters,
        links=_links("flow-run", flow_run.id),
        name=flow.name,
        container=True,
    )


def _parent(task_run: TaskRun) -> str | None:
    around = surrounding_run()
    group = str(task_run.flow_run_id)
    if around is not None and around.group == group:  # a task called in a task
        return around.id
    if task_run.flow_run_id is None:
        return around.id if around is not None else None
    return known_flow_run(group, max(1, task_run.flow_run_run_count))


def known_flow_run(flow_run_id: str, attempt: int) -> str | None:
    """The id of the run that records a flow run; None if nothing does."""
    repo = default_repository()
    asked = (repo.id, flow_run_id, attempt)
    if asked not in _flow_runs:
        try:
            found = repo.run(run_id(repo.id, flow_key(flow_run_id), attempt)).id
        except NotFoundError:
            return None
        if len(_flow_runs) >= MAX_KNOWN:
            _flow_runs.clear()
        _flow_runs[asked] = found
    return _flow_runs[asked]


def _parent_of_flow(flow_run: FlowRun) -> str | None:
    """Of a sub-flow: the step or flow that called it."""
    around = surrounding_run()
    if around is not None:
        return around.id
    outer = FlowRunContext.get()
    while outer is not None and outer.flow_run is not None and outer.flow_run.id == flow_run.id:
        outer = context_around(outer)
    if outer is None or outer.flow_run is None:
        return None
    return known_flow_run(str(outer.flow_run.id), attempt_of(outer.flow_run))


def context_around(context: C) -> C | None:
    """The context of its kind that was there before: hooks see the caller's at first, bodies and retries their own."""
    token = context._token  # noqa: SLF001 - as Prefect's transactions find their parents
    before = None if token is None else token.old_value
    return before if isinstance(before, type(context)) else None


def _links(kind: str, prefect_id: Any) -> dict[str, str]:
    page = url_for(kind, obj_id=prefect_id)
    return {"prefect": page} if page else {}
