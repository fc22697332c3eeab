"""Artifacts made elsewhere: external assets, alias assets, the sensor that follows the feed, the component."""

import json

import dagster as dg
import pytest

import headwater as hw
from dagster_headwater import (
    HeadwaterIOManager,
    HeadwaterResource,
    build_headwater_version_sensor,
    headwater_asset_spec,
    load_headwater_asset_specs,
)
from dagster_headwater.components import HeadwaterComponent
from tests.integrations.dagster.conftest import graph


def log(repo, name, value, **options):
    with repo.start_run("elsewhere") as run:
        return run.log_artifact(value, name, **options)


def tick(sensor, instance, resources, cursor=None):
    with dg.build_sensor_context(instance=instance, resources=resources, cursor=cursor) as context:
        return sensor.evaluate_tick(context)


def test_an_external_artifact_is_an_asset_to_take_as_an_argument(run, repo):
    log(repo, "images", "x")
    spec = headwater_asset_spec("images", group_name="vision")

    @dg.asset
    def index(images: str) -> str:
        return images + "!"

    assert run([spec, index]).success
    assert spec.group_name == "vision"
    assert graph(repo)["index"] == ("finished", ["images:v0"], ["index:v0"])


def test_champion_and_challenger_are_two_assets_of_one_artifact(run, repo):
    log(repo, "churn", 1, aliases=["prod"])
    log(repo, "churn", 2, aliases=["candidate"])
    champion = headwater_asset_spec("lake/churn", alias="prod", key=["churn", "champion"])
    challenger = headwater_asset_spec("lake/churn", alias="candidate", key=["churn", "challenger"])

    @dg.asset(ins={"a": dg.AssetIn(champion.key), "b": dg.AssetIn(challenger.key)})
    def comparison(a: int, b: int) -> dict:
        return {"a": a, "b": b}

    run([champion, challenger, comparison])
    assert repo.version("comparison").load() == {"a": 1, "b": 2}
    assert [(e.asked, e.role) for e in repo.runs(where=["name=comparison"])[0].uses()] == [
        ("lake/churn:prod", "a"), ("lake/churn:candidate", "b"),
    ]  # fmt: skip


def test_every_artifact_as_a_spec_and_its_aliases(repo, headwater):
    log(repo, "images", "x")
    log(repo, "churn", 1, aliases=["prod"], type="model")
    before = len(repo.runs())
    specs = load_headwater_asset_specs(headwater, aliases=["prod"], group_name="elsewhere")
    assert [spec.key.path for spec in specs] == [["lake", "churn"], ["lake", "churn", "prod"], ["lake", "images"]]
    models = load_headwater_asset_specs(headwater, type="model")
    assert [spec.key.path for spec in models] == [["lake", "churn"]]
    assert len(repo.runs()) == before


def test_a_spec_of_a_version_is_refused():
    with pytest.raises(hw.InvalidInputError):
        headwater_asset_spec("churn:v3")


@dg.asset
def index(images: str) -> str:
    return images


def test_the_sensor_asks_for_exactly_one_run_per_version(repo, instance, resources):
    spec = headwater_asset_spec("images")
    sensor = build_headwater_version_sensor([spec], target=index)
    first = log(repo, "images", "a")
    found = tick(sensor, instance, resources)
    assert [request.run_key for request in found.run_requests] == ["images|lake/images:v0"]
    [made] = found.asset_events
    assert made.tags["dagster/data_version"] == first.digest
    assert made.metadata["headwater/artifact"].value == "lake/images:v0"
    quiet = tick(sensor, instance, resources, found.cursor)
    assert not quiet.run_requests
    log(repo, "images", "b")
    log(repo, "images", "b")  # equal content: no version
    log(repo, "images", "c")
    log(repo, "others", "c")
    news = tick(sensor, instance, resources, quiet.cursor)
    assert [request.run_key for request in news.run_requests] == ["images|lake/images:v1", "images|lake/images:v2"]
    assert not tick(sensor, instance, resources, news.cursor).run_requests


def test_a_run_reads_the_version_it_was_started_for(repo, instance, resources, run):
    spec = headwater_asset_spec("images")
    log(repo, "images", "a")
    [request] = tick(build_headwater_version_sensor([spec], target=index), instance, resources).run_requests
    log(repo, "images", "b")
    run([spec, index], tags=request.tags)
    assert repo.version("index").load() == "a"


