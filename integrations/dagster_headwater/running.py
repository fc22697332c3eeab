"""Which run am I, and when does it end.

One Headwater run per attempt at a step, keyed `dagster:<run id>/<step key>`, in the group of the Dagster run. It
is opened at the first load or store, by whichever process comes to it, and closed from Dagster's event log: when
the resources of the process are torn down, by the next attempt, or by the sync sensor after a SIGKILL. Nothing
that matters is kept in one process: the registry below only says which runs this process has to close.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import headwater as hw
from dagster_headwater import seams
from headwater.adapter import RunIdentity, join, run_id

GROUP_PREFIX = "dagster:"
_log = logging.getLogger("headwater")
_opened: dict[str, dict[str, hw.Run]] = {}
_links: dict[str, str] = {}
"""Dagster's own address, as the resource was told: links back from runs."""


def key_of(run: str, step_key: str) -> str:
    """The key of a step's Headwater runs; the same in every process."""
    return f"{GROUP_PREFIX}{run}/{step_key}"


def link_to(url: str) -> None:
    """Runs opened from now on link back to that Dagster."""
    _links["url"] = url.rstrip("/")


def identity_of(step: Any) -> RunIdentity:
    """Which execution a step is."""
    config = {"kind": seams.kind_of(step), "job": step.job_name, "config": seams.raw_config(step),
              "partition": seams.partition_of(step), "parent_run": step.dagster_run.parent_run_id}  # fmt: skip
    url = _links.get("url")
    return RunIdentity(
        key=key_of(step.run_id, step.step.key),
        attempt=step.previous_attempt_count + 1,
        group=step.run_id,
        name=str(step.node_handle),
        config={name: value for name, value in config.items() if value is not None},
        links={"dagster": f"{url}/runs/{step.run_id}?selection={step.step.key}"} if url else {},
    )


def current_identity() -> RunIdentity | None:
    """The execution the caller's thread is in: what `hw.use`, `hw.log` and `@hw.step` join (`headwater.ambient`)."""
    step = seams.current_step()
    if step is None:
        return None
    if _mark(step) not in _opened.get(step.run_id, {}):
        open_step(step, hw.connect())  # so that it is known as one to close
    return identity_of(step)


def open_step(step: Any, repo: hw.Repository) -> hw.Run:
    """The run of the attempt, opened or found again.

    Raises:
        StateError: It has ended.
        HeadwaterError: The repository cannot be reached.
    """
    identity = identity_of(step)
    mine = _opened.setdefault(step.run_id, {})
    if _mark(step) not in mine and identity.attempt > 1:
        close_earlier(repo, step.instance, identity)
    run = mine[_mark(step)] = join(identity)  # in the default repository, which the resource has made `repo`
    return run


def _mark(step: Any) -> str:
    return f"{step.step.key}\n{step.previous_attempt_count}"


def close_earlier(repo: hw.Repository, instance: Any, identity: RunIdentity) -> None:
    """Close attempts before this one as the event log says; those that crashed are left to be superseded as lost."""
    group = str(identity.group)
    ends = seams.ends_of(instance, group).get(identity.key.removeprefix(key_of(group, "")), [])
    for before, end in enumerate(ends[: identity.attempt - 1], 1):
        _close(repo, run_id(repo.id, identity.key, before), end)


def settle(instance: Any, dagster_run: str) -> None:
    """Close the runs that this process opened for a Dagster run; never raises, the sync sensor repairs what is left."""
    mine = _opened.pop(dagster_run, {})
    if not mine or instance is None:
        return
    try:
        ends = seams.ends_of(instance, dagster_run)
        for run in mine.values():
            attempts = ends.get(run.key.removeprefix(key_of(dagster_run, "")), [])
            if run.attempt <= len(attempts):
                _end(run, attempts[run.attempt - 1])
    except Exception as error:  # noqa: BLE001  # Dagster's own outcome must not depend on this
        _log.warning("runs of Dagster run %s could not be closed: %s", dagster_run, error)


def sync(instance: Any, runs: Sequence[hw.Run]) -> list[hw.Run]:
    """Close those of `runs` whose Dagster run has ended, or whose attempt has; return those that were closed."""
    closed = []
    ends: dict[str, dict[str, list[seams.End]]] = {}
    for run in runs:
        dagster_run = instance.get_run_by_id(run.group) if run.group else None
        if dagster_run is None or not run.key.startswith(key_of(str(run.group), "")):
            continue
        if run.group not in ends:
            ends[str(run.group)] = seams.ends_of(instance, str(run.group))
        attempts = ends[str(run.group)].get(run.key.removeprefix(key_of(str(run.group), "")), [])
        end = attempts[run.attempt - 1] if run.attempt <= len(attempts) else None
        if end is None and dagster_run.is_finished:
            end = seams.End("lost", f"Dagster's run ended as {dagster_run.status.value}, the step said nothing")
        if end is not None and end.state != run.state and _end(run, end):
            closed.append(run)
    return closed


def _close(repo: hw.Repository, run: str, end: seams.End) -> None:
    try:
        _end(repo.run(run), end)
    except hw.RunNotFoundError:
        pass  # that attempt loaded and stored nothing


def _end(run: hw.Run, end: seams.End) -> bool:
    """End the run, unless somebody has; a lost one may still learn its true end."""
    if run.state not in ("running", "lost"):
        return False
    try:
        run.finish(end.state, end.error)
    except hw.StateError as error:  # the sensor and a teardown may meet
        _log.debug("run %s was closed meanwhile: %s", run.id, error)
        return False
    return True
