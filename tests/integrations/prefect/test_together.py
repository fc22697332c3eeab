"""Transactions and batches: all outputs or none, with retries and other processes inside."""

from __future__ import annotations

import asyncio

import pytest
from prefect import flow, task
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner
from prefect.transactions import CommitMode, transaction

import headwater as hw
from prefect_headwater import batch, step, track
from tests.integrations.prefect.shapes import fails_once, load, merge, part, plain

pytestmark = pytest.mark.usefixtures("harness")
RUNNERS = ["threads", pytest.param("processes", marks=pytest.mark.slow)]
TOGETHER = [batch, transaction]


def runner_of(name: str):
    return ThreadPoolTaskRunner(2) if name == "threads" else ProcessPoolTaskRunner(max_workers=2)


def published(repo: hw.Repository) -> dict[str, int]:
    return {info.name.removeprefix("vision/"): len(info.versions()) for info in repo.artifacts() if info.versions()}


@pytest.mark.parametrize("together", TOGETHER)
@pytest.mark.parametrize("runner", RUNNERS)
def test_outputs_are_drafts_until_the_end_and_then_all_there(together, runner, repo) -> None:
    during = []

    @track
    @flow(task_runner=runner_of(runner))
    def pipeline() -> list[str]:
        with together():
            raw = load.submit(1)
            parts = part.map(raw, [1, 2])
            merged = merge.submit(parts).result()
            during.append((merged.state, published(hw.connect())))
        return [str(merged.reload()), merged.state, str(raw.result().reload())]

    assert pipeline() == ["vision/merged:v0", "published", "vision/raw:v0"]
    assert during == [("draft", {})]
    assert published(repo) == {"raw": 1, "part": 2, "merged": 1}
    assert len(repo.version("merged").upstream().versions) == 4
    assert {run.state for run in repo.runs()} == {"finished"}


@pytest.mark.parametrize("together", TOGETHER)
@pytest.mark.parametrize("runner", RUNNERS)
def test_when_it_raises_nothing_is_there(together, runner, repo) -> None:
    @track
    @flow(task_runner=runner_of(runner))
    def pipeline() -> None:
        with together():
            part.submit(load.submit(1), 1).result()
            raise ValueError("validation says no")

    with pytest.raises(ValueError, match="says no"):
        pipeline()
    assert published(repo) == {}
    assert not [edge for run in repo.runs() for edge in run.logs()]
    assert "draft.discarded" in {event.kind for event in repo.events(after=0)}


@pytest.mark.parametrize("together", TOGETHER)
def test_what_plain_tasks_and_the_flow_log_is_part_of_it(together, repo) -> None:
    @track
    @flow
    def pipeline(fail: bool) -> None:
        with together():
            plain(load(1))
            hw.log("note", "by the flow")
            assert published(repo) == {}
            if fail:
                raise ValueError("no")
        hw.log("after", 1)

    with pytest.raises(ValueError):
        pipeline(True)
    assert published(repo) == {}
    pipeline(False)
    assert published(repo) == {"raw": 1, "plain": 1, "note": 1, "after": 1}


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_retry_inside_a_batch_is_fine(runner, repo, tmp_path) -> None:
    @flow(task_runner=runner_of(runner))
    def pipeline() -> None:
        with batch():
            load(1)
            fails_once.submit(str(tmp_path / "tried")).result()

    pipeline()
    assert published(repo) == {"raw": 1, "fragile": 1, "checkpoint": 1}


def test_a_retry_inside_a_transaction_that_prefect_rolled_back_is_refused(repo, tmp_path) -> None:
    @flow
    def pipeline() -> None:
        with transaction():
            load(1)
            fails_once(str(tmp_path / "tried"))

    with pytest.raises(hw.StateError, match="batch"):
        pipeline()
    assert published(repo) == {}


def test_async_flows_and_nested_batches(repo) -> None:
    @step(log="later")
    async def later(raw: str) -> str:
        return raw

    @flow
    async def pipeline() -> str:
        with batch():
            with batch():
                raw = load(1)
            assert published(repo) == {}
            made = await later(raw)
        return str(made)

    assert asyncio.run(pipeline()) == "vision/later:v0"
    assert published(repo) == {"raw": 1, "later": 1}


def test_a_generator_in_a_batch(repo) -> None:
    @step(log="numbers")
    def count():
        yield 1
        yield 2

    @flow
    def pipeline() -> None:
        with batch():
            assert [version.load() for version in count()] == [1, 2]
            assert published(repo) == {}

    pipeline()
    assert published(repo) == {"numbers": 2}


def test_an_eager_transaction_publishes_at_once_and_one_that_is_off_never_does(repo) -> None:
    @flow
    def pipeline() -> None:
        with transaction(commit_mode=CommitMode.EAGER):
            load(1)
            assert published(repo) == {"raw": 1}
        with transaction(commit_mode=CommitMode.OFF):
            load(2)

    pipeline()
    assert published(repo) == {"raw": 1}


def test_aliases_move_only_at_the_end(repo) -> None:
    @step(log=hw.Log("model", aliases=["prod"]))
    def train(lr: float) -> float:
        return lr

    @flow
    def pipeline() -> None:
        train(0.1)
        with batch():
            train(0.2)
            assert repo.version("model:prod").load() == 0.1

    pipeline()
    assert repo.version("model:prod").load() == 0.2


def test_unchanged_content_becomes_the_version_there_is(repo) -> None:
    @flow
    def pipeline() -> str:
        load(1)
        with batch():
            again = load(1)
            parted = part(again, 1)
        return f"{again} {parted}"

    assert pipeline() == "vision/raw:v0 vision/part:v0"
    assert published(repo) == {"raw": 1, "part": 1}


def test_a_nested_task_publishes_although_prefect_would_commit_it_later(repo) -> None:
    @task
    def outer() -> None:
        load(1)
        assert published(repo) == {"raw": 1}
        raise ValueError("after its inner task")

    with pytest.raises(ValueError):
        flow(outer)()
    assert published(repo) == {"raw": 1}
