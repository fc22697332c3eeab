"""Where Prefect would mislead an adapter: false edges and lost ones, caches, contexts, scans.

Transactions, signals and runners have files of their own.
"""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import gc
import inspect
import logging
import pickle
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from prefect import flow, get_client, task
from prefect.cache_policies import INPUTS, NO_CACHE, TASK_SOURCE
from prefect.context import FlowRunContext, TaskRunContext
from prefect.futures import wait
from prefect.serializers import Serializer
from prefect.settings import PREFECT_API_URL, PREFECT_UI_URL, temporary_settings
from prefect.states import Cancelled
from prefect.utilities.annotations import quote

import headwater as hw
from headwater import Version
from prefect_headwater import (
    ARTIFACT_INPUTS,
    HeadwaterRepository,
    HeadwaterSerializer,
    HeadwaterStorage,
    endings,
    settings,
    step,
    track,
)
from tests.integrations.prefect.shapes import load, merge, part, plain

pytestmark = pytest.mark.usefixtures("harness")


def edges(repo: hw.Repository) -> set[tuple[str, str, str]]:
    """All of the lineage there is: (run, verb, version)."""
    return {
        (run.name, verb, str(v).removeprefix("vision/"))
        for run in repo.runs()
        for verb, versions in (("used", run.used_artifacts()), ("logged", run.logged_artifacts()))
        for v in versions
    }


def named(repo: hw.Repository, name: str) -> list[hw.Run]:
    return [run for run in reversed(repo.runs()) if run.name == name]


# -- A: lineage through values ------------------------------------------------------
@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    number: int


ROW = Row("shared", 1)


def test_singletons_as_results_lose_no_edge(repo) -> None:
    """Prefect tells producers by the `id()` of their results, which small numbers, True and None share."""
    values = [5, True, None, 9999, "text", [1], (1, 2), {"a": 1}]

    @step(log="other")
    def make_equal(index: int) -> Any:
        return values[index]

    @step(log="made")
    def make(index: int) -> Any:
        return values[index]

    @step
    def look(given: Version) -> Any:
        return given.load()

    @flow
    def pipeline() -> list[Any]:
        seen = []
        for index in range(len(values)):
            make_equal(index)
            seen.append(look(make(index)))
        return seen

    assert pipeline() == values
    assert edges(repo) == {
        edge
        for n in range(len(values))
        for edge in (
            ("make_equal", "logged", f"other:v{n}"),
            ("make", "logged", f"made:v{n}"),
            ("look", "used", f"made:v{n}"),
        )
    }


def test_values_that_look_alike_make_no_edge(repo) -> None:
    """An interned text, a dict at the address of a dead one, and dataclasses that share a field."""

    @step(log="row")
    def row() -> Row:
        return ROW

    @step
    def words() -> str:
        return "interned"

    @step
    def made_dict(number: int) -> dict:
        return {"number": number}

    @step
    def look(value: Any) -> None: ...

    @flow
    def pipeline() -> None:
        row()
        words()
        look("interned")
        look(Row("shared", 2))
        for number in range(5):
            made_dict(number)
            gc.collect()
            look({"unrelated": number})  # often at the address of the dict that has just died

    pipeline()
    assert edges(repo) == {("row", "logged", "row:v0")}


def test_handles_deep_inside_sliced_or_copied_keep_their_edges(repo) -> None:
    @step
    def look(value: Any) -> None: ...

    @step
    def copied(value: Any) -> None: ...

    @flow
    def pipeline() -> None:
        made = [load(number) for number in range(4)]
        look([[{"deep": [made[0]]}], made[1:3]])
        copied(pickle.loads(pickle.dumps(made[3])))

    pipeline()
    logged = {("load", "logged", f"raw:v{n}") for n in range(4)}
    assert edges(repo) - logged == {("look", "used", f"raw:v{n}") for n in range(3)} | {("copied", "used", "raw:v3")}


def test_a_handle_handed_through_keeps_its_producer(repo) -> None:
    @step
    def hand_on(value: Version) -> Version:
        return value

    @task
    def hand_on_plainly(value: Version) -> Version:
        return value

    @flow
    def pipeline() -> None:
        merge([hand_on_plainly(hand_on(load(1)))])

    pipeline()
    assert edges(repo) == {
        ("load", "logged", "raw:v0"),
        ("hand_on", "used", "raw:v0"),
        ("merge", "used", "raw:v0"),
        ("merge", "logged", "merged:v0"),
    }
    assert repo.version("raw").logged_by().name == "load"


