"""When a task's run begins and how it ends: inside `execute`, else by listener, next try or sweep."""

from __future__ import annotations

import logging
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_headwater import connection
from airflow_headwater.assets import announce
from airflow_headwater.compat import current_context, option, pauses, skips, successes, task_of
from airflow_headwater.identity import attempt_of, identity_of, name_of, open_dag_run, task_key
from headwater import HeadwaterError, adapter

if TYPE_CHECKING:
    from headwater.adapter import Hosted, Plan, Run, RunIdentity, RunState

log = logging.getLogger("airflow.task.headwater")
BACKEND = "airflow_headwater.xcom.HeadwaterXComBackend"


def ambient() -> RunIdentity | None:
    """For `headwater.ambient`: the task that this process is in, about to use or log something."""
    context = current_context()
    return None if context is None else _enter(context, None)


def join_task(context: dict[str, Any], project: str | None = None, config: Mapping[str, Any] | None = None) -> Run:
    """The run of this task's try, opened or found again, with that of its DAG run above it.

    Raises:
        StateError: That try has ended already.
        HeadwaterError: The repository cannot be reached.
    """
    identity = _enter(context, project)
    return adapter.join(replace(identity, config={**identity.config, **(config or {})}))


def _enter(context: dict[str, Any], project: str | None) -> RunIdentity:
    connection.apply(getattr(task_of(context), "headwater_conn_id", None))
    identity = identity_of(context, project)
    if _opened.get("key") != _name(identity):
        open_dag_run(context, identity.project)
        log.info("recorded: headwater run show '%s'", identity.key)
        _opened.update(key=_name(identity), identity=identity)
    return identity


_opened: dict[str, Any] = {}
"""Of the task this process is at: what is opened already, so that it is said and done once."""


def _name(identity: RunIdentity) -> str:
    return f"{os.getpid()} {identity.key} {identity.attempt}"


def is_open(context: Mapping[str, Any]) -> bool:
    """Whether this process has opened the run of this task's try."""
    ti = context["ti"]
    return _opened.get("key") == f"{os.getpid()} {task_key(ti)} {attempt_of(ti)}"


class Recording:
    """One `execute`: its run is joined when something is to be recorded, and ended with the block.

    Attributes:
        run: The run; None until it is joined.
    """

    def __init__(self, context: dict[str, Any], project: str | None = None, conn_id: str | None = None) -> None:
        self.context, self.project = context, project
        self.run: Run | None = None
        if conn_id is not None or adapter.tracking() != "off":
            connection.apply(conn_id)

    def join(self, config: Mapping[str, Any] | None = None) -> Run:
        """The run of this try."""
        self.run = join_task(self.context, self.project, config)
        return self.run

    @contextmanager
    def current(self) -> Iterator[None]:
        """Inside the block `hw.use` and `hw.log` are this run's, whatever else is around."""
        with adapter.run_as(identity_of(self.context, self.project)):
            yield

    def host(self, plan: Plan, config: Mapping[str, Any]) -> Hosted:  # noqa: ARG002 - a Host's signature
        """For the core's steps: this try's run records the call, this block ends it."""
        outer = adapter.surrounding_run()
        if outer is not None:
            return adapter.Hosted(run=outer, owns=False)
        return adapter.Hosted(run=self.join(config), owns=False)


@contextmanager
def recording(context: dict[str, Any], project: str | None = None, conn_id: str | None = None) -> Iterator[Recording]:
    """The body of an operator's `execute`; ends the run as the block ends, unless the task goes on later."""
    made = Recording(context, project, conn_id)
    try:
        yield made
    except successes():
        end(made.run, "finished")
        raise
    except pauses():
        pause(made.run)
        raise
    except BaseException as error:
        end(made.run, state_of(error), error)
        raise
    succeeded(context)
    if made.run is not None and option("xcom_backend", section="core") != BACKEND:
        _finish(made.run)


def _finish(run: Run) -> None:
    _opened.clear()
    try:
        run.finish("finished")
    except HeadwaterError as error:
        if not adapter.lenient(error):
            raise


def when_done(context: Mapping[str, Any], then: Callable[[], object]) -> None:
    """Call this when the task's `execute` has succeeded, before Airflow hears of it."""
    _then.setdefault(task_key(context["ti"]), []).append(then)


_then: dict[str, list[Callable[[], object]]] = {}


