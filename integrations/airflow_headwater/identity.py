"""Which run is a task, and which its DAG run: from Airflow's ids alone, so that every process finds the same.

airflow:<dag>/<run>/<task>/<map index>     a task instance; its tries are the attempts
airflow:<dag>/<run>                        the DAG run: the group, and the parent of its tasks
airflow@<instance>:…                       with `[headwater] instance`, where Airflows share a repository
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

from airflow_headwater.compat import option, redact, task_of
from headwater import HeadwaterError, adapter

if TYPE_CHECKING:
    from headwater.adapter import Run, RunIdentity

TEST_RUN = "__airflow_temporary_run_"
"""How the run ids of `airflow tasks test` begin; no DAG run goes with them that could ever be said to end."""


def group_key(dag_id: str, run: str) -> str:
    """The key of a DAG run, which is also the group of its tasks."""
    instance = option("instance")
    return f"airflow{'@' if instance else ''}{instance}:{dag_id}/{run}"


def task_key(ti: Any) -> str:
    """The key of a task instance, of whatever class Airflow has for it there."""
    index = -1 if ti.map_index is None else ti.map_index
    return f"{group_key(ti.dag_id, ti.run_id)}/{ti.task_id}/{index}"


def attempt_of(ti: Any) -> int:
    """The try; `airflow tasks test` says 0."""
    return max(1, int(ti.try_number or 0))


def project_of(task: Any) -> str | None:
    """The project that one of our operators was given; what others call so is something else."""
    return getattr(task, "project", None) if hasattr(task, "headwater_conn_id") else None


def name_of(context: dict[str, Any], project: str | None = None) -> RunIdentity:
    """Which execution a task's context describes; asks nobody and loads little, as it is said of every task."""
    ti = context["ti"]
    group = group_key(ti.dag_id, ti.run_id)
    return adapter.RunIdentity(
        key=task_key(ti),
        attempt=attempt_of(ti),
        group=group,
        parent_key=None if ti.run_id.startswith(TEST_RUN) else group,
        name=ti.task_id,
        project=project or project_of(task_of(context)),
    )


def identity_of(context: dict[str, Any], project: str | None = None) -> RunIdentity:
    """The same with all that its run is to show."""
    link = getattr(context["ti"], "log_url", None)
    links = {"airflow": str(link)} if link else {}
    return replace(name_of(context, project), config=config_of(context), links=links)


def config_of(context: dict[str, Any]) -> dict[str, Any]:
    """What the DAG run was told: dates, conf, params and kind of run, without secrets."""
    dag_run, ti = context.get("dag_run"), context["ti"]
    version = getattr(ti, "dag_version_id", None)
    bundle = getattr(ti, "bundle_instance", None)
    dates = ("logical_date", "data_interval_start", "data_interval_end")
    airflow = {
        **{name: _text(context.get(name) or getattr(dag_run, name, None)) for name in dates},
        "run_type": "test" if ti.run_id.startswith(TEST_RUN) else _text(getattr(dag_run, "run_type", None)),
        "clear_number": getattr(dag_run, "clear_number", None),
        "partition_key": getattr(dag_run, "partition_key", None),
        "map_index": ti.map_index,
        "dag_version": None if version is None else str(version),
        "bundle": getattr(bundle, "name", None),
        "bundle_version": getattr(bundle, "version", None),
    }
    told = {"conf": dict(getattr(dag_run, "conf", None) or {}), "params": dict(context.get("params") or {})}
    shown = {"airflow": {name: value for name, value in airflow.items() if value is not None}}
    shown |= {name: adapter.plain_of(values) for name, values in told.items() if values}
    return dict(adapter.mask(redact(shown)))


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return value.isoformat() if isinstance(value, date) else str(getattr(value, "value", value))


def open_dag_run(context: dict[str, Any], project: str | None = None) -> Run | None:
    """The run of the DAG run, opened by whichever of its tasks comes first, and shared by all.

    None where it has ended already, as when a task of a finished DAG run is cleared by itself, and in a test.
    """
    ti, dag_run = context["ti"], context.get("dag_run")
    if ti.run_id.startswith(TEST_RUN):
        return None
    spec = adapter.RunSpec(
        name=ti.dag_id,
        project=project,
        key=group_key(ti.dag_id, ti.run_id),
        attempt=1,
        group=group_key(ti.dag_id, ti.run_id),
        config=config_of({**context, "ti": _WithoutTask(ti)}),
        shared=True,
        resume=bool(getattr(dag_run, "clear_number", 0)) or attempt_of(ti) > 1,
        capture=(),
    )
    try:
        return adapter.open_run(adapter.default_home(), spec)
    except HeadwaterError:
        return None


class _WithoutTask:
    """A task instance as its DAG run sees it."""

    map_index = None

    def __init__(self, ti: Any) -> None:
        self.run_id = ti.run_id
        self.dag_version_id = getattr(ti, "dag_version_id", None)
        self.bundle_instance = getattr(ti, "bundle_instance", None)