def test_outside_a_flow_edges_are_the_same(repo) -> None:
    assert merge([load(1), load(2)]).load() == "raw1+raw2"
    (run,) = named(repo, "merge")
    assert (len(run.used_artifacts()), run.group, run.state) == (2, None, "finished")


def test_what_never_ran_has_no_run(repo) -> None:
    @step(log="broken")
    def broken() -> int:
        raise ValueError("no")

    @flow
    def pipeline() -> str:
        after = merge.submit([broken.submit()])
        wait([after])
        return after.state.name

    assert pipeline() == "NotReady"
    assert {run.name for run in repo.runs()} == {"broken"}


# -- B: caching ---------------------------------------------------------------------
def test_handles_fit_into_the_default_cache_key(repo, caplog) -> None:
    """Prefect computes it for every task; what cannot be hashed is an error with a traceback in the log."""

    @step
    def look(value: Version, nested: Any, table: str = hw.Use("raw")) -> str:
        return table

    @flow
    def pipeline() -> None:
        made = load(1)
        made.load()
        look(made, {"again": [made]})
        part(made, 1)
        plain(made)

    with caplog.at_level(logging.WARNING):
        pipeline()
    assert "cache key" not in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("policy", [INPUTS, INPUTS + TASK_SOURCE])
def test_a_name_in_the_signature_is_part_of_any_persisted_key(policy, repo) -> None:
    """Prefect's `INPUTS` cannot see what `hw.Use` brings: a moved alias would give the old result."""

    @step(cache_policy=policy, persist_result=True)
    def read(unique: str, table: int = hw.Use("table")) -> int:
        return table

    @flow
    def pipeline() -> int:
        return read(repo.id)

    seen = []
    for number in (1, 1, 2):
        with hw.start_run("seed"):
            hw.log("table", number)
        seen.append(pipeline())
    assert seen == [1, 1, 2]
    assert [run.state for run in named(repo, "read")] == ["finished", "cached", "finished"]


def test_equal_inputs_of_two_tasks_are_two_keys(repo) -> None:
    options = {"cache_policy": ARTIFACT_INPUTS, "persist_result": True}

    @step(log="one", **options)
    def one(data: Version) -> str:
        return "one"

    @step(log="two", **options)
    def two(data: Version) -> str:
        return "two"

    @flow
    def pipeline() -> list[str]:
        raw = load(1)
        return [one(raw).load(), two(raw).load(), one(raw).load()]

    assert pipeline() == ["one", "two", "one"]
    assert [run.state for run in named(repo, "one") + named(repo, "two")] == ["finished", "cached", "finished"]


def test_a_refreshed_cache_runs_again_and_makes_no_second_version(repo) -> None:
    calls, committed = [], []

    @step(log="made", cache_policy=INPUTS, persist_result=True)
    def make(unique: str) -> int:
        calls.append(1)
        return 1

    @make.on_commit
    def commit(_: Any) -> None:
        committed.append(1)

    @flow
    def pipeline() -> None:
        make(repo.id)
        make.with_options(refresh_cache=True)(repo.id)

    pipeline()
    assert (len(calls), len(committed)) == (2, 2)
    assert [run.state for run in named(repo, "make")] == ["finished", "finished"]
    assert [v.version for v in repo.artifact("made").versions()] == ["v0"]


def test_an_outage_of_the_result_store_runs_the_task_again_and_says_so(repo, tmp_path, caplog) -> None:
    calls = []
    HeadwaterStorage(repository=HeadwaterRepository(url=str(tmp_path / "results"))).save(
        "outage", overwrite=True, _sync=True
    )

    @step(cache_policy=INPUTS, persist_result=True, result_storage="headwater-storage/outage")
    def make(unique: str) -> int:
        calls.append(1)
        return 1

    @flow
    def pipeline() -> int:
        return make(repo.id)

    assert [pipeline(), pipeline(), len(calls)] == [1, 1, 1]
    broken = HeadwaterStorage(repository=HeadwaterRepository(url=str(tmp_path / "file")))
    (tmp_path / "file").write_text("")
    broken.save("outage", overwrite=True, _sync=True)
    with caplog.at_level(logging.ERROR, "headwater"):
        assert pipeline() == 1
    assert len(calls) == 2
    assert "run its task again" in caplog.text


