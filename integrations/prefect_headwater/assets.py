"""Prefect assets, for steps that ask for them: one asset per artifact, versions as its metadata.

Open-source Prefect has no page for assets; their events are in its feed and may trigger automations.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from prefect.assets import Asset
from prefect.context import AssetContext
from prefect.states import Completed

if TYPE_CHECKING:
    from headwater import Run, RunInfo, Version

MATERIALIZED_BY = "headwater"
SCHEME = "headwater://"
_REFUSED = str.maketrans(dict.fromkeys(" \t\n\x00#?&%\"'<>[]{}|\\^`", "-"))

_log = logging.getLogger("headwater")


def asset_key(version: Version[Any]) -> str:
    """`headwater://project/artifact`, in the characters Prefect allows."""
    return f"{SCHEME}{version.name}".translate(_REFUSED)[:512]


def show(run: Run, versions: Sequence[Version[Any]]) -> None:
    """In a task run: when it ends well, Prefect materialises the assets of these versions."""
    context = AssetContext.get()
    if context is not None:
        with _never_fatal(run):
            _fill(context, run, versions)
            context.update_tracked_assets()


def materialize(versions: Sequence[Version[Any]]) -> None:
    """After the fact: the assets of published versions, by the runs that made them."""
    made: dict[str, tuple[RunInfo, list[Version[Any]]]] = {}
    for version in versions:
        run = version.logged_by()
        if run is not None:
            made.setdefault(run.id, (run, []))[1].append(version)
    for run, its in made.values():
        with _never_fatal(run):
            context = AssetContext()
            _fill(context, run, its)
            context.emit_events(Completed())


def _fill(context: AssetContext, run: RunInfo, versions: Sequence[Version[Any]]) -> None:
    context.materialized_by = MATERIALIZED_BY
    for version in versions:
        key = asset_key(version)
        context.downstream_assets.add(Asset(key=key))
        context.add_asset_metadata(key, {"version": version.version, "digest": version.digest, "run": run.id})
    made = {asset_key(version) for version in versions}
    used = {asset_key(version) for version in run.used_artifacts()} - made
    guessed = {asset for asset in context.upstream_assets if asset.key.startswith(SCHEME)}  # by the `id()` of values
    context.upstream_assets = context.upstream_assets - guessed | {Asset(key=key) for key in used}


@contextmanager
def _never_fatal(run: RunInfo) -> Iterator[None]:
    try:  # Prefect keeps this for itself, and may change it: an asset is never worth a failed task
        yield
    except Exception as error:  # noqa: BLE001
        _log.warning("Prefect's assets could not be told of run %s: %s", run.id, error)
