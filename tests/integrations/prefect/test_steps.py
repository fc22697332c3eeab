"""`@step` and `@track` on every kind of function; which run is which; how runs end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import SimpleNamespace
from typing import Annotated

import cloudpickle
import pytest
from prefect import Task, allow_failure, flow, get_client, task
from prefect.cache_policies import INPUTS
from prefect.context import TaskRunContext
from prefect.futures import wait
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner
from prefect.utilities.annotations import quote
from pydantic import SecretStr

import headwater as hw
from headwater import Version
from prefect_headwater import StepTask, step, track
from prefect_headwater.pages import run_page
from tests.integrations.prefect.shapes import fails_once, load, merge, part, plain, process_id

pytestmark = pytest.mark.usefixtures("harness")
KEY = SecretStr("x")


def run_of(repo: hw.Repository, name: str) -> hw.Run:
    found = [run for run in repo.runs() if run.name == name]
    assert len(found) == 1, [(run.name, run.attempt, run.state) for run in repo.runs()]
    return found[0]


def names(versions: list[Version]) -> list[str]:
    return [f"{v.name.removeprefix('vision/')}:{v.version}" for v in versions]


def uses(repo: hw.Repository, name: str) -> list[str]:
    return names(run_of(repo, name).used_artifacts())


# -- which run am I -----------------------------------------------------------------
def test_a_step_is_a_task_and_its_run_says_where_it_ran(repo) -> None:
    seen = {}

    @step(log="raw", retries=2, tags=["ingest"])
    def extract(day: str, password: str = "hidden", key: SecretStr = KEY) -> str:
        context = TaskRunContext.get()
        seen.update(task=context.task_run.id, flow=context.task_run.flow_run_id, tags=context.task_run.tags)
        return day

    @track
    @flow
    def pipeline(day: str) -> None:
        extract(day)

    assert isinstance(extract, Task)
    pipeline("2024-01-01")
    run, parent = run_of(repo, "extract"), run_of(repo, "pipeline")
    assert run.key == f"prefect:task-run/{seen['task']}"
    assert parent.key == f"prefect:flow-run/{seen['flow']}"
    assert (run.group, run.parent, run.attempt, run.state) == (str(seen["flow"]), parent.id, 1, "finished")
    assert run.config == {"day": "2024-01-01", "password": "***"}
    assert parent.config == {"day": "2024-01-01"}
    assert set(seen["tags"]) == {"ingest"}
    assert run.record.links["prefect"].endswith(f"/runs/task-run/{seen['task']}")
    assert parent.record.links["prefect"].endswith(f"/runs/flow-run/{seen['flow']}")


def test_every_kind_of_function_is_a_step(repo) -> None:
    @step(log="numbers")
    def count(n: int) -> Iterator[int]:
        yield from range(n)

    @step(log="later")
    async def later(number: int) -> int:
        await asyncio.sleep(0)
        return number

    @step(log="stream")
    async def stream(number: int) -> AsyncIterator[int]:
        yield number

    class Trainer:
        weight = 10

        @step(log="method")
        def fit(self, number: int) -> int:
            return self.weight + number

        @step(log="cls")
        @classmethod
        def of_class(cls, number: int) -> int:
            return cls.weight * number

        @step(log="static")
        @staticmethod
        def static(number: int) -> int:
            return number

    @flow
    async def pipeline() -> list[int]:
        last = list(count(2))[-1]
        streamed = [item async for item in stream(last)]
        made = [await later(streamed[0]), Trainer().fit(1), Trainer.of_class(2), Trainer.static(3)]
        return [version.load() for version in made]

    assert asyncio.run(pipeline()) == [1, 11, 20, 3]
    assert uses(repo, "stream") == ["numbers:v1"]
    assert uses(repo, "later") == ["stream:v0"]
    assert {run.state for run in repo.runs()} == {"finished"}


def test_outside_a_run_fn_just_calls_the_function(repo) -> None:
    assert load.fn(3) == "raw3"
    assert repo.runs() == []

    @task
    def other() -> str:
        return load.fn(4)

    assert flow(other)() == "raw4"
    assert repo.runs() == []


def test_with_options_still_records_and_keeps_its_identity(repo) -> None:
    changed = load.with_options(name="renamed", retries=3)
    elsewhere = load.with_options(log="other")
    assert isinstance(changed, StepTask)
    assert (changed.task_key, changed.retries) == (load.task_key, 3)

    @flow
    def pipeline() -> tuple[str, str]:
        return changed(1).name, elsewhere(1).name

    assert pipeline() == ("vision/raw", "vision/other")


def test_two_steps_of_one_name_are_two_tasks() -> None:
    def make(text: str) -> StepTask:
        if text == "a":

            @step(log="a")
            def same() -> str:
                return "a"
        else:

            @step(log="a")
            def same() -> str:
                return "b, longer"

        return same

    assert make("a").task_key != make("b").task_key


def test_a_step_of_a_task_is_refused() -> None:
    with pytest.raises(hw.InvalidInputError, match="in place of @task"):
        step(task(lambda: 1))
    with pytest.raises(hw.InvalidInputError, match="above @flow"):
        track(lambda: 1)


def test_a_step_travels_as_a_few_kilobytes(repo) -> None:
    assert len(cloudpickle.dumps(load)) < 4_000
    again = cloudpickle.loads(cloudpickle.dumps(load))
    assert again.task_key == load.task_key
    assert again.fn(2) == "raw2"


# -- uses and logs ------------------------------------------------------------------
def test_exactly_the_versions_that_were_used_are_edges(repo) -> None:
    @step
    def look(nested: dict, listed: list, quoted: Version) -> int:
        return len(nested) + len(listed)

    @step
    def pass_on(value: Version) -> Version:
        return value

    @step
    def text(value: str) -> str:
        return value

    @flow
    def pipeline() -> None:
        first, second, third = load.submit(1), load.submit(2), load(3)
        ordered = load(4)
        look.submit({"a": {"deep": [first]}}, [second, 5], quote(third), wait_for=[ordered]).result()
        text(pass_on(third))
        text("vision/raw:v0")  # equal to a name, produced by nobody

    pipeline()
    assert sorted(uses(repo, "look")) == sorted(
        names([v for v in repo.artifact("raw").versions() if v.load() in ("raw1", "raw2", "raw3")])
    )
    by_text = [run for run in repo.runs() if run.name == "text"]
    assert sorted(len(run.used_artifacts()) for run in by_text) == [0, 1]
    assert len(run_of(repo, "pass_on").used_artifacts()) == 1


def test_names_are_used_by_role_and_loaded_as_annotated(repo) -> None:
    with hw.start_run("seed"):
        hw.log("table", {"rows": 3})

    @step(log="total")
    def total(
        table: dict = hw.Use("table"), *, config: Annotated[Version, hw.Use("table", role="again")] = None
    ) -> int:
        return table["rows"]

    assert flow(lambda: total().load(), name="f")() == 3
    assert {edge.role for edge in run_of(repo, "total").uses()} == {"table", "again"}


def test_a_plain_task_joins_its_run_with_use_and_log(repo) -> None:
    @flow
    def pipeline() -> str:
        return plain(load(1)).load()

    assert pipeline() == "raw1!"
    run = run_of(repo, "plain")
    assert (run.state, names(run.used_artifacts()), names(run.logged_artifacts())) == (
        "finished", ["raw:v0"], ["plain:v0"],
    )  # fmt: skip


def test_the_body_of_a_flow_uses_and_logs_too(repo) -> None:
    @flow(name="bare")
    def pipeline() -> None:
        hw.log("note", "by the flow")
        load(1)

    pipeline()
    assert run_of(repo, "bare").state == "finished"
    assert run_of(repo, "load").parent == run_of(repo, "bare").id


def test_a_plain_hw_step_is_a_task_too(repo) -> None:
    @task
    @hw.step(log="made")
    def make() -> int:
        return 1

    @hw.step(log="inner")
    def inner() -> int:
        return 2

    @track
    @flow
    def pipeline() -> None:
        make()
        inner()

    pipeline()
    assert run_of(repo, "make").logged_artifacts()[0].name == "vision/made"
    assert run_of(repo, "make").state == "finished"
    assert run_of(repo, "inner").parent == run_of(repo, "pipeline").id


def test_the_loop_around_a_generator_is_the_flows_not_the_generators(repo) -> None:
    @task
    def bare() -> Iterator[int]:
        hw.log("inside", 1)
        yield 1
        hw.log("inside", 2)

    @step(log="numbers")
    def count() -> Iterator[int]:
        yield 1
        yield 2

    @track
    @flow
    def pipeline() -> None:
        for number in count():
            hw.log("outside", number.load())
            break
        for _ in bare():
            hw.log("outside", 3)

    pipeline()
    assert names(run_of(repo, "count").logged_artifacts()) == ["numbers:v0"]
    assert names(run_of(repo, "bare").logged_artifacts()) == ["inside:v0", "inside:v1"]
    assert names(run_of(repo, "pipeline").logged_artifacts()) == ["outside:v0", "outside:v1"]
    assert run_of(repo, "count").state == "finished"


def test_a_thread_without_the_context_is_told_how_to_get_it(repo) -> None:
    @task
    def starts_thread() -> str:
        with ThreadPoolExecutor(1) as pool, pytest.raises(hw.StateError, match="copy_context"):
            pool.submit(hw.log, "lost", 1).result()
        return "fine"

    assert flow(starts_thread)() == "fine"
    assert not repo.exists("lost")


def test_a_name_means_one_version_within_a_flow_run(repo) -> None:
    with hw.start_run("seed"):
        hw.log("table", 1)

    @step
    def read(table: int = hw.Use("table")) -> int:
        return table

    @flow
    def pipeline() -> list[int]:
        before = read()
        repo.log_artifact(hw.Artifact("table").add_bytes(b"2", "x"))
        return [before, read()]

    assert pipeline() == [1, 1]


# -- composition --------------------------------------------------------------------
def test_sub_flows_and_tasks_in_tasks_are_nested(repo) -> None:
    @step
    def inner() -> int:
        return 1

    @step
    def outer() -> int:
        return inner()

    @track
    @flow
    def child() -> int:
        return outer()

    @track
    @flow
    def parent() -> int:
        return child()

    parent()
    assert run_of(repo, "inner").parent == run_of(repo, "outer").id
    assert run_of(repo, "outer").parent == run_of(repo, "child").id
    assert run_of(repo, "child").parent == run_of(repo, "parent").id


def test_a_sub_flow_called_by_a_step_is_its_child_and_its_tasks_are_the_flows(repo) -> None:
    @track
    @flow
    def child() -> str:
        return load(5).load()

    @step
    def calls() -> str:
        return child()

    assert flow(calls, name="top")() == "raw5"
    assert run_of(repo, "child").parent == run_of(repo, "calls").id
    assert run_of(repo, "load").parent == run_of(repo, "child").id
    assert names(run_of(repo, "calls").logged_artifacts()) == []


@pytest.mark.parametrize("runner", ["threads", pytest.param("processes", marks=pytest.mark.slow)])
def test_fan_out_and_fan_in_with_every_runner(runner, repo) -> None:
    import os

    @track
    @flow(task_runner=ThreadPoolTaskRunner(4) if runner == "threads" else ProcessPoolTaskRunner(max_workers=2))
    def pipeline() -> tuple[str, int]:
        raw = load.submit(1)
        parts = part.map(raw, [1, 2, 3])
        return merge.submit(parts).result().load(), process_id.submit().result().load()

    merged, pid = pipeline()
    assert merged == "part1(raw1)+part2(raw1)+part3(raw1)"
    assert (pid == os.getpid()) == (runner == "threads")
    assert len(run_of(repo, "merge").used_artifacts()) == 3
    assert {run.parent for run in repo.runs() if run.name == "part"} == {run_of(repo, "pipeline").id}
    assert {run.state for run in repo.runs()} == {"finished"}


def test_fan_out_over_the_entries_of_one_version(repo, tmp_path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.txt").write_text(str(number))
    with hw.start_run("seed"):
        hw.log("folder", _folder(tmp_path))

    @step(log="line")
    def read(folder: Version, path: str) -> str:
        with folder.open(path) as file:
            return file.read().decode() + "!"

    @flow
    def pipeline() -> list[str]:
        folder = repo.version("folder")
        lines = read.map(quote(folder), [entry.path for entry in folder.entries()])
        return sorted(version.load() for version in lines.result())

    assert pipeline() == ["0!", "1!", "2!"]
    assert {tuple(names(r.used_artifacts())) for r in repo.runs() if r.name == "read"} == {("folder:v0",)}


def _folder(path) -> hw.Artifact:
    artifact = hw.Artifact("folder")
    for file in sorted(path.glob("*.txt")):
        artifact.add_file(file, file.name)
    return artifact


def test_several_outputs_references_and_many_files(repo, tmp_path) -> None:
    (tmp_path / "outside.csv").write_text("1,2")

    @step(log={"train": "train", "test": hw.Log("test", aliases=["holdout"])})
    def split() -> dict[str, int]:
        return {"train": 1, "test": 2}

    @step(log=hw.Log("scene", type="dataset"))
    def register() -> hw.Artifact:
        scene = hw.Artifact("scene")
        scene.add_reference((tmp_path / "outside.csv").as_uri(), "outside.csv")
        scene.add_bytes(b"label", "label.txt")
        return scene

    @flow
    def pipeline() -> None:
        split()
        register()

    pipeline()
    assert repo.version("test:holdout").load() == 2
    assert sorted(edge.role for edge in run_of(repo, "split").logs()) == ["test", "train"]
    assert [entry.path for entry in repo.version("scene").entries()] == ["label.txt", "outside.csv"]


# -- how runs end -------------------------------------------------------------------
def test_a_retry_is_an_attempt_and_nothing_half_done_is_published(repo, tmp_path) -> None:
    flow(lambda: fails_once(str(tmp_path / "tried")), name="f")()
    rows = sorted((run.attempt, run.state) for run in repo.runs() if run.name == "fails_once")
    assert rows == [(1, "failed"), (2, "finished")]
    assert len({run.key for run in repo.runs() if run.name == "fails_once"}) == 1
    assert len(repo.artifact("checkpoint").versions()) == 1


def test_a_plain_task_that_is_retried_has_true_attempts(repo) -> None:
    tries = []

    @task(retries=1)
    def shaky() -> None:
        hw.log("checkpoint", 1)
        tries.append(1)
        if len(tries) == 1:
            raise ValueError("once")

    flow(shaky)()
    rows = sorted((run.attempt, run.state, run.record.error) for run in repo.runs())
    assert rows == [(1, "failed", "ValueError: once"), (2, "finished", None)]


def test_a_failure_fails_the_task_its_run_and_the_flow_and_what_follows_never_runs(repo) -> None:
    @step(log="model")
    def train(raw: str) -> str:
        hw.log("seen", raw)
        raise ValueError("no")

    @track
    @flow
    def pipeline() -> None:
        load(seed=9)
        broken = train.submit(load(1))
        merge.submit([broken])
        wait([broken])
        broken.result()

    with pytest.raises(ValueError, match="no"):
        pipeline()
    assert (run_of(repo, "train").state, run_of(repo, "train").record.error) == ("failed", "ValueError: no")
    assert uses(repo, "train") == ["raw:v1"]
    assert run_of(repo, "pipeline").state == "failed"
    assert "merge" not in {run.name for run in repo.runs()}


def test_a_failed_upstream_that_is_allowed_is_no_use(repo) -> None:
    @step(log="x")
    def broken() -> int:
        raise ValueError("no")

    @step
    def goes_on(value: object) -> str:
        return type(value).__name__

    @flow
    def pipeline() -> str:
        return goes_on(allow_failure(broken.submit()))

    pipeline()
    assert uses(repo, "goes_on") == []


def test_an_output_that_cannot_be_recorded_fails_the_task(repo) -> None:
    @step(log="model")
    def odd() -> object:
        return object()

    state = flow(lambda: odd(return_state=True), name="f")(return_state=True)
    assert state.is_failed()
    assert run_of(repo, "odd").state == "failed"


def test_lenient_tracking_lets_the_task_go_on(repo, monkeypatch) -> None:
    monkeypatch.setenv("PREFECT_INTEGRATIONS_HEADWATER_TRACKING", "lenient")

    @step(log="model")
    def odd() -> object:
        return object()

    with pytest.warns(UserWarning, match="not recorded"):
        assert flow(lambda: type(odd().load()).__name__, name="f")() == "object"


def test_tracking_can_be_off(repo, monkeypatch) -> None:
    monkeypatch.setenv("PREFECT_INTEGRATIONS_HEADWATER_TRACKING", "off")

    @track
    @flow
    def pipeline() -> str:
        return load(1).load()

    assert pipeline() == "raw1"
    assert repo.runs() == []


def test_time_outs_are_failures_in_sync_and_async_steps(repo) -> None:
    @step(timeout_seconds=0.3)
    def slow() -> None:
        time.sleep(2)

    @step(timeout_seconds=0.3)
    async def slow_later() -> None:
        await asyncio.sleep(2)

    @flow
    async def pipeline() -> list[str]:
        return [slow(return_state=True).name, (await slow_later(return_state=True)).name]

    assert asyncio.run(pipeline()) == ["TimedOut", "TimedOut"]
    assert [run.state for run in repo.runs()] == ["failed", "failed"]


def test_a_flow_that_is_retried_has_attempts_and_makes_no_version_twice(repo) -> None:
    tries = []

    @track
    @flow(retries=1)
    def pipeline() -> str:
        raw = load(1)
        tries.append(1)
        if len(tries) == 1:
            raise ValueError("once")
        return raw.load()

    assert pipeline() == "raw1"
    rows = sorted((run.attempt, run.state) for run in repo.runs() if run.name == "pipeline")
    assert rows == [(1, "failed"), (2, "finished")]
    assert [v.version for v in repo.artifact("raw").versions()] == ["v0"]
    parents = {run.parent for run in repo.runs() if run.name == "load"}
    assert len(parents) == 2


def test_a_cached_task_says_whose_version_it_reuses(repo) -> None:
    calls = []

    @step(log="cached", cache_policy=INPUTS, cache_expiration=timedelta(minutes=5), persist_result=True)
    def once(unique: str) -> str:
        calls.append(1)
        return unique

    @flow
    def pipeline() -> str:
        return once(f"{repo.id}").load()

    assert [pipeline(), pipeline()] == [repo.id, repo.id]
    assert len(calls) == 1
    cached, first = repo.runs()
    assert (cached.state, first.state) == ("cached", "finished")
    assert cached.record.cached_from == first.id
    assert cached.summary["reused"] == ["vision/cached:v0"]
    assert len(repo.artifact("cached").versions()) == 1


def test_both_pages_lead_to_each_other(repo) -> None:
    @track
    @flow
    def pipeline() -> str:
        return merge([load(1)]).id

    pipeline()
    run = run_of(repo, "merge")
    # asked for by its task: an unfiltered answer is cut at 200, and earlier tests have filled the server
    of_the_task = {"task_run_id": {"any_": [run.key.removeprefix("prefect:task-run/")]}}
    with get_client(sync_client=True) as client:
        shown = client.request("POST", "/artifacts/filter", json={"artifacts": of_the_task}).json()
    kinds = {a["type"]: a for a in shown}
    assert f"headwater run show {run.id}" in kinds["markdown"]["data"]
    assert "vision/merged" in kinds["table"]["data"]
    assert kinds["table"]["key"] == "headwater-merge"


def test_the_link_is_the_page_of_a_server_where_there_is_one() -> None:
    home = SimpleNamespace(url="https://headwater.example.org/")
    link = run_page(SimpleNamespace(id="01R", name="merge", home=home))
    assert link == "[Headwater run of merge](https://headwater.example.org/runs/01R)"
