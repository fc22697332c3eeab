"""Multi-assets and subsets, graph assets, op jobs, dynamic outputs, checks, assets that store their own data."""

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

import headwater as hw
from dagster_headwater import (
    HeadwaterIOManager,
    HeadwaterResource,
    build_headwater_run_sync_sensor,
    build_headwater_version_sensor,
    headwater_asset_spec,
    headwater_metadata,
)
from tests.integrations.dagster.conftest import event, graph


@dg.asset
def raw() -> int:
    return 1


def test_a_multi_asset_and_a_subset_of_it(run, repo):
    @dg.multi_asset(outs={"p": dg.AssetOut(is_required=False), "q": dg.AssetOut(is_required=False)}, can_subset=True)
    def both(context: dg.AssetExecutionContext, raw: int):
        for name in sorted(context.op_execution_context.selected_output_names):
            yield dg.Output(f"{name}{raw}", name)

    run([raw, both])
    assert graph(repo)["both"] == ("finished", ["raw:v0"], ["p:v0", "q:v0"])
    run([raw, both], selection=["q"])
    assert graph(repo, repo.runs()[0].group)["both"] == ("finished", ["raw:v0"], ["q:v0"])


def test_a_graph_asset(run, repo):
    @dg.op
    def inner(x: int) -> int:
        return x + 1

    @dg.op
    def outer(x: int) -> int:
        return x * 10

    @dg.graph_asset
    def made(raw):
        return outer(inner(raw))

    run([raw, made])
    assert repo.version("made").load() == 20
    assert graph(repo)["made.outer"][2] == ["made:v0"]
    names = {repo.version_by_id(v).label for v in repo.version("made").upstream().versions}
    assert len(names) == 3
    assert {"raw:v0", "made:v0"} < names


def test_an_op_job_with_dynamic_outputs(resources, repo, instance):
    @dg.op(out=dg.DynamicOut())
    def shards():
        for key in ("x", "y"):
            yield dg.DynamicOutput(key, mapping_key=key)

    @dg.op(out=dg.Out(metadata=headwater_metadata(artifact="upper")))
    def upper(shard: str) -> str:
        return shard.upper()

    @dg.op(out={"joined": dg.Out()})
    def join(parts: list[str]) -> str:
        return "".join(sorted(parts))

    @dg.job(resource_defs=resources)
    def pipeline():
        join(shards().map(upper).collect())

    assert pipeline.execute_in_process(instance=instance).success
    assert repo.version("ops.pipeline.join.joined").load() == "XY"
    assert graph(repo)["join"][1] == ["upper:v0", "upper:v1"]
    assert graph(repo)["shards"][2] == ["ops.pipeline.shards.result.x:v0", "ops.pipeline.shards.result.y:v0"]


def test_a_check_promotes_the_version_it_has_seen(run, repo):
    @dg.asset(metadata=headwater_metadata(artifact="churn", type="model"))
    def model(raw: int) -> float:
        return 0.95

    @dg.asset_check(asset=model, blocking=True)
    def good_enough(context, model: float, headwater: HeadwaterResource) -> dg.AssetCheckResult:
        headwater.promote(context, "churn", to="prod")
        return dg.AssetCheckResult(passed=model > 0.9)

    assert run([raw, model, good_enough]).success
    assert repo.version("churn:prod").version == "v0"
    check = repo.runs(where=["name=churn"]) or repo.runs(where=["config.kind=asset_check"])
    assert [run.state for run in check] == ["finished"]
    assert graph(repo)["model_good_enough"][1] == ["churn:v0"]


def test_a_check_may_name_what_it_promotes_by_the_assets_key(run, repo):
    @dg.asset(metadata=headwater_metadata(artifact="churn"))
    def model() -> float:
        return 0.95

    @dg.asset_check(asset=model)
    def good_enough(context, model: float, headwater: HeadwaterResource) -> dg.AssetCheckResult:
        headwater.promote(context, dg.AssetKey("model"), to="prod")
        return dg.AssetCheckResult(passed=True)

    assert run([model, good_enough]).success
    assert repo.version("churn:prod").version == "v0"


def test_a_check_cannot_promote_what_it_has_not_seen(run):
    @dg.asset_check(asset=raw)
    def blind(context, headwater: HeadwaterResource) -> dg.AssetCheckResult:
        headwater.promote(context, "raw", to="prod")
        return dg.AssetCheckResult(passed=True)

    with pytest.raises(hw.StateError, match="raw"):
        run([raw, blind])


def test_an_asset_that_stores_its_own_data(run, repo, instance, tmp_path):
    (tmp_path / "table.db").write_text("rows")

    @dg.asset(deps=[raw])
    def table(context: dg.AssetExecutionContext, headwater: HeadwaterResource) -> dg.MaterializeResult:
        with headwater.run(context) as record:
            hw.use("lookup")
            artifact = hw.Artifact("table", "table").add_reference(f"file://{tmp_path}/table.db", "table.db")
            version = record.log_artifact(artifact)
        return headwater.materialize_result(context, version)

    @dg.asset(deps=[table])
    def report() -> int:
        return 1

    with repo.start_run("before"):
        hw.log("lookup", {})
    assert run([raw, table, report]).success
    assert graph(repo)["table"] == ("finished", ["raw:v0", "lookup:v0"], ["table:v0"])
    assert graph(repo)["report"][1] == ["table:v0"]
    found = event(instance, "table")
    assert found.tags["dagster/data_version"] == repo.version("table").digest
    assert found.metadata["headwater/inputs"].value == ["lake/raw:v0", "lake/lookup:v0"]


