"""Which version is loaded: the producer's first, then the pin, then the alias; overlapping runs stay apart."""

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

import headwater as hw
from dagster_headwater import HeadwaterIOManager, headwater_metadata
from tests.integrations.dagster.conftest import event, graph


def counted(start: int = 0):
    number = [start]

    @dg.asset
    def raw() -> int:
        number[0] += 1
        return number[0]

    return raw


def reader(seen, **options):
    @dg.asset(**options)
    def out(raw: int) -> int:
        seen.append(raw)
        return raw

    return out


def test_overlapping_runs_never_read_each_others_data(run, repo):
    raw, seen = counted(), []

    @dg.asset
    def meanwhile(raw: int) -> None:
        if raw == 1:  # another run makes a newer raw before this one goes on
            run([raw_asset], selection=[raw_asset])

    raw_asset = raw
    out = reader(seen, deps=[meanwhile])
    run([raw, meanwhile, out])
    assert seen == [1]
    assert repo.version("raw").load() == 2


def test_a_run_that_makes_nothing_upstream_reads_latest_once(run, repo):
    raw, seen = counted(), []
    run([raw])
    out = reader(seen)
    run([raw, out], selection=[out])
    run([raw])
    run([raw, out], selection=[out])
    assert seen == [1, 2]


def test_a_pin_in_code_holds_until_this_run_makes_its_own(run, repo):
    raw, seen = counted(), []
    pins = dg.AssetIn(metadata=headwater_metadata(version="v0"))
    out = reader(seen, ins={"raw": pins})
    run([raw])
    run([raw])
    run([raw, out], selection=[out])
    run([raw, out])
    assert seen == [1, 3]


def test_a_pin_that_always_holds(run, repo):
    raw, seen = counted(), []
    pins = dg.AssetIn(metadata=headwater_metadata(version="v0", always=True))
    out = reader(seen, ins={"raw": pins})
    run([raw])
    run([raw, out])
    assert seen == [1]


def test_a_pin_at_launch_beats_the_one_in_code(run, repo):
    raw, seen = counted(), []
    pins = dg.AssetIn(metadata=headwater_metadata(version="v0"), input_manager_key="io_manager")
    out = reader(seen, ins={"raw": pins})
    for _ in range(3):
        run([raw])
    repo.set_alias("raw:prod", "v1")
    for choice in ({"version": "v2"}, {"alias": "prod"}, {"version": repo.version("raw:v1").digest}):
        run([raw, out], selection=[out], run_config={"ops": {"out": {"inputs": {"raw": choice}}}})
    assert seen == [3, 2, 2]
    assert [edge.asked for edge in repo.runs(where=["name=out"])[-1].uses()] == ["raw:v2"]


def test_launch_config_is_typed(run):
    raw = counted()
    out = reader([], ins={"raw": dg.AssetIn(input_manager_key="io_manager")})
    with pytest.raises(dg.DagsterInvalidConfigError):
        run([raw, out], selection=[out], run_config={"ops": {"out": {"inputs": {"raw": {"vesion": "v2"}}}}})


def test_a_pin_that_is_nowhere_fails_and_says_what_there_is(run):
    raw = counted()
    run([raw])
    out = reader([], ins={"raw": dg.AssetIn(metadata=headwater_metadata(alias="prod"))})
    with pytest.raises(dg.Failure, match="prod"):
        run([raw, out], selection=[out])


def test_output_config_sets_aliases_and_tags(run, repo):
    @dg.asset(metadata=headwater_metadata(type="model", aliases=["candidate"], artifact="churn", metadata={"k": 1}))
    def model() -> str:
        return "m"

    given = {"aliases": ["blessed"], "tags": ["gold"], "description": "by hand"}
    run([model], run_config={"ops": {"model": {"outputs": {"result": given}}}})
    found = repo.version("churn")
    assert sorted(found.aliases) == ["blessed", "candidate", "latest"]
    assert (found.tags, found.description, found.type, found.metadata) == (["gold"], "by hand", "model", {"k": 1})


