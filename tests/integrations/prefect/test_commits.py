"""Prefect's transactions fail quietly, end early and do not reach everywhere: what is published is right anyway."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
from prefect import flow, task
from prefect.cache_policies import INPUTS
from prefect.events.clients import AssertingEventsClient
from prefect.events.worker import EventsWorker
from prefect.locking.memory import MemoryLockManager
from prefect.results import ResultStore
from prefect.task_runners import ProcessPoolTaskRunner
from prefect.transactions import CommitMode, IsolationLevel, transaction

import headwater as hw
from headwater import Version
from prefect_headwater import batch, step, track
from tests.integrations.prefect.shapes import featurize, load, part, plain, validated

pytestmark = pytest.mark.usefixtures("harness")
TOGETHER = [batch, transaction]


@pytest.fixture
def events() -> Iterator[type[AssertingEventsClient]]:
    EventsWorker.set_client_override(AssertingEventsClient)
    AssertingEventsClient.reset()
    yield AssertingEventsClient
    EventsWorker.set_client_override(None)


def emitted(events: type[AssertingEventsClient], prefix: str) -> list[tuple[str, str]]:
    EventsWorker.drain_all()
    return sorted(
        (event.event.removeprefix(prefix), event.resource.id)
        for client in events.all
        for event in client.events
        if event.event.startswith(prefix)
    )


def published(repo: hw.Repository) -> dict[str, int]:
    return {info.name.removeprefix("vision/"): len(info.versions()) for info in repo.artifacts() if info.versions()}


def states(repo: hw.Repository) -> dict[str, str]:
    return {run.name: run.state for run in repo.runs()}


# -- hooks that fail ----------------------------------------------------------------
def test_a_failing_commit_hook_leaves_a_completed_task_with_its_output(repo) -> None:
    """Prefect logs the hook's exception, rolls back, and the task stays Completed."""
    rolled_back = []

    @step(log="model")
    def train() -> int:
        hw.log("checkpoint", 1)
        return 1

    @train.on_commit
    def fails(_: Any) -> None:
        raise ValueError("in the hook")

    @train.on_rollback
    def notes(_: Any) -> None:
        rolled_back.append(1)

    @flow
    def pipeline() -> bool:
        return train(return_state=True).is_completed()

    assert pipeline()
    assert rolled_back == [1]
    assert published(repo) == {"model": 1, "checkpoint": 1}
    assert states(repo) == {"train": "finished"}


@pytest.mark.parametrize("first", [True, False], ids=["before ours", "after ours"])
def test_a_transaction_whose_commit_fails_publishes_all_or_nothing(first, repo) -> None:
    def fails(_: Any) -> None:
        raise ValueError("in the hook")

    @flow
    def pipeline() -> None:
        with transaction() as around:
            if first:
                around.on_commit_hooks.append(fails)
            part(load(1), 1)
            if not first:
                around.on_commit_hooks.append(fails)

    pipeline()
    assert published(repo) == ({} if first else {"raw": 1, "part": 1})
    assert states(repo) == {"load": "finished", "part": "finished"}


def test_a_publication_that_fails_fails_a_batch(repo, monkeypatch) -> None:
    def down(*_: Any) -> Any:
        raise hw.StorageError(what="the repository is down", retryable=True)

    @flow
    def pipeline() -> None:
        with batch():
            load(1)
            monkeypatch.setattr(hw.Repository, "publish_all", down)

    with pytest.raises(hw.StorageError, match="down"):
        pipeline()
    assert published(repo) == {}


# -- bodies that fail ---------------------------------------------------------------
@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_whatever_leaves_a_body_discards_its_drafts(error, repo) -> None:
    """Prefect's own `on_rollback` of a task does not run when the task's body fails."""
    drafts: list[Version] = []

    @step(log=("a", "b"))
    def declared() -> Iterator[tuple[int, int]]:
        yield 1, 2
        drafts.extend(hw.current_run().logged_artifacts())
        raise error

    @task
    def bare() -> None:
        drafts.append(hw.log("c", 1, publish=False))
        raise error

    @flow
    def pipeline(which: Any) -> None:
        list(which() or [])

    for which in (declared, bare):
        with pytest.raises(error):
            pipeline(which)
    assert [draft.reload().state for draft in drafts] == ["discarded"] * 3
    ended = "cancelled" if error is KeyboardInterrupt else "failed"
    assert states(repo) == {"declared": ended, "bare": "failed"}


def test_a_plain_task_retried_in_a_rolled_back_transaction_is_refused(repo) -> None:
    """Its outer transaction was rolled back by the first attempt, and Prefect would never commit the second."""
    tries = []

    @task(retries=1)
    def shaky() -> None:
        hw.log("note", len(tries))
        tries.append(1)
        if len(tries) == 1:
            raise ValueError("once")

    @flow
    def pipeline() -> None:
        with transaction():
            load(1)
            shaky()

    with pytest.raises(hw.StateError, match="batch"):
        pipeline()
    assert published(repo) == {}


# -- events -------------------------------------------------------------------------
@pytest.mark.parametrize("together", TOGETHER)
def test_events_and_assets_wait_for_the_commit(together, repo, events) -> None:
    """Prefect tells of assets when a task ends, whatever becomes of the transaction around it."""

    @flow
    def pipeline(fail: bool) -> None:
        with together():
            featurize.submit(load(1)).result()
            assert emitted(events, "headwater.") + emitted(events, "prefect.asset.") == []
            if fail:
                raise ValueError("validation says no")

    with pytest.raises(ValueError, match="says no"):
        pipeline(True)
    assert emitted(events, "headwater.") + emitted(events, "prefect.asset.") == []
    pipeline(False)
    assert emitted(events, "headwater.artifact-version.") == [
        ("published", "headwater://vision/features"),
        ("published", "headwater://vision/raw"),
    ]
    assert emitted(events, "prefect.asset.") == [
        ("materialization.succeeded", "headwater://vision/features"),
        ("referenced", "headwater://vision/raw"),
    ]