def test_a_materialize_result_logs_the_value_for_the_asset(run, repo):
    letters = dg.StaticPartitionsDefinition(["a"])

    @dg.asset(partitions_def=letters)
    def own(context: dg.AssetExecutionContext, headwater: HeadwaterResource) -> dg.MaterializeResult:
        return headwater.materialize_result(context, {"rows": 1}, aliases=["fresh"])

    run([own], partition_key="a")
    assert repo.version("own[a]:fresh").load() == {"rows": 1}


def test_each_asset_of_a_multi_asset_may_store_its_own(run, repo, instance):
    specs = [dg.AssetSpec("p", deps=["raw"]), dg.AssetSpec("q", metadata=headwater_metadata(artifact="named"))]

    @dg.multi_asset(specs=specs)
    def both(context: dg.AssetExecutionContext, headwater: HeadwaterResource):
        for name in ("p", "q"):
            yield headwater.materialize_result(context, {"of": name}, asset_key=dg.AssetKey(name))

    assert run([raw, both]).success
    assert repo.version("named").load() == {"of": "q"}
    assert graph(repo)["both"] == ("finished", ["raw:v0"], ["p:v0", "named:v0"])
    assert event(instance, "q").tags["dagster/data_version"] == repo.version("named").digest


def test_a_materialize_result_with_a_value_is_stored(run, repo, instance):
    @dg.asset
    def thing() -> dg.MaterializeResult[int]:
        return dg.MaterializeResult(value=3, metadata={"mine": 1}, data_version=dg.DataVersion("mine"))

    run([thing])
    assert repo.version("thing").load() == 3
    assert event(instance, "thing").metadata["mine"].value == 1
    assert event(instance, "thing").tags["dagster/data_version"] == "mine"


CHILD = """
import headwater as hw
from dagster_pipes import open_dagster_pipes
with open_dagster_pipes() as pipes:
    version = hw.log("trained", hw.use("raw").load() + 1)
    pipes.report_asset_materialization(metadata={"v": str(version)}, data_version=version.digest)
"""


def test_a_pipes_child_logs_into_its_assets_run(run, repo, instance, tmp_path, resources):
    (tmp_path / "child.py").write_text(CHILD)

    @dg.asset(deps=[raw])
    def trained(context: dg.AssetExecutionContext, pipes: dg.PipesSubprocessClient, headwater: HeadwaterResource):
        env = {"PYTHONPATH": os.pathsep.join(sys.path), **headwater.pipes_env(context)}
        return pipes.run(
            command=[sys.executable, str(tmp_path / "child.py")], context=context, env=env
        ).get_materialize_result()

    run([raw, trained], resources={**resources, "pipes": dg.PipesSubprocessClient()})
    assert len(repo.runs(where=["name=trained"])) == 1
    state, uses, logs = graph(repo)["trained"]
    assert (state, set(uses), logs) == ("finished", {"raw:v0"}, ["trained:v0"])
    assert event(instance, "trained").tags["dagster/data_version"] == repo.version("trained").digest


def test_another_io_managers_data_moves_over_in_one_call(repo, headwater, tmp_path):
    letters = dg.StaticPartitionsDefinition(["a", "b"])

    @dg.asset(partitions_def=letters)
    def part(context: dg.AssetExecutionContext) -> str:
        return context.partition_key

    old = dg.Definitions(
        assets=[raw, part], resources={"io_manager": dg.FilesystemIOManager(base_dir=str(tmp_path / "fs"))}
    )
    with dg.instance_for_test() as instance:
        job = old.resolve_implicit_global_asset_job_def()
        job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey("raw")])
        for key in ("a", "b"):
            dg.materialize(
                [part], instance=instance, partition_key=key,
                resources={"io_manager": dg.FilesystemIOManager(base_dir=str(tmp_path / "fs"))},
            )  # fmt: skip
        dg.migrate_io_storage(
            definitions=old, destination_io_manager=HeadwaterIOManager(headwater=headwater), instance=instance
        )
    assert repo.version("raw").load() == 1
    assert repo.version("part[b]").load() == "b"
    assert {run.state for run in repo.runs()} == {"finished"}


def test_a_step_outside_dagster_is_not_dagsters(repo):
    with pytest.raises(hw.StateError):
        hw.log("x", 1)


def test_loading_a_code_location_opens_nothing(tmp_path: Path):
    away = HeadwaterResource(url=str(tmp_path / "repository"))
    elsewhere = headwater_asset_spec("images")
    sensors = [build_headwater_version_sensor([elsewhere]), build_headwater_run_sync_sensor()]
    resources = {"headwater": away, "io_manager": HeadwaterIOManager(headwater=away)}
    defs = dg.Definitions(assets=[raw, elsewhere], sensors=sensors, resources=resources)
    assert defs.get_repository_def().get_all_jobs()
    assert not (tmp_path / "repository").exists()


def test_importing_the_adapter_opens_nothing(tmp_path: Path):
    home = tmp_path / "empty"
    home.mkdir()
    found = subprocess.run(
        [sys.executable, "-c", "import dagster_headwater"], capture_output=True, text=True,
        env={**os.environ, "HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert not list(home.iterdir()), found.stderr
