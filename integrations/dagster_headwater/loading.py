"""Which version an input means, and its value as the annotation asks for it.

First what the producing step logged, in this run or in the run this one re-executes; then the pin (run config
before code); then the alias, as the Dagster run first resolved it. So overlapping runs never read each other's data.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import dagster as dg

import headwater as hw
from dagster_headwater import seams, spilled
from dagster_headwater.naming import PIN_TAG, asset_artifact, op_artifact, role_of, selector_of, with_partition, word
from dagster_headwater.running import key_of
from headwater.adapter import VersionRecord, parse_name

MISSING = object()


@dataclass(frozen=True)
class Wanted:
    """One input, as its context describes it."""

    context: dg.InputContext
    artifact: str
    selector: str
    pinned: bool
    always: bool
    """The pin goes before what this run makes."""
    started_for: Mapping[str, str]
    """Full name of an artifact → the version whose appearance started this run."""

    def name(self, partition: str | None, project: str) -> str:
        """What to ask for by name."""
        bare = parse_name(with_partition(self.artifact, partition)).within(project).bare
        if not self.pinned and bare in self.started_for:
            return f"{bare}:{self.started_for[bare]}"
        return with_partition(self.artifact, partition, self.selector)

    def is_of(self, record: VersionRecord) -> bool:
        """Whether that is a version of the wanted artifact."""
        name = parse_name(self.artifact).within(record.project)
        return (name.project, name.artifact) == (record.project, record.artifact)

    @property
    def role(self) -> str:
        """The input's name, on the lineage edge."""
        return self.context.name if self.context.has_input_name else "input"


def read_input(context: dg.InputContext, default_alias: str) -> Wanted:
    """Read the pins and names of an input: run config, then `AssetIn` metadata, then the asset's own."""
    config, mine, upstream = context.config or {}, context.definition_metadata or {}, context.upstream_output
    theirs = (upstream.definition_metadata if upstream is not None else None) or {}
    code = {name: word(mine, name) for name in ("version", "alias")}
    launch = {name: config.get(name) for name in ("version", "alias")}
    pin = launch if any(launch.values()) else code
    other = config.get("artifact") or word(mine, "artifact")
    return Wanted(
        context=context,
        artifact=str(other or _artifact(context, theirs)),
        selector=selector_of(pin["version"], pin["alias"] or word(theirs, "alias") or default_alias),
        pinned=bool(other) or any(pin.values()),
        always=bool(other or config.get("always") or word(mine, "always")),
        started_for=_started_for(context),
    )


def _started_for(context: dg.InputContext) -> dict[str, str]:
    step = seams.step_of(context)
    tag = None if step is None else step.run_tags.get(PIN_TAG)
    return json.loads(tag) if tag else {}


def _artifact(context: dg.InputContext, metadata: Any) -> str:
    upstream = context.upstream_output
    key = context.asset_key if context.has_asset_key else None
    if key is None and upstream is not None and upstream.has_asset_key:
        key = upstream.asset_key
    if key is not None:
        return asset_artifact(key, metadata)
    assert upstream is not None
    return op_artifact(upstream.job_name, upstream.step_key, upstream.name, upstream.mapping_key, metadata)


def partitions_of(context: dg.InputContext) -> list[str] | None:
    """The upstream partitions the input covers, sorted; None if the upstream asset has none."""
    if not context.has_asset_partitions:
        return None
    return sorted(str(key) for key in context.asset_partition_keys)


def find(repo: hw.Repository, run: hw.Run | None, wanted: Wanted, partition: str | None) -> hw.Version[Any]:
    """The version an input means; recorded as used where a step is running.

    Raises:
        NotFoundError: There is none.
    """
    project = repo.home.project if run is None else run.project
    made = None if wanted.always and wanted.pinned else _made_by_producer(repo, wanted, partition)
    if made is not None and wanted.pinned:
        wanted.context.log.warning(
            "%s: %s is loaded, which this run made, and not the pinned %s; always=True in the pin would load that",
            *(wanted.role, made, wanted.name(partition, project)),
        )
    what = made or wanted.name(partition, project)
    if run is not None:
        return run.use_artifact(what, role=wanted.role)
    return what if isinstance(what, hw.Version) else repo.version(what)


