"""When and how does a run end? Hooks on tasks and flows, for what the body of a step does not end itself.

Of a `@step`: only that it was cached, and what Prefect's pages show. Of a plain task that called
`hw.use` or `hw.log`, and of flows: everything Prefect tells. What Prefect cannot tell, the lease ends.
Prefect swallows the exceptions of hooks; all of these may be called again and from any process.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

from prefect.context import FlowRunContext
from prefect.transactions import get_transaction

from headwater import HeadwaterError, StateError, Version
from headwater.adapter import (
    RunState,
    default_repository,
    find_handles,
    join,
    open_run,
    spec_of,
    tracking,
)
from prefect_headwater import pages, postman
from prefect_headwater.identity import attempt_of, flow_key, of_flow_run, of_task_run, task_key
from prefect_headwater.settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from prefect import Flow, Task
    from prefect.client.schemas.objects import FlowRun, State, TaskRun
    from prefect.context import TaskRunContext

    from prefect_headwater.held import Sent

_log = logging.getLogger("headwater")


# -- tasks -----------------------------------------------------------------------
def task_ended(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> None:
    """A task's `on_completion` and `on_failure` hook."""
    settings()
    if tracking() == "off":
        return
    sent: Sent | None = getattr(task, "sent", None)
    if sent is not None and sent.drafts:
        sent.note(default_repository().run(task_key(task_run.id)))
    if state.name == "Cached":
        _cached(task, task_run, state)
    elif not hasattr(task, "ends_its_runs"):
        end: RunState = "finished" if state.is_completed() else "failed"
        _close(task_key(task_run.id), end, attempt_of(task_run), None if end == "finished" else state.message)
    pages.show_task_run(task_run)


def watch_task(context: TaskRunContext) -> None:
    """A plain task joins its run: end the run when Prefect ends the task run, or this attempt at it."""
    add_hook(context.task.on_completion_hooks, task_ended)
    add_hook(context.task.on_failure_hooks, task_ended)
    transaction = get_transaction()
    if transaction is not None:
        given_up = GivenUp(task_key(context.task_run.id), attempt_of(context.task_run))
        add_hook(transaction.on_rollback_hooks, given_up)


class GivenUp:
    """Rollback hook of one attempt: the next one, if there is one, may be hours away."""

    log_on_run = False

    def __init__(self, key: str, attempt: int) -> None:
        self.key = key
        self.attempt = attempt

    def __call__(self, _: Any) -> None:
        error = sys.exc_info()[1]
        _close(self.key, "failed", self.attempt, f"{type(error).__qualname__}: {error}" if error else None)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GivenUp) and (self.key, self.attempt) == (other.key, other.attempt)

    def __hash__(self) -> int:
        return hash((self.key, self.attempt))


def _cached(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> None:
    """The function was not called: its run is `cached`, and names whose versions it reuses."""
    reused = find_handles(getattr(state.data, "result", None), f"the cached result of {task.name}")
    repo = default_repository()
    run = open_run(repo.home, spec_of(of_task_run(task, task_run, {})))
    if reused:
        run.summary["reused"] = [str(version) for version in reused]
    maker = reused[0].logged_by() if reused else None
    run.finish("cached", cached_from=maker.id if maker else None)


# -- flows -----------------------------------------------------------------------
def flow_running(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001 - Prefect's names
    """Open the flow's run; an earlier attempt has failed, or Prefect would not try again."""
    settings()
    if tracking() == "off":
        return
    before = flow_run.run_count  # Prefect counts this attempt when its hooks have run
    if before > 0:  # whatever of it is open still died with its process
        _close(flow_key(flow_run.id), "failed", before, "the flow was tried again")
        default_repository().close_group(str(flow_run.id), "lost", error="the flow was tried again")
    join(of_flow_run(flow, flow_run, before + 1))
    if flow_run.parent_task_run_id is None:
        _close_lost()


def flow_completed(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001
    """End the flow's own run; tasks it started in the background go on."""
    _flow_ended(flow_run, "finished")


def flow_failed(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001
    """End the flow's own run; its tasks have ended their own."""
    _flow_ended(flow_run, "failed", state.message)


def flow_cancelled(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001
    """End everything of the flow run: a task that goes on regardless can publish nothing any more."""
    _flow_ended(flow_run, "cancelled", state.message or "the flow run was cancelled", whole_group="cancelled")


def flow_crashed(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001
    """End the flow's run; its tasks are lost, unless one shows that it lives."""
    _flow_ended(flow_run, "failed", state.message or "the flow run crashed", whole_group="lost")


HOOKS: dict[str, Callable[..., None]] = {
    "on_running_hooks": flow_running,
    "on_completion_hooks": flow_completed,
    "on_failure_hooks": flow_failed,
    "on_cancellation_hooks": flow_cancelled,
    "on_crashed_hooks": flow_crashed,
}


def watch_flow(flow: Flow[..., Any]) -> None:
    """Append the hooks to a flow, each once."""
    for where, hook in HOOKS.items():
        add_hook(getattr(flow, where), hook)


def use_parameters(context: FlowRunContext | None) -> None:
    """Record that the flow run uses the versions it was given as parameters."""
    if context is None or context.flow is None or context.flow_run is None or not context.parameters:
        return
    given = [(name, v) for name, value in context.parameters.items() for v in find_handles(value, "the parameters")]
    fresh: list[tuple[str | Version[Any], str | None]] = []
    if given:
        run = join(of_flow_run(context.flow, context.flow_run))
        fresh = [(version, name) for name, version in given if not run.knows(version)]
        run.use_many(fresh)
        for name, value in context.parameters.items():
            if isinstance(value, Version):  # exactly, instead of the alias that was asked for
                run.config[name] = f"headwater://{value}"
        run.flush()


def _flow_ended(
    flow_run: FlowRun, end: RunState, error: str | None = None, whole_group: RunState | None = None
) -> None:
    settings()
    if tracking() == "off":
        return
    use_parameters(FlowRunContext.get())
    postman.wait()
    _close(flow_key(flow_run.id), end, attempt_of(flow_run), error)
    if whole_group is not None:
        default_repository().close_group(str(flow_run.id), whole_group, error=error)


def _close_lost() -> None:
    """Nobody tells of workers that were killed: whoever comes next closes what their lease no longer covers."""
    try:
        default_repository().sweep()
    except HeadwaterError as error:
        _log.warning("lost runs were left for later: %s", error)


# -- both ------------------------------------------------------------------------
def add_hook(hooks: list[Any], hook: Any) -> None:
    """Append a hook unless it is there."""
    if hook not in hooks:
        hooks.append(hook)


def _close(key: str, end: RunState, attempt: int, error: str | None) -> None:
    try:
        default_repository().close_run(key, end, attempt=attempt, error=error)
    except StateError as already:
        _log.debug("%s attempt %d has ended otherwise: %s", key, attempt, already)