def succeeded(context: dict[str, Any]) -> None:
    """After a successful `execute`: acknowledge what was taken, tell Airflow's assets which versions were logged."""
    for then in _then.pop(task_key(context["ti"]), []):
        then()
    if is_open(context):
        announce(context, join_task(context))


def state_of(error: BaseException | None) -> RunState:
    """How a run ended that this exception left."""
    if error is None:
        return "failed"
    return "skipped" if isinstance(error, skips()) else adapter.state_after(error)


def end(run: Run | None, state: RunState, error: BaseException | str | None = None) -> None:
    """End a run whose task has failed already; never raises, as the task's own error must be seen."""
    _opened.clear()
    if run is None or run.state != "running":
        return
    try:
        run.finish(state, error)
    except Exception as second:  # noqa: BLE001 - as said
        log.warning("the end of run %s could not be recorded: %s", run.id, second)


def pause(run: Run | None) -> None:
    """The task goes on later, perhaps much later and elsewhere; until then no process renews its lease."""
    if run is None or run.state != "running":
        return
    try:
        run.pause()
    except Exception as error:  # noqa: BLE001 - as of `end`; it may also have gone on already
        log.warning("that run %s waits could not be recorded: %s", run.id, error)
    _opened.clear()


def pause_here() -> None:
    """Of a task that left this process without an end: it was deferred or is rescheduled."""
    if _opened:
        pause(adapter.join(_opened["identity"]))


def close_here(ti: Any, state: RunState, error: BaseException | str | None = None) -> None:
    """End the run that this process has opened for a task instance, if it has not ended inside `execute`."""
    if is_open({"ti": ti}):
        end(adapter.join(_opened["identity"]), state, error)


def close_task(key: str, attempt: int, state: RunState, error: BaseException | str | None = None) -> None:
    """End the run of a task instance from whatever process hears of it; nothing if none was opened."""
    try:
        adapter.default_repository().close_run(key, state, attempt=attempt, error=error)
    except HeadwaterError as second:  # it ended inside execute already, or the repository cannot be had now
        log.debug("run of %s not closed: %s", key, second)


def close_dag_run(group: str, state: RunState) -> None:
    """End the run of a DAG run, and as `lost` whatever of its tasks still seems to run."""
    repo = adapter.default_repository()
    try:
        repo.close_run(group, state)
    except HeadwaterError as second:
        log.debug("run of %s not closed: %s", group, second)
    repo.close_group(group, "lost", error="its DAG run has ended")


_at: list[dict[str, Any]] = []
"""The context of the task this process is at: Airflow forgets it before it pushes XComs."""


def enter_task(context: dict[str, Any]) -> None:
    """Remember which task this process is at, until `leave_task`."""
    _at[:] = [context]


def leave_task() -> None:
    """The task has ended."""
    _at.clear()


def context_here() -> dict[str, Any] | None:
    """The context of the task this process is at, also while its XComs are pushed."""
    return current_context() or (_at[0] if _at else None)


def complete_sequences(task: Any) -> None:
    """Fetch what mapped tasks returned, so that the handles in it are seen and recorded: Airflow passes it lazily."""
    args, kwargs = getattr(task, "op_args", ()), getattr(task, "op_kwargs", {})
    if any(_is_lazy(value) for value in (*args, *kwargs.values())):
        task.op_args = [list(value) if _is_lazy(value) else value for value in args]
        task.op_kwargs = {name: list(value) if _is_lazy(value) else value for name, value in kwargs.items()}


def _is_lazy(value: Any) -> bool:
    return type(value).__name__ == "LazyXComSequence"


def environment(context: dict[str, Any]) -> dict[str, str]:
    """What the programs that this task starts find, so that `hw.use`, `hw.log` and the command join its run."""
    connection.apply()
    _marker[:] = [Path(tempfile.gettempdir(), f"headwater-joined-{uuid.uuid4()}")]
    named = {"HEADWATER_RUN": adapter.to_environment(name_of(context)), "HEADWATER_JOINED": str(_marker[0])}
    return {**named, **connection.for_children()}


_marker: list[Path] = []
"""The file that a program of this task makes if it records something."""


def follow_programs() -> None:
    """Where a program that the task started has opened its run, this process has it from now on, and ends it."""
    if _marker and _at and _marker[0].exists():
        _marker.pop().unlink()
        join_task(_at[0])
