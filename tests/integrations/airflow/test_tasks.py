"""Python tasks: what goes in and comes out is recorded, whichever way it is said."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Annotated, Any

import pytest
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import dag, setup, task, task_group, teardown

import headwater as hw
from airflow_headwater import NewVersions, Use, aside
from airflow_headwater.compat import skips
from airflow_headwater.identity import group_key
from tests.integrations.airflow.conftest import states
from tests.integrations.airflow.real import wait_for


def runs_of(repo: hw.Repository) -> dict[str, Any]:
    return {run.name: run for run in repo.runs()}


def used(run: Any) -> list[str]:
    return [str(version) for version in run.used_artifacts()]


def logged(run: Any) -> list[str]:
    return [str(version) for version in run.logged_artifacts()]


def test_inputs_and_results_are_versions_and_xcoms_carry_handles(execute, repo) -> None:
    @dag(schedule=None)
    def handles():
        @task.headwater(log=hw.Log("raw", type="dataset", aliases=["fresh"]))
        def load(seed: int) -> str:
            return f"raw{seed}"

        @task.headwater(log={"train": "train", "test": "test"})
        def split(raw: str, same: hw.Version[str], again: Annotated[str, hw.Use("raw:latest")]) -> dict[str, str]:
            assert raw == same.load() == again == "raw1"
            return {"train": f"train({raw})", "test": f"test({raw})"}

        @task
        def plain(handle: Any) -> str:
            assert isinstance(handle, hw.Version)
            return str(handle)

        raw = load(1)
        parts = split(raw, raw)
        plain(parts["train"])

    done = execute(handles(), password="hidden", depth=3)
    assert states(done) == {"load": "success", "split": "success", "plain": "success"}
    found = runs_of(repo)
    group = group_key("handles", done.run_id)
    assert found["load"].key == f"{group}/load/-1"
    assert (found["load"].state, found["load"].group, logged(found["load"])) == ("finished", group, ["vision/raw:v0"])
    assert found["handles"].key == group
    assert {run.parent for name, run in found.items() if name != "handles"} == {found["handles"].id}
    assert found["handles"].state == "finished"
    assert [(edge.role, edge.asked) for edge in found["split"].uses()] == [
        ("again", "raw:latest"), ("raw", "vision/raw:v0"), ("same", "vision/raw:v0")]  # fmt: skip
    assert logged(found["split"]) == ["vision/train:v0", "vision/test:v0"]
    config = found["load"].record.config
    assert (config["conf"], config["seed"]) == ({"password": "***", "depth": 3}, 1)
    assert config["airflow"]["run_type"] == "manual"
    assert "plain" not in found, "a task that reads and makes nothing leaves no run"
    assert repo.version("raw:fresh").number == 0


def test_uses_in_any_templated_field_of_any_operator(execute, repo, tmp_path) -> None:
    with hw.start_run("before"):
        hw.log("raw", "bytes of raw")
        hw.log("other", "bytes of other")
    out = tmp_path / "out"

    @dag(schedule=None, params={"which": "other"})
    def fields():
        @task
        def arguments(a: Any, b: Any, c: Any) -> None:
            assert (a.load(), b, c["deep"]) == ("bytes of raw", "vision/raw:v0", ["headwater://vision/raw:v0"])

        @task
        def mapped(a: Any, i: int) -> str:
            return f"{a}{i}"

        arguments(Use("raw"), Use("raw", "name"), {"deep": [Use("raw:latest", "uri")]})

        @task
        def spread(a: Any) -> None:
            assert isinstance(a, hw.Version)

        mapped.partial(a=Use("{{ params.which }}", "value")).expand(i=[1, 2])
        spread.expand(a=[Use("raw"), Use("other")])
        BashOperator(
            task_id="bash",
            env={"DATA": Use("raw:latest", role="data"), "OUT": str(out)},
            append_env=True,
            bash_command="cat $DATA/* > $OUT; echo $DATA >> $OUT; echo $HEADWATER_RUN >> $OUT",
        )

    done = execute(fields())
    assert set(states(done).values()) == {"success"}
    found = runs_of(repo)
    assert used(found["arguments"]) == ["vision/raw:v0"]
    assert used(found["mapped"]) == ["vision/other:v0"]
    each = {run.key.rsplit("/", 1)[1]: used(run) for run in repo.runs() if run.name == "spread"}
    assert each == {"0": ["vision/raw:v0"], "1": ["vision/other:v0"]}, "of those in expand, each index its own"
    assert [(e.role, e.asked) for e in found["bash"].uses()] == [("data", "raw:latest")]
    assert {run.state for run in found.values()} == {"finished"}
    text = out.read_text()
    assert text.startswith("bytes of raw")
    assert "vision/raw/v0" in text, "the rendered path says which version it is"
    assert f'"key": "{found["bash"].key}"' in text


def test_a_name_in_an_unknown_version_fails_the_task_and_its_run(execute, repo) -> None:
    @dag(schedule=None)
    def unknown():
        @task
        def reads(a: Any) -> None: ...

        reads(Use("nowhere:latest"))

    done = execute(unknown())
    assert states(done) == {"reads": "failed"}
    assert runs_of(repo)["reads"].state == "failed"


def test_mapped_tasks_are_runs_of_their_own_and_the_list_of_their_results_is_used(execute, repo) -> None:
    @dag(schedule=None)
    def fan():
        @task.headwater(log="part[{{ ti.map_index }}]")
        def part(i: int) -> str:
            return f"part{i}"

        @task.headwater(log="merged")
        def merge(parts: list[str]) -> str:
            return "+".join(sorted(parts))

        @task
        @hw.step(log="counted")
        def count(parts: list[hw.Version[str]]) -> int:
            return len(parts)

        made = part.expand(i=[1, 2, 3])
        merge(made)
        count(made)

    assert set(states(execute(fan())).values()) == {"success"}
    parts = [run for run in repo.runs() if run.name == "part"]
    assert {run.key.rsplit("/", 1)[1] for run in parts} == {"0", "1", "2"}
    assert sorted(name for run in parts for name in logged(run)) == [f"vision/part[{i}]:v0" for i in range(3)]
    found = runs_of(repo)
    assert sorted(used(found["merge"])) == sorted(used(found["count"])) == [f"vision/part[{i}]:v0" for i in range(3)]
    assert repo.version("merged").load() == "part1+part2+part3"
    assert repo.version("counted").load() == 3


def test_plain_steps_and_verbs_join_the_run_of_their_task(execute, repo) -> None:
    @dag(schedule=None)
    def verbs():
        @task
        @hw.step(log="raw")
        def load() -> str:
            return "raw"

        @task
        def imperative(raw: hw.Version[str]) -> None:
            data = hw.use(raw)
            hw.log("model", data.load() + "!", aliases=["candidate"])
            hw.current_run().summary["score"] = 0.5

        @task.headwater
        def inner(raw: str) -> str:
            @hw.step(log="nested")
            def nested() -> str:
                return raw

            return str(nested())

        raw = load()
        imperative(raw)
        inner(raw)

    assert set(states(execute(verbs())).values()) == {"success"}
    found = runs_of(repo)
    assert {name: run.state for name, run in found.items()} == dict.fromkeys(
        ("load", "imperative", "inner", "nested", "verbs"), "finished"
    )
    assert (used(found["imperative"]), logged(found["imperative"])) == (["vision/raw:v0"], ["vision/model:v0"])
    assert found["imperative"].record.summary == {"score": 0.5}
    assert found["nested"].parent == found["inner"].id


def test_groups_setup_teardown_and_async(execute, repo) -> None:
    @dag(schedule=None)
    def shapes():
        @setup
        @task.headwater(log="cluster")
        def make() -> str:
            return "cluster"

        @task_group
        def inside(name: str) -> Any:
            @task.headwater(log="work")
            async def work(where: str) -> str:
                await asyncio.sleep(0)
                hw.current_run().summary["ran"] = True
                return f"work on {where}"

            return work(name)

        @teardown
        @task.headwater
        def drop(where: hw.Version[str]) -> None: ...

        where = make()
        done = inside(where)
        where >> done >> drop(where)

    assert set(states(execute(shapes())).values()) == {"success"}
    found = runs_of(repo)
    assert repo.version("work").load() == "work on cluster"
    assert found["inside.work"].record.summary == {"ran": True}
    assert used(found["drop"]) == ["vision/cluster:v0"]


def test_skips_failures_and_retries_leave_true_states(execute, repo, tmp_path) -> None:
    marker = tmp_path / "tried"

    @dag(schedule=None)
    def fates():
        @task.headwater(log="never")
        def skipped() -> str:
            raise skips()("nothing new")

        @task.headwater(log="broken")
        def failed() -> str:
            hw.log("checkpoint", "half")
            raise ValueError("no")

        @task.headwater(log="model", retries=1, retry_delay=0)
        def flaky() -> str:
            hw.log("progress", "half")
            if not marker.exists():
                marker.touch()
                raise ValueError("once")
            return "model"

        @task
        def plain() -> None:
            hw.log("from-plain", 1)
            raise ValueError("after a log")

        skipped()
        failed()
        flaky()
        plain()

    done = execute(fates())
    assert states(done) == {"skipped": "skipped", "failed": "failed", "flaky": "success", "plain": "failed"}
    ended = sorted((run.name, run.attempt, run.state) for run in repo.runs())
    assert ended == [
        ("failed", 1, "failed"), ("fates", 1, "failed"), ("flaky", 1, "failed"), ("flaky", 2, "finished"),
        ("plain", 1, "failed"), ("skipped", 1, "skipped")]  # fmt: skip
    assert repo.version("progress").number == 0, "the second try logged the same again"
    assert not repo.exists("broken")
    assert repo.version("checkpoint").number == 0


def test_tracking_off_records_nothing_and_tasks_run_as_they_were_written(execute, repo, monkeypatch) -> None:
    monkeypatch.setenv("HEADWATER_TRACKING", "off")

    @dag(schedule=None)
    def untracked():
        @task.headwater(log="raw")
        def load() -> str:
            return "raw"

        @task.headwater
        def read(raw: str) -> None:
            assert raw == "raw"

        read(load())

    assert set(states(execute(untracked())).values()) == {"success"}
    assert repo.runs() == []
    assert repo.artifacts() == []


def test_a_task_that_lost_events_still_sees_every_new_version(execute, repo) -> None:
    @dag(schedule=None)
    def consumer():
        @task.headwater
        def take(new: list[hw.Version[str]] = None, fail: bool = False) -> list[str]:  # noqa: RUF013
            hw.current_run().summary["took"] = [str(v) for v in new]
            if hw.current_run().record.config.get("conf", {}).get("fail"):
                raise ValueError("not yet")
            return [str(v) for v in new]

        take(NewVersions("vision/raw"))

    with hw.start_run("elsewhere"):
        hw.log("raw", "one")
        hw.log("raw", "two")
    made = consumer()
    assert set(states(execute(made, fail=True)).values()) == {"failed"}
    assert set(states(execute(made)).values()) == {"success"}
    with hw.start_run("elsewhere"):
        hw.log("raw", "three")
    assert set(states(execute(made)).values()) == {"success"}
    took = [run.record.summary["took"] for run in reversed(repo.runs()) if run.name == "take"]
    assert took == [["vision/raw:v0", "vision/raw:v1"], ["vision/raw:v0", "vision/raw:v1"], ["vision/raw:v2"]]


@pytest.mark.parametrize("form", ["path", "version", None])
def test_a_use_travels_and_shows_itself(form) -> None:
    import pickle

    use = Use("vision/raw:latest", form, role="data")
    assert pickle.loads(pickle.dumps(use)) == use
    assert "vision/raw:latest" in repr(use)
    with pytest.raises(ValueError, match="as_ is one of"):
        Use("raw", "bytes")
    with pytest.raises(hw.InvalidInputError):
        Use("a:b:c")


def test_a_task_that_records_nothing_opens_no_repository(execute, url) -> None:
    @dag(schedule=None)
    def bystanders():
        @task
        def plain() -> None:
            assert not Path(url).exists(), "others' tasks do not wait for our database"

        named = 'case "$HEADWATER_RUN" in *bystanders*) ;; *) exit 1 ;; esac'
        BashOperator(task_id="bash", bash_command=named) >> plain()

    assert set(states(execute(bystanders())).values()) == {"success"}


def test_a_repository_that_hangs_does_not_hold_up_a_scheduler(monkeypatch) -> None:
    monkeypatch.setattr(aside, "PATIENCE", 0.01)
    done, go_on = [], threading.Event()
    aside.do(go_on.wait)
    for number in range(3):
        aside.do(lambda number=number: done.append(number))
    assert done == []
    go_on.set()
    aside.do(lambda: 1 / 0)
    monkeypatch.setattr(aside, "PATIENCE", 60)
    wait_for(lambda: done == [0, 1, 2], "what was in arrears")


def test_a_decorated_function_stays_one(tmp_path: Path) -> None:
    @task.headwater(log="raw")
    def load(a: int, b: str = hw.Use("x")) -> str:
        return f"{a}{b}"

    assert load.function(1, "b") == "1b"
