"""Artifacts made elsewhere, as external assets of Dagster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dagster as dg

import headwater as hw
from dagster_headwater.naming import headwater_metadata
from dagster_headwater.resources import HeadwaterResource
from headwater.adapter import parse_name


def headwater_asset_spec(
    artifact: str,
    *,
    alias: str | None = None,
    key: dg.AssetKey | Sequence[str] | str | None = None,
    io_manager_key: str = "io_manager",
    **spec: Any,
) -> dg.AssetSpec:
    """An external asset for an artifact, which assets can take as an argument; one for each alias that matters.

    Args:
        artifact: `artifact` or `project/artifact`.
        alias: What loading it means; `latest` if None. Champion and challenger are two specs of one artifact.
        key: The asset's key; by default `[project,] artifact [, alias]`.
        io_manager_key: Under which the `HeadwaterIOManager` is registered.
        **spec: As `dagster.AssetSpec`: group_name, partitions_def, description, owners, tags, …

    Raises:
        InvalidInputError: Not the name of an artifact.
    """
    name = parse_name(artifact)
    if name.alias or name.digest or name.number is not None or name.partition:
        raise hw.InvalidInputError(what=f"{artifact!r} names a version", fix="leave out what follows the artifact")
    words = {"artifact": artifact, **({"alias": alias} if alias else {})}
    parts = [part for part in (name.project, name.artifact, alias) if part]
    given = {"kinds": {"headwater"}, **spec, "metadata": {**headwater_metadata(**words), **spec.get("metadata", {})}}
    return dg.AssetSpec(key or parts, **given).with_io_manager_key(io_manager_key)


def load_headwater_asset_specs(
    resource: HeadwaterResource,
    *,
    project: str | None = None,
    type: str | None = None,
    where: Sequence[str] = (),
    aliases: Sequence[str] = (),
    **spec: Any,
) -> list[dg.AssetSpec]:
    """A spec for every artifact there is now, and for each of `aliases` that an artifact has; reads only.

    Args:
        resource: The repository; environment variables in it are resolved now.
        project: Of the artifacts; the resource's by default.
        type: Of the artifacts, e.g. `model`.
        where: Conditions, as in `Repository.artifacts`.
        aliases: Which aliases become assets of their own.
        **spec: As `headwater_asset_spec`.

    Raises:
        HeadwaterError: The repository cannot be read.
    """
    with resource.process_config_and_initialize_cm() as ready:
        repo = ready.repository()
    found = []
    for info in repo.artifacts(project=project, type=type, where=where, order="name"):
        described = {"description": info.description or None, **spec}
        found.append(headwater_asset_spec(info.name, **described))
        known = [alias for alias in aliases if repo.exists(f"{info.name}:{alias}")]
        found += [headwater_asset_spec(info.name, alias=alias, **described) for alias in known]
    return found
