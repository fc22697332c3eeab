"""`@step`: a Prefect task whose every run is a Headwater run that remembers what it used and logged."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from prefect import Task
from prefect.context import TaskRunContext, get_run_context
from prefect.exceptions import MissingContextError, TerminationSignal

from headwater import InvalidInputError, Run, Version
from headwater.adapter import (
    Hosted,
    Plan,
    RunState,
    default_home,
    make_step,
    open_run,
    read_outputs,
    spec_of,
    state_after,
)
from prefect_headwater import assets, endings, together
from prefect_headwater.caching import seeing_names
from prefect_headwater.identity import of_task_run
from prefect_headwater.typed import TypedTask

P = ParamSpec("P")
R = TypeVar("R")
_SAME: Any = object()
CLOCK_SLACK = 0.25
"""Prefect's clock of a timeout starts before ours, seconds."""


class StepTask(TypedTask[P, R]):
    """A task that records. Made by `step`; everything a `prefect.Task` can do, it does.

    Args:
        fn: The user's function, of any kind Prefect takes.
        log: The artifacts its results become, as in `headwater.step`.
        project: Where its run and its names without a project live.
        asset: Also show its results as Prefect assets.
        **options: Those of `prefect.task`.

    Raises:
        InvalidInputError: Not a function, a task already, or a name that cannot be one.
    """

    ends_its_runs = True

    def __init__(
        self, fn: Any, *, log: Any = None, project: str | None = None, asset: bool = False, **options: Any
    ) -> None:
        if isinstance(fn, Task):
            raise InvalidInputError(what=f"{fn.name} is a task already", fix="use @step in place of @task")
        super().__init__(make_step(fn, read_outputs(log), project, host), **options)
        user = fn.__func__ if isinstance(fn, classmethod | staticmethod) else fn
        self.task_key = Task(fn=user).task_key  # of the wrapper it would be the same for all steps of one name
        self.cache_policy = seeing_names(self.cache_policy, self.__dict__["__headwater_step__"])
        self.asset = asset
        endings.add_hook(self.on_completion_hooks, endings.task_ended)
        endings.add_hook(self.on_failure_hooks, endings.task_ended)

    def with_options(
        self, *, log: Any = _SAME, project: Any = _SAME, asset: bool | None = None, **options: Any
    ) -> StepTask[P, R]:
        """As Prefect's, and the result records too; `log`, `project` and `asset` may be changed as well."""
        changed = super().with_options(**options)
        new = copy(self)
        new.__dict__.update(changed.__dict__)
        new.task_key = self.task_key
        new.asset = self.asset if asset is None else asset
        plan: Plan = self.__dict__["__headwater_step__"]
        if log is not _SAME or project is not _SAME:
            outputs = plan.outputs if log is _SAME else read_outputs(log)
            new.fn = make_step(plan.fn, outputs, plan.project if project is _SAME else project, host)
            new.__dict__["__headwater_step__"] = new.fn.__headwater_step__  # type: ignore[attr-defined]
        new.cache_policy = seeing_names(new.cache_policy, plan)
        for hooks in ("on_completion_hooks", "on_failure_hooks"):
            setattr(new, hooks, list(getattr(new, hooks)))
            endings.add_hook(getattr(new, hooks), endings.task_ended)
        return new

    if not TYPE_CHECKING:  # Prefect's own signatures type them

        def submit(self, *args: Any, **kwargs: Any) -> Any:
            """As Prefect's."""
            held = together.holding()
            if held is None:
                return super().submit(*args, **kwargs)
            future = Task.submit(together.tell(self), *args, **kwargs)
            held.expect([future], asset=self.asset)
            return future

        def map(self, *args: Any, **kwargs: Any) -> Any:
            """As Prefect's."""
            held = together.holding()
            if held is None:
                return super().map(*args, **kwargs)
            futures = Task.map(together.tell(self), *args, **kwargs)
            held.expect(futures, asset=self.asset)
            return futures


def host(plan: Plan, config: Mapping[str, Any]) -> Hosted | None:
    """The run of the Prefect task run that is calling `plan`; None where no such run is: the function is just called.

    Raises:
        StateError: The attempt has ended, or the transaction around it was rolled back.
    """
    try:
        context = get_run_context()
    except MissingContextError:
        return None
    if not isinstance(context, TaskRunContext) or getattr(context.task.fn, "__headwater_step__", None) is not plan:
        return None
    identity = replace(of_task_run(context.task, context.task_run, config), project=plan.project)
    held = together.holding()
    run = open_run(default_home(), spec_of(identity))
    run.drafts = None if held is None else held.drafts
    asset = getattr(context.task, "asset", False)

    def recorded(_: Run, versions: Sequence[Version[Any]]) -> None:
        if held is not None:
            held.drafts.extend(versions)
            if asset:
                held.shown.update(version.id for version in versions)
        elif asset:
            assets.show(run, versions)

    return Hosted(
        run=run,
        publish=held is None,
        recorded=recorded if held is not None or asset else None,
        state_after=_state_after(context.task.timeout_seconds),
    )


def _state_after(timeout: float | None) -> Callable[[BaseException], RunState]:
    begun = time.monotonic()

    def after(error: BaseException) -> RunState:
        if isinstance(error, TerminationSignal):
            return "cancelled"
        if timeout is not None and time.monotonic() - begun >= timeout - CLOCK_SLACK:
            return "failed"  # the body only sees that it is cancelled
        return state_after(error)

    return after
