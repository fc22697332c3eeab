"""Runs that Airflow knows to be over and the repository does not: marked by hand, timed out while deferred, killed."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from airflow_headwater.identity import group_key
from headwater import HeadwaterError

if TYPE_CHECKING:
    from headwater import Repository, Run
    from headwater.adapter import RunState

ENDS: dict[str, RunState] = {"success": "finished", "failed": "failed", "skipped": "skipped", "removed": "cancelled"}
"""How the run of a task ended that Airflow says this of."""


def close_ended(repo: Repository, ti: Any) -> int:
    """Close the open runs of tasks of this Airflow that have ended; asks once for each of their DAG runs.

    A run of a task that Airflow does not know, as that of another Airflow, is left alone.

    Args:
        repo: The repository.
        ti: The task instance that asks, which can.
    """
    whole = group_key("", "").removesuffix("/")
    by_group = defaultdict(list)
    for run in repo.runs(where=["state=running"], all_projects=True):
        if run.key.startswith(whole) and run.group and run.key != run.group:
            by_group[run.group].append(run)
    closed = 0
    for group, runs in by_group.items():
        dag_id, _, dag_run = group.removeprefix(whole).partition("/")
        states = ti.get_task_states(dag_id=dag_id, run_ids=[dag_run]).get(dag_run, {})
        closed += sum(_close(repo, run, states.get(_task_of(run))) for run in runs)
    return closed


def _task_of(run: Run) -> str:
    """As Airflow names a task in such answers: `task`, of a mapped one `task_<index>`."""
    task, _, index = run.key.removeprefix(f"{run.group}/").rpartition("/")
    return task if index == "-1" else f"{task}_{index}"


def _close(repo: Repository, run: Run, state: str | None) -> bool:
    if state not in ENDS:
        return False
    try:
        repo.close_run(run.key, ENDS[state], attempt=run.attempt, error=f"Airflow says that its task is {state}")
    except HeadwaterError:  # it has just ended by itself
        return False
    return True
