"""Airflow's plugin: closes runs that `execute` did not, lets handles through XComs, records what is declared.

Listeners must never raise, be slow or touch Airflow's database: they run in workers, in the API
server and in the scheduler, where a mistake stops more than one task.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

from airflow_headwater import aside, capture, connection, runs
from airflow_headwater.compat import allow_in_xcoms, current_context, first_of, option
from airflow_headwater.identity import attempt_of, group_key, task_key
from airflow_headwater.links import HeadwaterRunLink
from headwater import adapter

if TYPE_CHECKING:
    from headwater.adapter import RunState

log = logging.getLogger("airflow.task.headwater")
HANDLES = ("headwater.version.Version", "headwater.steps.unrecorded.Unrecorded")


def _quietly(listen: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(listen)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            listen(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - see the module
            log.warning("headwater could not follow: %s", error)

    return guarded


class Listener:
    """Told by Airflow about task instances and DAG runs."""

    @hookimpl
    @_quietly
    def on_task_instance_running(self, previous_state: Any, task_instance: Any) -> None:  # noqa: ARG002
        """In the worker, after rendering and before `execute`."""
        context = current_context()
        task = getattr(task_instance, "task", None)
        if context is None or task is None or adapter.tracking() == "off":
            return
        runs.enter_task(context)
        if hasattr(getattr(task, "python_callable", None), "__headwater_step__"):
            runs.complete_sequences(task)
        _remember(runs.environment(context))
        before = capture.before(context)
        wanted = task._post_execute_hook  # noqa: SLF001 - the constructor's argument has no other place

        def after(context: dict[str, Any], result: Any = None) -> None:
            if wanted is not None:
                wanted(context, result)
            capture.after(context, before)
            runs.follow_programs()
            runs.succeeded(context)

        task._post_execute_hook = after  # noqa: SLF001 - as above

    @hookimpl
    @_quietly
    def on_task_instance_success(self, previous_state: Any, task_instance: Any) -> None:  # noqa: ARG002
        """In the worker after success was sent; in the API server when somebody marks it so."""
        _close(task_instance, "finished")

    @hookimpl
    @_quietly
    def on_task_instance_failed(self, previous_state: Any, task_instance: Any, error: Any) -> None:  # noqa: ARG002
        """As for success; also of a try that will be tried again."""
        _close(task_instance, runs.state_of(error if isinstance(error, BaseException) else None), error)

    @hookimpl
    @_quietly
    def on_task_instance_skipped(self, previous_state: Any, task_instance: Any) -> None:  # noqa: ARG002
        """In the worker, when the task skipped itself."""
        _close(task_instance, "skipped")

    @hookimpl
    @_quietly
    def before_stopping(self, component: Any) -> None:  # noqa: ARG002
        """In the worker, last of all: a task that nothing above was said of goes on later."""
        runs.leave_task()
        runs.pause_here()

    @hookimpl
    @_quietly
    def on_dag_run_success(self, dag_run: Any, msg: str) -> None:  # noqa: ARG002
        """In the scheduler."""
        _close_dag_run(dag_run, "finished")

    @hookimpl
    @_quietly
    def on_dag_run_failed(self, dag_run: Any, msg: str) -> None:  # noqa: ARG002
        """In the scheduler; also finds tasks that were killed without a word."""
        _close_dag_run(dag_run, "failed")


_environment: dict[str, str | None] = {}


def _remember(new: dict[str, str]) -> None:
    """Set variables for programs that the task starts, until it ends."""
    _environment.update({name: os.environ.get(name) for name in new})
    os.environ.update(new)


def _forget() -> None:
    for name, value in _environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    _environment.clear()


def _close(ti: Any, state: RunState, error: Any = None) -> None:
    in_worker = hasattr(ti, "get_template_context") and not hasattr(ti, "_sa_instance_state")
    if in_worker:
        _forget()
        runs.follow_programs()
        runs.leave_task()
        runs.close_here(ti, state, error)
    elif connection.apply_without_airflow():
        key, attempt = task_key(ti), attempt_of(ti)  # now: the row is Airflow's, of a session of this thread
        aside.do(lambda: runs.close_task(key, attempt, state, error))


def _close_dag_run(dag_run: Any, state: RunState) -> None:
    if connection.apply_without_airflow():
        group = group_key(dag_run.dag_id, dag_run.run_id)
        aside.do(lambda: runs.close_dag_run(group, state))


def latest(name: str) -> str:
    """For templates, `{{ macros.headwater.latest('vision/raw') }}`: the version that the name means now."""
    connection.apply()
    return str(adapter.default_repository().version(name))


def _readers() -> list[Any]:
    if "hook_lineage" not in option("capture"):  # with a reader, every hook of the deployment collects
        return []
    return [first_of("airflow.sdk.lineage:HookLineageReader", "airflow.lineage.hook:HookLineageReader")]


class HeadwaterPlugin(AirflowPlugin):
    """See the module."""

    name = "headwater"
    listeners = [Listener()]
    macros = [latest]
    global_operator_extra_links = [HeadwaterRunLink()]
    hook_lineage_readers: list[Any] = []

    @classmethod
    def on_load(cls, *_: Any, **__: Any) -> None:
        """Called twice in some processes."""
        allow_in_xcoms(*HANDLES)
        cls.hook_lineage_readers = _readers()
