"""One run per attempt at a step, opened at the first load or store, closed from Dagster's event log."""

import dagster as dg
import pytest

import headwater as hw
from dagster_headwater import build_headwater_run_sync_sensor
from dagster_headwater.running import key_of, sync
from tests.integrations.dagster.conftest import graph


@dg.asset
def raw() -> int:
    return 1


def test_a_run_is_named_keyed_and_grouped_by_dagsters_ids(run, repo):
    result = run([raw])
    found = repo.run(key_of(result.run_id, "raw"))
    assert (found.name, found.group, found.attempt, found.state) == ("raw", result.run_id, 1, "finished")
    assert found.config["kind"] == "asset"
    assert found.key == f"dagster:{result.run_id}/raw"


def test_an_asset_that_neither_loads_nor_stores_leaves_no_run(run, repo):
    @dg.asset
    def quiet() -> None: ...

    run([quiet])
    assert not repo.runs()


def test_every_attempt_is_a_run_and_an_earlier_one_keeps_its_error(run, repo):
    tries = []

    @dg.asset(retry_policy=dg.RetryPolicy(max_retries=2))
    def flaky(raw: int) -> int:
        tries.append(1)
        if len(tries) < 3:
            raise ValueError(f"not yet {len(tries)}")
        return raw

    assert run([raw, flaky]).success
    attempts = repo.run(repo.runs(where=["name=flaky"])[0].key).attempts()
    assert [(a.attempt, a.state) for a in attempts] == [(1, "failed"), (2, "failed"), (3, "finished")]
    assert "not yet 2" in attempts[1].record.error
    assert [len(a.uses()) for a in attempts] == [1, 1, 1]


def test_a_failing_step_keeps_its_uses_and_what_it_had_published(run, repo):
    @dg.multi_asset(outs={"p": dg.AssetOut(), "q": dg.AssetOut()})
    def both(raw: int):
        yield dg.Output(1, "p")
        raise ValueError("no q")

    assert not run([raw, both], raise_on_error=False).success
    state, uses, logs = graph(repo)["both"]
    assert (state, uses, logs) == ("failed", ["raw:v0"], ["p:v0"])


def test_an_output_that_cannot_be_stored_fails_the_step_and_the_run(run, repo):
    @dg.asset
    def odd() -> object:
        return object()

    result = run([odd], raise_on_error=False)
    assert not result.success
    assert graph(repo)["odd"] == ("failed", [], [])


def test_a_skipped_output_leaves_nothing(run, repo):
    @dg.asset(output_required=False)
    def maybe():
        if False:
            yield dg.Output(1)

    @dg.asset
    def after(maybe) -> int:
        return 1

    run([maybe, after])
    assert not repo.runs()


def test_a_step_of_the_core_joins_the_assets_run(run, repo):
    @hw.step(log=hw.Log("model", type="model", aliases=["candidate"]))
    def train(raw: int, lr: float = hw.Use("rate:latest")) -> float:
        return raw * lr

    with repo.start_run("before"):
        hw.log("rate", 0.5)
    model = dg.asset(name="model")(train)
    assert run([raw, model]).success
    assert repo.version("model:candidate").load() == 0.5
    state, uses, logs = graph(repo)["model"]
    assert (state, sorted(uses), logs) == ("finished", ["rate:v0", "raw:v0"], ["model:v0"])


def test_the_sensor_closes_what_died_without_a_word(run, repo, instance, resources):
    result = run([raw])
    dead = repo.start_run("dead", key=key_of(result.run_id, "dead"), group=result.run_id, attempt=1)
    done = repo.start_run("raw", key=key_of(result.run_id, "raw"), group=result.run_id, attempt=1, resume=True)
    assert done.state == "running"
    with dg.build_sensor_context(instance=instance, resources=resources) as context:
        build_headwater_run_sync_sensor().evaluate_tick(context)
    assert repo.run(done.id).state == "finished"
    assert repo.run(dead.id).state == "lost"
    assert not sync(instance, repo.runs())


def test_a_run_of_another_orchestrator_is_left_alone(repo, instance, resources):
    other = repo.start_run("other", key="prefect:task-run/1", group="1")
    with dg.build_sensor_context(instance=instance, resources=resources) as context:
        build_headwater_run_sync_sensor().evaluate_tick(context)
    assert repo.run(other.id).state == "running"
    other.finish()


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, dg.DagsterExecutionInterruptedError])
def test_a_cancelled_step_is_cancelled(interrupt, run, repo):
    @dg.asset
    def stopped(raw: int) -> int:
        raise interrupt

    with pytest.raises(interrupt):
        run([raw, stopped])
    assert graph(repo)["stopped"] == ("cancelled", ["raw:v0"], [])


def test_links_lead_back_to_dagster(run, repo, url):
    from dagster_headwater import HeadwaterIOManager, HeadwaterResource

    linked = HeadwaterResource(url=url, project="lake", dagster_url="http://dagster.example:3000/")
    result = run([raw], resources={"io_manager": HeadwaterIOManager(headwater=linked)})
    assert repo.runs()[0].record.links["dagster"].startswith(f"http://dagster.example:3000/runs/{result.run_id}")
