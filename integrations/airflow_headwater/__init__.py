"""Headwater in Airflow 3: what tasks read and make becomes versions, and lineage between them.

User code needs `import headwater` alone; these names are for DAG files. They load when first
touched, so that Airflow can read the provider's description without loading anything.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_headwater.assets import artifact_asset, watched_asset
    from airflow_headwater.decorator import HeadwaterDecoratedOperator, headwater_task
    from airflow_headwater.hook import HeadwaterHook
    from airflow_headwater.log_operators import HeadwaterLogFilesOperator, HeadwaterLogReferencesOperator
    from airflow_headwater.operators import (
        HeadwaterCheckReferencesOperator,
        HeadwaterCleanUpOperator,
        HeadwaterDownloadOperator,
        HeadwaterOperator,
        HeadwaterPromoteOperator,
    )
    from airflow_headwater.sensor import HeadwaterVersionSensor
    from airflow_headwater.triggers import VersionEventTrigger, VersionTrigger
    from airflow_headwater.uses import NewVersions, Use

_HOMES = {
    "artifact_asset": "assets",
    "watched_asset": "assets",
    "HeadwaterDecoratedOperator": "decorator",
    "headwater_task": "decorator",
    "HeadwaterHook": "hook",
    "HeadwaterCheckReferencesOperator": "operators",
    "HeadwaterCleanUpOperator": "operators",
    "HeadwaterDownloadOperator": "operators",
    "HeadwaterLogFilesOperator": "log_operators",
    "HeadwaterLogReferencesOperator": "log_operators",
    "HeadwaterOperator": "operators",
    "HeadwaterPromoteOperator": "operators",
    "HeadwaterVersionSensor": "sensor",
    "NewVersions": "uses",
    "Use": "uses",
    "VersionEventTrigger": "triggers",
    "VersionTrigger": "triggers",
}

__all__ = [
    "HeadwaterCheckReferencesOperator",
    "HeadwaterCleanUpOperator",
    "HeadwaterDecoratedOperator",
    "HeadwaterDownloadOperator",
    "HeadwaterHook",
    "HeadwaterLogFilesOperator",
    "HeadwaterLogReferencesOperator",
    "HeadwaterOperator",
    "HeadwaterPromoteOperator",
    "HeadwaterVersionSensor",
    "NewVersions",
    "Use",
    "VersionEventTrigger",
    "VersionTrigger",
    "artifact_asset",
    "headwater_task",
    "watched_asset",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'airflow_headwater' has no attribute {name!r}")
    return getattr(import_module(f"airflow_headwater.{_HOMES[name]}"), name)
