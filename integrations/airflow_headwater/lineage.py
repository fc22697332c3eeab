"""OpenLineage, where its provider is installed: a task's inputs and outputs as datasets with exact versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_headwater.compat import first_of
from airflow_headwater.identity import attempt_of, task_key
from headwater import NotFoundError, adapter

if TYPE_CHECKING:
    from headwater import Version


def convert_asset(asset: Any, lineage_context: Any) -> Any:  # noqa: ARG001 - OpenLineage's signature
    """The dataset of an artifact's asset."""
    parts = urlsplit(asset.uri)
    return _facet("Dataset")(namespace=f"headwater://{parts.netloc}", name=parts.path.lstrip("/"))


class Facets:
    """Gives operators the methods that OpenLineage's listener asks for."""

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """What the try used and logged."""
        return _lineage_of(task_instance)

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> Any:
        """The same: a try that failed keeps its uses."""
        return _lineage_of(task_instance)


def _lineage_of(ti: Any) -> Any:
    lineage = first_of("airflow.providers.openlineage.extractors:OperatorLineage")
    repo = adapter.default_repository()
    try:
        run = repo.run(adapter.run_id(repo.id, task_key(ti), attempt_of(ti)))
    except NotFoundError:
        return lineage()
    return lineage(
        inputs=[dataset(version) for version in run.used_artifacts()],
        outputs=[dataset(version) for version in run.logged_artifacts() if version.state == "published"],
    )


def dataset(version: Version[Any]) -> Any:
    """A version as a dataset: the artifact is its name, the version its facet."""
    facets = {"version": _facet("DatasetVersionDatasetFacet")(datasetVersion=f"{version.version}@{version.digest}")}
    project, _, artifact = version.name.partition("/")
    return _facet("Dataset")(namespace=f"headwater://{project}", name=artifact, facets=facets)


def _facet(name: str) -> Any:
    here = {
        "Dataset": ("openlineage.client.event_v2", "openlineage.client.run"),
        "DatasetVersionDatasetFacet": (
            "openlineage.client.generated.dataset_version_dataset",
            "openlineage.client.facet_v2.dataset_version_dataset",
        ),
    }[name]
    compat = f"airflow.providers.common.compat.openlineage.facet:{name}"
    return first_of(*(f"{module}:{name}" for module in here), compat)