def test_an_alias_asset_reacts_when_its_alias_moves(repo, instance, resources):
    log(repo, "churn", 1)
    sensor = build_headwater_version_sensor([headwater_asset_spec("churn", alias="prod")])
    start = tick(sensor, instance, resources)
    assert not start.asset_events
    log(repo, "churn", 2)
    repo.set_alias("churn:prod", "v0")
    found = tick(sensor, instance, resources, start.cursor)
    assert [made.metadata["headwater/artifact"].value for made in found.asset_events] == ["lake/churn:v0"]
    assert not found.run_requests


def test_partitions_made_elsewhere_become_partitions(repo, instance, resources):
    people = dg.DynamicPartitionsDefinition(name="people")
    spec = headwater_asset_spec("profiles", partitions_def=people)
    log(repo, "profiles", 1, partition="ann")
    found = tick(build_headwater_version_sensor([spec]), instance, resources)
    assert [made.partition for made in found.asset_events] == ["ann"]
    assert found.dynamic_partitions_requests[0].partition_keys == ["ann"]


def test_cursors_are_small_and_the_feed_is_followed_in_stretches(repo, instance, resources, monkeypatch):
    from dagster_headwater import sensors

    monkeypatch.setattr(sensors, "MAX_EVENTS", 2)
    sensor = build_headwater_version_sensor([headwater_asset_spec("images")], target=index)
    cursor = tick(sensor, instance, resources).cursor
    for number in range(5):
        log(repo, "images", number)
    keys = []
    for _ in range(4):
        found = tick(sensor, instance, resources, cursor)
        keys += [request.run_key for request in found.run_requests]
        cursor = found.cursor
    assert keys == [f"images|lake/images:v{n}" for n in range(5)]
    assert set(json.loads(cursor)) == {"headwater", "after"}


def test_an_external_version_with_new_content_fires_automation(repo, resources):
    spec = headwater_asset_spec("images")
    changed = dg.AutomationCondition.any_deps_match(dg.AutomationCondition.data_version_changed())
    watching = dg.asset(name="index", automation_condition=changed)(lambda images: images)
    sensor = build_headwater_version_sensor([spec])
    log(repo, "images", "a")
    with dg.instance_for_test() as instance:
        cursor, fired, defs = None, [], dg.Definitions(assets=[spec, watching], resources=resources)
        result = dg.evaluate_automation_conditions(defs, instance)
        for value in (None, "b", "c"):
            if value:
                log(repo, "images", value)
            found = tick(sensor, instance, resources, cursor)
            cursor = found.cursor
            for made in found.asset_events:
                instance.report_runless_asset_event(made)
            result = dg.evaluate_automation_conditions(defs, instance, cursor=result.cursor)
            fired.append(result.total_requested)
    assert fired[1:] == [1, 1]


def test_the_component_builds_what_it_says(repo, url):
    component = HeadwaterComponent(
        url=url,
        project="lake",
        artifacts=[{"name": "images", "group_name": "vision"}, {"name": "churn", "alias": "prod"}],
    )
    defs = component.build_defs(None)
    assert {key.to_user_string() for key in defs.resolve_asset_graph().get_all_asset_keys()} == {"images", "churn/prod"}
    assert {sensor.name for sensor in defs.sensors} == {"headwater_versions", "headwater_run_sync"}
    assert isinstance(defs.resources["io_manager"], HeadwaterIOManager)
    assert isinstance(defs.resources["headwater"], HeadwaterResource)
    assert not repo.runs()


def test_the_component_from_yaml(tmp_path, url, monkeypatch):
    from dagster.components.testing import create_defs_folder_sandbox

    monkeypatch.setenv("HEADWATER_URL", url)
    with create_defs_folder_sandbox() as sandbox:
        path = sandbox.scaffold_component(
            component_cls=HeadwaterComponent,
            defs_yaml_contents={
                "type": "dagster_headwater.components.HeadwaterComponent",
                "attributes": {
                    "url": "{{ env.HEADWATER_URL }}",
                    "artifacts": [{"name": "raw-images", "key": "raw/images", "group_name": "vision"}],
                },
            },
        )
        with sandbox.load_component_and_build_defs(defs_path=path) as (component, defs):
            assert component.url == url
            assert defs.resolve_asset_graph().get(dg.AssetKey(["raw", "images"])).group_name == "vision"