def test_an_asset_comes_from_what_was_used_not_from_what_looks_like_it(repo, events) -> None:
    """Prefect guesses upstream assets by the `id()` of arguments and of their fields."""

    @dataclasses.dataclass
    class Holds:
        name: str

    shared = "one and the same text"

    @step(log="raw", asset=True)
    def make() -> int:
        return 1

    @task
    def around(raw: Version) -> Holds:
        return Holds(shared)

    @step(log="features", asset=True)
    def fit(data: Version, options: Holds) -> int:
        return 2

    @flow
    def pipeline() -> None:
        with hw.start_run("seed"):
            other = hw.log("other", 1)
        fit(other, around(make()))

    pipeline()
    EventsWorker.drain_all()
    (made,) = [
        e for c in events.all for e in c.events if e.resource.id == "headwater://vision/features" and "asset" in e.event
    ]
    assert {r.id for r in made.related if r.id.startswith("headwater://")} == {"headwater://vision/other"}


@pytest.mark.slow
def test_what_other_processes_made_is_told_at_the_commit(repo, events) -> None:
    @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
    def pipeline() -> None:
        with batch():
            state = featurize.submit(load(1), return_state=True)
            assert state.is_completed()
            assert published(hw.connect()) == {}  # the flow travels, an open repository does not

    pipeline()
    assert published(repo) == {"raw": 1, "features": 1}
    assert emitted(events, "prefect.asset.") == [
        ("materialization.succeeded", "headwater://vision/features"),
        ("referenced", "headwater://vision/raw"),
    ]


# -- modes and levels ---------------------------------------------------------------
def test_the_outermost_transaction_decides_unless_an_inner_one_is_eager(repo) -> None:
    @flow
    def pipeline() -> None:
        with transaction(commit_mode=CommitMode.LAZY):
            with transaction():
                load(1)
            with transaction(commit_mode=CommitMode.OFF):
                plain(load(1))
            assert published(repo) == {}
            with transaction(commit_mode=CommitMode.EAGER):
                part(load(2), 1)
            assert published(repo) == {"raw": 1, "part": 1}

    pipeline()
    assert published(repo) == {"raw": 2, "part": 1, "plain": 1}


def test_a_transaction_in_the_body_of_a_task_holds_too(repo) -> None:
    """One with a key logs and stores as the task's own transaction does."""

    @task
    def outer(fail: bool) -> None:
        with transaction(key=f"{repo.id}-{fail}"):
            load(1)
            assert published(repo) == {}
            if fail:
                raise ValueError("validation says no")

    @flow
    def pipeline(fail: bool) -> None:
        outer(fail)

    with pytest.raises(ValueError, match="says no"):
        pipeline(True)
    assert published(repo) == {}
    pipeline(False)
    assert published(repo) == {"raw": 1}


def test_inside_a_transaction_that_was_committed_before_nothing_waits_for_ever(repo) -> None:
    """Its key is known: Prefect will not commit it again, nor anything inside."""

    @flow
    def pipeline(number: int) -> None:
        with transaction(key=f"{repo.id}-once", store=ResultStore(persist_result=True)) as around:
            load(number)
            around.stage("done")

    pipeline(1)
    pipeline(2)
    assert published(repo) == {"raw": 2}


def test_serializable_transactions_with_a_lock_manager(repo) -> None:
    store = ResultStore(lock_manager=MemoryLockManager())

    @flow
    def pipeline(number: int, fail: bool = False) -> None:
        with transaction(
            key=f"{repo.id}-{number}", store=store, isolation_level=IsolationLevel.SERIALIZABLE, write_on_commit=False
        ):
            part(load(number), 1)
            assert published(repo).get("raw", 0) == number - 1
            if fail:
                raise ValueError("validation says no")

    pipeline(1)
    assert published(repo) == {"raw": 1, "part": 1}
    with pytest.raises(ValueError, match="says no"):
        pipeline(2, fail=True)
    assert published(repo) == {"raw": 1, "part": 1}
    pipeline(2)  # the lock was given back
    assert published(repo) == {"raw": 2, "part": 2}


def test_a_serializable_cache_runs_one_of_two_equal_tasks(repo) -> None:
    locked = INPUTS.configure(isolation_level=IsolationLevel.SERIALIZABLE, lock_manager=MemoryLockManager())
    calls = []

    @step(log="made", cache_policy=locked, persist_result=True)
    def make(unique: str) -> int:
        calls.append(1)
        return 1

    @track
    @flow
    def pipeline() -> list[int]:
        return [future.result().load() for future in [make.submit(repo.id) for _ in range(3)]]

    assert pipeline() == [1, 1, 1]
    assert len(calls) == 1
    assert sorted(run.state for run in repo.runs() if run.name == "make") == ["cached", "cached", "finished"]
    assert published(repo) == {"made": 1}


def test_a_value_in_a_batch_can_be_validated_before_it_is_there(repo) -> None:
    """Inside, drafts are read and used as any version."""

    @flow
    def pipeline(limit: int) -> str:
        with batch():
            return str(validated(load(1), limit))

    with pytest.raises(ValueError, match="too long"):
        pipeline(2)
    assert published(repo) == {}
    pipeline(10)
    assert published(repo) == {"raw": 1, "valid": 1}
