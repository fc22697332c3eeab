"""Headwater for Dagster: an IO manager that versions every asset and knows its lineage."""

from dagster_headwater.io_manager import HeadwaterIOManager
from dagster_headwater.naming import (
    HeadwaterInputConfig,
    HeadwaterOutputConfig,
    PartitionedOutput,
    headwater_metadata,
)
from dagster_headwater.resources import HeadwaterResource
from dagster_headwater.sensors import build_headwater_run_sync_sensor, build_headwater_version_sensor
from dagster_headwater.specs import headwater_asset_spec, load_headwater_asset_specs
from dagster_headwater.version import __version__

try:
    from dagster_shared.libraries import DagsterLibraryRegistry
except ImportError:  # older Dagster kept it elsewhere
    from dagster._core.libraries import DagsterLibraryRegistry

DagsterLibraryRegistry.register("dagster-headwater", __version__, is_dagster_package=False)

__all__ = [
    "HeadwaterIOManager",
    "HeadwaterInputConfig",
    "HeadwaterOutputConfig",
    "HeadwaterResource",
    "PartitionedOutput",
    "build_headwater_run_sync_sensor",
    "build_headwater_version_sensor",
    "headwater_asset_spec",
    "headwater_metadata",
    "load_headwater_asset_specs",
]
