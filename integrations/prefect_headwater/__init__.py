"""Headwater for Prefect: every task remembers what it used and logged.

Prefect's own "artifacts" (links, tables, markdown on its pages) are something else: annotations of a
run. Headwater's artifacts are versioned bytes with lineage.

    from prefect import flow
    from prefect_headwater import step, track

    @step(log="features", retries=2)
    def featurize(raw: Version[Path]) -> DataFrame: ...
"""

from prefect_headwater.blocks import HeadwaterRepository, HeadwaterStorage
from prefect_headwater.caching import ARTIFACT_INPUTS
from prefect_headwater.flows import track
from prefect_headwater.results import HeadwaterSerializer
from prefect_headwater.settings import HeadwaterSettings
from prefect_headwater.steps import step
from prefect_headwater.tasks import StepTask
from prefect_headwater.together import batch
from prefect_headwater.triggers import EVENT_REF, on_new_version

__all__ = [
    "ARTIFACT_INPUTS",
    "EVENT_REF",
    "HeadwaterRepository",
    "HeadwaterSerializer",
    "HeadwaterSettings",
    "HeadwaterStorage",
    "StepTask",
    "batch",
    "on_new_version",
    "step",
    "track",
]
