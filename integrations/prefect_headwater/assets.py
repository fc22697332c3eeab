"""Prefect assets, for steps that ask for them: one asset per artifact, versions as its metadata.

Open-source Prefect has no page for assets; their events are in its feed and may trigger automations.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from prefect.assets import Asset
from prefect.context import AssetContext

if TYPE_CHECKING:
    from headwater import Run, Version

MATERIALIZED_BY = "headwater"
_REFUSED = str.maketrans(dict.fromkeys(" \t\n\x00#?&%\"'<>[]{}|\\^`", "-"))

_log = logging.getLogger("headwater")


def asset_key(version: Version[Any]) -> str:
    """`headwater://project/artifact`, in the characters Prefect allows."""
    return f"headwater://{version.name}".translate(_REFUSED)[:512]


def show(run: Run, versions: Sequence[Version[Any]]) -> None:
    """Materialise the assets of these versions, with what the run used as their upstream."""
    context = AssetContext.get()
    if context is None:
        return
    try:  # Prefect keeps this for itself, and may change it: an asset is never worth a failed task
        context.materialized_by = MATERIALIZED_BY
        for version in versions:
            key = asset_key(version)
            context.downstream_assets.add(Asset(key=key))
            context.add_asset_metadata(key, {"version": version.version, "digest": version.digest, "run": run.id})
        made = {asset_key(version) for version in versions}
        used = {asset_key(version) for version in run.used_artifacts()} - made
        context.upstream_assets |= {Asset(key=key) for key in used}
        context.update_tracked_assets()
    except Exception as error:  # noqa: BLE001
        _log.warning("Prefect's assets could not be told of run %s: %s", run.id, error)
