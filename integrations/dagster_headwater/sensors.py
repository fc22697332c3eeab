"""Sensors: new versions made elsewhere become events and runs; runs that died are closed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

import headwater as hw
from dagster_headwater.naming import PIN_TAG, asset_artifact, word
from dagster_headwater.running import GROUP_PREFIX, sync
from dagster_headwater.shown import materialization_metadata
from headwater.adapter import Event, parse_name

KINDS = ("version.published", "alias.set")
MAX_EVENTS = 500
"""Most events of the feed one tick looks at; the next goes on where it stopped."""
MAX_LOST = 200
"""Most lost runs one tick looks at, newest first."""


def build_headwater_version_sensor(
    assets: Sequence[dg.AssetSpec],
    *,
    name: str = "headwater_versions",
    job: Any = None,
    target: Any = None,
    resource_key: str = "headwater",
    **options: Any,
) -> dg.SensorDefinition:
    """Tell Dagster of versions that others log: a materialization for each, and exactly one run of the job.

    Follows the repository's event feed from where the last tick stopped, so that nothing is missed while the sensor
    is off. The first tick reports what is there. The run reads the very version it was started for.

    Args:
        assets: Specs of `headwater_asset_spec`; one with an alias reacts when the alias moves.
        name: Of the sensor.
        job: What to launch; with neither this nor `target` only events are reported, for automation conditions.
        target: Assets to launch instead of a job.
        resource_key: Of the `HeadwaterResource`.
        **options: As `dagster.sensor`: minimum_interval_seconds, default_status, description, tags, …
    """
    launches = job is not None or target is not None

    def evaluate(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        resource = getattr(context.resources, resource_key)
        repo, pages = resource.repository(), resource.pages()
        watched = [_watch(spec, repo.home.project) for spec in assets]
        cursor, seen = _news(repo, watched, context.cursor)
        fresh = list({(asset.spec.key, version.id): (asset, version) for asset, version in seen}.values())
        return dg.SensorResult(
            asset_events=[_materialization(asset, version, pages) for asset, version in fresh],
            run_requests=[_request(asset, version) for asset, version in fresh] if launches else [],
            dynamic_partitions_requests=list(_new_partitions(fresh)),
            cursor=json.dumps({"headwater": 1, "after": cursor}),
        )

    what = {"job": job} if job is not None else {"target": target} if target is not None else {}
    decorate = dg.sensor(name=name, required_resource_keys={resource_key}, **what, **options)
    return decorate(evaluate)


@dataclass(frozen=True)
class Watched:
    """An asset, and the versions that concern it."""

    spec: dg.AssetSpec
    project: str
    artifact: str
    alias: str

    def concerns(self, event: Event) -> bool:
        """Whether the event makes a version mean what the asset means."""
        if (event.project, event.artifact) != (self.project, self.artifact):
            return False
        if self.alias == "latest":
            return event.kind == "version.published"
        return event.kind == "alias.set" and event.details.get("alias") == self.alias


def _watch(spec: dg.AssetSpec, project: str) -> Watched:
    name = parse_name(asset_artifact(spec.key, spec.metadata)).within(project)
    return Watched(spec, str(name.project), name.artifact, str(word(spec.metadata, "alias") or "latest"))


def _news(
    repo: hw.Repository, watched: Sequence[Watched], cursor: str | None
) -> tuple[int, list[tuple[Watched, hw.Version[Any]]]]:
    if not cursor:
        head = repo.home.catalog.events.head()  # first, so that what comes meanwhile is seen by the next tick
        return head, [(asset, v) for asset in watched for v in _standing(repo, asset)]
    events = repo.events(after=int(json.loads(cursor)["after"]), kinds=KINDS, limit=MAX_EVENTS)
    found = []
    for event in events:
        for asset in watched:
            if asset.concerns(event) and event.version_id:
                version = repo.version_by_id(event.version_id)
                if version.state == "published":
                    found.append((asset, version))
    return events.cursor, found


def _standing(repo: hw.Repository, asset: Watched) -> Iterable[hw.Version[Any]]:
    bare = f"{asset.project}/{asset.artifact}"
    try:
        partitions = [info.name for info in repo.artifact(bare).partitions()]
    except hw.ArtifactNotFoundError:
        return
    for name in partitions or [bare]:
        if repo.exists(f"{name}:{asset.alias}"):
            yield repo.version(f"{name}:{asset.alias}")


def _materialization(asset: Watched, version: hw.Version[Any], pages: str | None) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(
        asset_key=asset.spec.key,
        partition=version.partition or None,
        metadata=materialization_metadata(version, None, pages=pages),
        tags={"dagster/data_version": version.digest, "dagster/data_version_is_user_provided": "true"},
    )


def _request(asset: Watched, version: hw.Version[Any]) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=f"{asset.spec.key.to_user_string()}|{version}",
        partition_key=version.partition or None,
        tags={PIN_TAG: json.dumps({version.name: version.version}), "headwater/version": str(version)},
    )


def _new_partitions(fresh: Iterable[tuple[Watched, hw.Version[Any]]]) -> Iterable[Any]:
    for asset, version in fresh:
        definition = asset.spec.partitions_def
        if isinstance(definition, dg.DynamicPartitionsDefinition) and definition.name and version.partition:
            yield definition.build_add_request([version.partition])


def build_headwater_run_sync_sensor(
    *, name: str = "headwater_run_sync", resource_key: str = "headwater", **options: Any
) -> dg.SensorDefinition:
    """Close Headwater runs whose Dagster step has ended without a word, as after SIGKILL or an eviction.

    Asks Headwater which runs are open, and Dagster's event log how they ended; nothing else is remembered.

    Args:
        name: Of the sensor.
        resource_key: Of the `HeadwaterResource`.
        **options: As `dagster.sensor`.
    """

    def evaluate(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        repo = getattr(context.resources, resource_key).repository()
        repo.sweep()
        found = repo.runs(where=["state=running"], all_projects=True)
        found += repo.runs(where=["state=lost"], all_projects=True, limit=MAX_LOST)
        closed = sync(context.instance, [run for run in found if run.key.startswith(GROUP_PREFIX)])
        return dg.SkipReason(f"closed {len(closed)} of {len(found)} open runs" if closed else "no run to close")

    return dg.sensor(name=name, required_resource_keys={resource_key}, **options)(evaluate)