class Latin(Serializer):
    """What Prefect cannot put into its JSON records: bytes that are no UTF-8."""

    type: str = "latin-of-tests"

    def dumps(self, obj: Any) -> bytes:
        return b"\xe9\xff"

    def loads(self, blob: bytes) -> Any:
        return blob


def test_a_result_that_cannot_be_written_leaves_the_output_in_place(repo) -> None:
    """Prefect logs it, and the task stays Completed: what it declares was published before."""

    @step(log="made", persist_result=True, result_serializer=Latin(), cache_policy=INPUTS)
    def make(unique: str) -> int:
        return 1

    @flow
    def pipeline() -> bool:
        return make(repo.id, return_state=True).is_completed()

    assert pipeline()
    assert repo.version("made").load() == 1


def test_pointers_survive_the_cache(repo) -> None:
    @step(log=("a", "b"), persist_result=True, cache_policy=INPUTS, result_serializer=HeadwaterSerializer())
    def make(unique: str) -> tuple[bytes, int]:
        return b"\xe9\xff", 2

    @flow
    def pipeline() -> list[Any]:
        return [version.load() for version in make(repo.id)]

    assert [pipeline(), pipeline()] == [[b"\xe9\xff", 2]] * 2
    assert [run.state for run in named(repo, "make")] == ["finished", "cached"]


def test_results_of_sync_and_async_flows_are_kept(repo) -> None:
    """Prefect writes those of flows through the async half, whatever the flow is."""
    HeadwaterStorage().save("of-flows", overwrite=True, _sync=True)
    options: dict[str, Any] = {"result_storage": "headwater-storage/of-flows", "persist_result": True}

    @flow(**options)
    def sync() -> str:
        return "from sync"

    @flow(**options)
    async def later() -> str:
        return "from async"

    states = [sync(return_state=True), asyncio.run(later(return_state=True))]
    assert [state.result(_sync=True) for state in states] == ["from sync", "from async"]
    assert len(repo.artifact("prefect-results").partitions()) == 2


# -- D: hooks -----------------------------------------------------------------------
@pytest.mark.parametrize("hook", endings.HOOKS.values())
def test_hooks_have_the_names_prefect_calls_them_by(hook) -> None:
    """Out of process they are called by keyword; another name would be a TypeError that is only logged."""
    assert list(inspect.signature(hook).parameters) == ["flow", "flow_run", "state"]


def test_hooks_work_where_no_context_is(repo) -> None:
    """As `prefect worker` calls them, after the flow's own process is gone."""
    seen: list[Any] = []

    @track
    @flow
    def pipeline() -> None:
        seen.extend([FlowRunContext.get().flow_run, hw.log("draft", 1, publish=False)])
        state = Cancelled(message="by hand")
        thread = threading.Thread(  # a new thread has an empty context
            target=lambda: [h(flow=pipeline, flow_run=seen[0], state=state) for h in pipeline.on_cancellation_hooks]
        )
        thread.start()
        thread.join()

    pipeline()
    (run,) = repo.runs()
    assert (run.state, run.record.error) == ("cancelled", "by hand")
    assert seen[1].reload().state == "discarded"


# -- E: context ---------------------------------------------------------------------
def test_the_body_of_a_flow_called_by_a_task_is_the_flows(repo) -> None:
    """`TaskRunContext.get()` would still be that of the outer task."""

    tries = []

    @flow(retries=1)
    def child() -> None:
        assert TaskRunContext.get() is not None
        hw.log("note", "by the child")
        tries.append(1)
        assert len(tries) == 2

    @task
    def calls() -> None:
        child()
        hw.log("note", "by the task")

    @track
    @flow
    def top() -> None:
        calls()

    top()
    assert edges(repo) == {("child", "logged", "note:v0"), ("calls", "logged", "note:v1")}
    assert [run.state for run in named(repo, "child")] == ["failed", "finished"]
    assert {run.parent for run in named(repo, "child") + named(repo, "calls")} == {named(repo, "top")[0].id}


