"""An output becomes a version: under which name, with which facts, and what the event about it shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import dagster as dg

import headwater as hw
from dagster_headwater import seams
from dagster_headwater.naming import PartitionedOutput, asset_artifact, op_artifact, role_of, word, words


def artifact_of(context: dg.OutputContext) -> str:
    """The artifact that an output's versions belong to."""
    metadata = context.definition_metadata or {}
    if context.has_asset_key:
        return asset_artifact(context.asset_key, metadata)
    return op_artifact(context.job_name, context.step_key, context.name, context.mapping_key, metadata)


def items_of(context: dg.OutputContext, value: Any) -> Iterator[tuple[str | None, Any]]:
    """(partition, value) of everything one output holds: one, or one for each partition of a run over several.

    Raises:
        InvalidInputError: The keys are not exactly those of the partitions.
    """
    if not (context.has_asset_key and context.has_asset_partitions):
        yield None, value
        return
    keys = [str(key) for key in context.asset_partition_keys]
    if len(keys) == 1 and not isinstance(value, PartitionedOutput):
        yield keys[0], value
        return
    if not isinstance(value, Mapping) or {str(key) for key in value} != set(keys):
        got = f"the keys {sorted(map(str, value))[:5]}" if isinstance(value, Mapping) else type(value).__qualname__
        raise hw.InvalidInputError(
            what=f"this run covers {len(keys)} partitions, and {context.asset_key.to_user_string()} returned {got}",
            fix="return a dict (or PartitionedOutput) with exactly the partition keys",
        )
    values = {str(key): item for key, item in value.items()}
    for key in keys:
        yield key, values[key]


def options_of(context: dg.OutputContext, *, allow_pickle: bool) -> dict[str, Any]:
    """How the version is logged: run config and definition metadata together."""
    config, metadata = context.config or {}, context.definition_metadata or {}
    spec = seams.said(context, "asset_spec")
    facts = dict(word(metadata, "metadata") or {})
    if spec is not None and spec.code_version:
        facts["code_version"] = spec.code_version
    return {
        "aliases": [*words(metadata, "aliases"), *(config.get("aliases") or ())],
        "tags": [*words(metadata, "tags"), *(config.get("tags") or ())],
        "type": word(metadata, "type"),
        "description": config.get("description") or word(metadata, "description"),
        "metadata": facts or None,
        "allow_pickle": bool(word(metadata, "allow_pickle") or allow_pickle),
    }


def log_value(
    run: hw.Run, context: dg.OutputContext, value: Any, partition: str | None, options: dict[str, Any]
) -> hw.Version[Any]:
    """Log one value in the run of its step; a version that is the asset's own already is taken as it is."""
    name, role = artifact_of(context), role_of(seams.said(context, "name", "result"), context.mapping_key)
    if isinstance(value, hw.Version):
        if _is_own(run, value, name, partition):
            return value
        if not run.knows(value):
            run.use_artifact(value, role=role)  # what it came from must not be lost
    if isinstance(value, Path) and not value.exists():
        raise hw.InvalidInputError(
            what="the returned path is gone",
            where=value,
            fix="inside `with TemporaryDirectory()` yield dg.Output(path): the block is left when it is stored",
        )
    declared = getattr(seams.said(context, "dagster_type"), "typing_type", Any)
    return run.log_artifact(
        value, name, role=role, partition=partition, declared=None if declared is Any else declared, **options
    )


def _is_own(run: hw.Run, version: hw.Version[Any], name: str, partition: str | None) -> bool:
    record = version.record
    mine = hw.Artifact(name, partition=partition)
    project, _, artifact = mine.name.rpartition("/")
    same = (record.project, record.artifact, record.partition) == (project or run.project, artifact, partition or "")
    return same and any(logged.id == version.id for logged in run.logged_artifacts())


def data_version(versions: list[hw.Version[Any]]) -> dg.DataVersion:
    """The digest of the content; of several partitions one over all, in their order."""
    if len(versions) == 1:
        return dg.DataVersion(versions[0].digest)
    return dg.DataVersion("sha256:" + sha256("\n".join(v.digest for v in versions).encode()).hexdigest())