def test_deps_without_loading_are_uses_of_the_exact_version(run, repo):
    raw = counted()

    @dg.asset(deps=[raw])
    def table() -> int:
        return 5

    run([raw, table])
    run([raw])
    run([raw, table], selection=[table])
    uses = [run.uses()[0] for run in repo.runs(where=["name=table"])]
    assert [edge.version.number for edge in uses] == [1, 0]
    assert {edge.role for edge in uses} == {"declared"}


def test_deps_on_what_is_not_in_headwater_are_no_uses(run, repo):
    elsewhere = dg.AssetSpec("elsewhere")

    @dg.asset(deps=[elsewhere])
    def table() -> int:
        return 5

    run([elsewhere, table])
    assert graph(repo)["table"] == ("finished", [], ["table:v0"])


def test_the_data_version_is_the_digest_so_that_unchanged_content_keeps_downstream_fresh(resources, repo):
    content = ["a"]

    @dg.asset
    def raw() -> str:
        return content[0]

    @dg.asset
    def out(raw: str) -> str:
        return raw

    defs = dg.Definitions(assets=[raw, out], resources=resources)
    with dg.instance_for_test() as instance:

        def status() -> StaleStatus:
            return status_of(defs, instance, "out")

        job = defs.resolve_implicit_global_asset_job_def()
        assert job.execute_in_process(instance=instance).success
        assert event(instance, "raw").tags["dagster/data_version"] == repo.version("raw").digest
        job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey("raw")])
        assert status() == StaleStatus.FRESH
        content[0] = "b"
        job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey("raw")])
        assert status() == StaleStatus.STALE


def status_of(defs, instance, key) -> StaleStatus:
    resolver = CachingStaleStatusResolver(instance, defs.resolve_asset_graph(), LoadingContextForTest(instance))
    return resolver.get_status(dg.AssetKey(key))


@pytest.mark.parametrize("honest", [False, True])
def test_an_asset_made_from_a_pinned_version_shows_as_stale_where_provenance_is_honest(honest, headwater, repo):
    raw = counted()
    pin = dg.AssetIn(metadata=headwater_metadata(version="v0"))
    out = reader([], ins={"raw": pin})
    manager = HeadwaterIOManager(headwater=headwater, honest_provenance=honest)
    defs = dg.Definitions(assets=[raw, out], resources={"io_manager": manager})
    with dg.instance_for_test() as instance:
        job = defs.resolve_implicit_global_asset_job_def()
        for chosen in ("raw", "raw", "out"):
            assert job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey(chosen)]).success
        tags = event(instance, "out").tags
        read = repo.version("raw:v0" if honest else "raw:v1").digest
        assert tags["dagster/input_data_version/raw"] == read
        assert status_of(defs, instance, "out") == (StaleStatus.STALE if honest else StaleStatus.FRESH)
        made = instance.fetch_materializations(dg.AssetKey("raw"), limit=10).records
        [pointed] = [r for r in made if str(r.storage_id) == tags["dagster/input_event_pointer/raw"]]
        assert pointed.asset_materialization.tags["dagster/data_version"] == read


def test_changed_content_fires_automation_and_unchanged_does_not(resources):
    content = ["a"]

    @dg.asset
    def raw() -> str:
        return content[0]

    @dg.asset(automation_condition=dg.AutomationCondition.any_deps_match(dg.AutomationCondition.data_version_changed()))
    def out(raw: str) -> str:
        return raw

    defs = dg.Definitions(assets=[raw, out], resources=resources)
    with dg.instance_for_test() as instance:
        job, fired = defs.resolve_implicit_global_asset_job_def(), []
        job.execute_in_process(instance=instance)
        result = dg.evaluate_automation_conditions(defs, instance)
        for content[0] in ("a", "b"):
            job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey("raw")])
            result = dg.evaluate_automation_conditions(defs, instance, cursor=result.cursor)
            fired.append(result.total_requested)
    assert fired == [0, 1]


def test_lineage_goes_through_the_whole_graph(run, repo):
    raw = counted()
    out = reader([])
    run([raw, out])
    assert isinstance(repo.version("out"), hw.Version)
    names = {repo.version_by_id(version_id).label for version_id in repo.version("out").upstream().versions}
    assert names == {"raw:v0", "out:v0"}