def test_the_loop_around_an_async_generator_is_the_flows(repo) -> None:
    @task
    async def bare() -> AsyncIterator[int]:
        hw.log("inside", 1)
        yield 1

    @step(log="numbers")
    async def count() -> AsyncIterator[int]:
        yield 1
        yield 2

    @track
    @flow
    async def pipeline() -> None:
        async for number in count():
            hw.log("outside", number.load())
        async for _ in bare():
            hw.log("outside", 3)

    asyncio.run(pipeline())
    assert {edge for edge in edges(repo) if edge[0] == "pipeline" and edge[1] == "logged"} == {
        ("pipeline", "logged", f"outside:v{n}") for n in range(3)
    }
    assert {edge for edge in edges(repo) if edge[0] in ("bare", "count")} == {
        ("bare", "logged", "inside:v0"),
        ("count", "logged", "numbers:v0"),
        ("count", "logged", "numbers:v1"),
    }


def test_threads_that_bring_the_context_belong_to_the_task(repo) -> None:
    @task
    async def in_threads() -> None:
        await asyncio.gather(asyncio.to_thread(hw.log, "one", 1), asyncio.to_thread(hw.log, "two", 2))
        with ThreadPoolExecutor(1) as pool:
            pool.submit(contextvars.copy_context().run, hw.log, "three", 3).result()
            for verb in (lambda: hw.use("one"), lambda: hw.log("lost", 1), hw.current_run):
                with pytest.raises(hw.StateError, match="copy_context"):
                    pool.submit(verb).result()

    @flow
    async def pipeline() -> None:
        await in_threads()

    asyncio.run(pipeline())
    assert edges(repo) == {("in_threads", "logged", f"{name}:v0") for name in ("one", "two", "three")}
    assert len(repo.runs()) == 1


# -- F: cost and pages --------------------------------------------------------------
class Counted(list):
    """Counts how many of its items anybody looked at."""

    looks = 0

    def __iter__(self):
        for item in super().__iter__():
            self.looks += 1
            yield item


def test_a_million_elements_are_looked_at_as_far_as_the_bound(repo) -> None:
    """`quote` keeps Prefect's own walk away, which costs seconds."""
    big = Counted([0] * 1_000_000)

    @step(cache_policy=NO_CACHE)
    def look(value: list, handle: Version) -> int:
        return len(value)

    @flow
    def pipeline() -> int:
        return look(quote(big), load(1))

    with pytest.warns(UserWarning, match="first 10000 values"):
        assert pipeline() == 1_000_000
    assert 0 < big.looks <= 10_001
    assert ("look", "used", "raw:v0") in edges(repo)


def test_blocks_are_loaded_once_per_process(repo, tmp_path, monkeypatch) -> None:
    """`Block.load` is a request and an event each time."""
    HeadwaterRepository(url=str(tmp_path / "of-the-block"), project="blocked").save("once", overwrite=True, _sync=True)
    monkeypatch.setenv("PREFECT_INTEGRATIONS_HEADWATER_BLOCK", "once")
    settings.forget()
    loads = []
    original = HeadwaterRepository.load
    monkeypatch.setattr(HeadwaterRepository, "load", lambda *a, **k: loads.append(a) or original(*a, **k))

    @track
    @flow
    def pipeline() -> None:
        part(load(1), 2)

    pipeline()
    pipeline()
    assert len(loads) == 1


def test_a_storage_block_opens_its_repository_once(repo, tmp_path, monkeypatch) -> None:
    HeadwaterStorage(repository=HeadwaterRepository(url=str(tmp_path / "results"))).save(
        "opened-once", overwrite=True, _sync=True
    )
    opened = []
    original = HeadwaterRepository.get_client
    monkeypatch.setattr(HeadwaterRepository, "get_client", lambda self: opened.append(1) or original(self))

    @flow(result_storage="headwater-storage/opened-once", persist_result=True)
    def pipeline() -> None:
        load(1)
        load(2)

    pipeline()
    assert len(opened) == 1


def test_links_lead_to_the_page_that_prefect_says_it_has(repo) -> None:
    with temporary_settings({PREFECT_UI_URL: "https://prefect.example.org/ui"}):
        flow(lambda: load(1), name="f")()
    link = named(repo, "load")[0].record.links["prefect"]
    assert link.startswith("https://prefect.example.org/ui/runs/task-run/")


def test_where_no_page_is_there_is_no_link(repo) -> None:
    with get_client(sync_client=True) as client:
        assert client.api_url
    with temporary_settings(restore_defaults={PREFECT_UI_URL, PREFECT_API_URL}):
        assert load(1).load() == "raw1"
    assert "prefect" not in named(repo, "load")[0].record.links