def _made_by_producer(repo: hw.Repository, wanted: Wanted, partition: str | None) -> hw.Version[Any] | None:
    producer = producer_of(wanted.context)
    if producer is None:
        return None
    try:
        newest = repo.run(key_of(producer.run_id, producer.step_key))
    except hw.RunNotFoundError:
        return None  # that run stored nothing here, e.g. before this IO manager was adopted
    for attempt in _newest_first(newest):
        logs = [e for e in attempt.logs() if e.version.partition == (partition or "") and e.version.number is not None]
        named = [e for e in logs if e.role == producer.role]
        own = [e for e in logs if wanted.is_of(e.version)]  # logged in the body, and returned as a handle
        if named or own:
            return hw.Version((named or own)[-1].version, repo.home)
    if partition is None and newest.group != run_id_of(wanted.context):
        return None
    if partition is None:
        raise hw.NotFoundError(
            what=f"step {producer.step_key} of this run stored no output {producer.role!r}", where=wanted.artifact
        )
    return None  # this run made other partitions


def _newest_first(run: Any) -> Iterator[Any]:
    """The attempts of a run's key; the others are asked for only if the newest did not log what is looked for."""
    yield run
    if run.attempt > 1:
        yield from (attempt for attempt in reversed(run.attempts()) if attempt != run)


@dataclass(frozen=True)
class Producer:
    """The step execution that made an input."""

    run_id: str
    step_key: str
    role: str


def producer_of(context: dg.InputContext) -> Producer | None:
    """The step that Dagster says made the input, in this run or in the one it re-executes; None if neither."""
    upstream = context.upstream_output
    run, step = seams.said(upstream, "run_id"), seams.said(upstream, "step_key")
    if upstream is None or not run or not step or run == seams.NO_RUN:
        return None
    return Producer(run, step, role_of(upstream.name, upstream.mapping_key))


def run_id_of(context: dg.InputContext) -> str | None:
    """The Dagster run that loads."""
    step = seams.step_of(context)
    return None if step is None else str(step.run_id)


# -- values ------------------------------------------------------------------------
def value_type(context: dg.InputContext, *, many: bool) -> Any:
    """What the annotation wants of one version; None where it says nothing.

    Args:
        context: Of the input.
        many: The annotation is a container (a dict of partitions, a list of fan-in), its items are wanted.
    """
    wanted = getattr(seams.said(context, "dagster_type"), "typing_type", Any)
    if many:
        wanted = get_args(wanted)[-1] if get_args(wanted) else None
    return None if wanted is Any else wanted


def value_of(version: hw.Version[Any], as_: Any, *, allow_pickle: bool) -> Any:
    """The value of a version: a handle for `hw.Version`, an `hw.Artifact` to change, else by its codec."""
    if as_ is hw.Version:
        return version
    if as_ is hw.Artifact:
        return version.new_draft()
    if type(None) in get_args(as_) and (version.record.codec or {}).get("name") == "json":
        found = version.load(allow_pickle=allow_pickle)
        if found is None:  # Optional[DataFrame] that was None
            return None
    return version.load(as_, allow_pickle=allow_pickle)


def spilled_value(context: dg.InputContext, partition: str | None) -> Any:
    """What the producer could not record and left in Dagster's storage (lenient tracking), or MISSING."""
    producer, step = producer_of(context), seams.step_of(context)
    if producer is None or step is None:
        return MISSING
    path = spilled.path_of(step.instance, producer.run_id, producer.step_key, producer.role, partition)
    return spilled.read(path) if path.exists() else MISSING


def each(keys: list[str], allow_missing: bool, load: Any) -> Iterator[tuple[str, Any]]:  # noqa: FBT001
    """Partition key → value, leaving out what is missing where that is allowed."""
    for key in keys:
        try:
            yield key, load(key)
        except hw.NotFoundError:
            if not allow_missing:
                raise
