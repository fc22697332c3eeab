"""Components for `dg`: `type: dagster_headwater.components.HeadwaterComponent` in a `defs.yaml`."""

from typing import Any

import dagster as dg
from pydantic import Field

from dagster_headwater.io_manager import HeadwaterIOManager
from dagster_headwater.resources import HeadwaterResource
from dagster_headwater.sensors import build_headwater_run_sync_sensor, build_headwater_version_sensor
from dagster_headwater.specs import headwater_asset_spec

__all__ = ["ExternalArtifact", "HeadwaterComponent"]


class ExternalArtifact(dg.Model):
    """An artifact made elsewhere, shown as an external asset."""

    name: str = Field(description="artifact or project/artifact", examples=["raw-images"])
    alias: str | None = Field(default=None, description="What loading it means", examples=["prod"])
    key: str | None = Field(default=None, description="Asset key, components separated by /")
    group_name: str | None = Field(default=None, description="Asset group")
    description: str | None = Field(default=None, description="For people")


class HeadwaterComponent(dg.Component, dg.Model, dg.Resolvable):
    """Headwater in a project: its resource, the IO manager, external artifacts, and the sensors that follow them."""

    url: str | None = Field(default=None, description="The repository", examples=["{{ env.HEADWATER_URL }}"])
    project: str | None = Field(default=None, description="Where artifacts and runs live")
    tracking: str | None = Field(default=None, description="strict or lenient")
    allow_pickle: bool = Field(default=False, description="Whether values no codec knows may be pickled")
    io_manager_key: str = Field(default="io_manager", description="Resource key of the IO manager")
    resource_key: str = Field(default="headwater", description="Resource key of the repository")
    artifacts: list[ExternalArtifact] = Field(default_factory=list, description="Artifacts made elsewhere")
    version_sensor: bool = Field(default=True, description="Report new versions of these artifacts")
    run_sync_sensor: bool = Field(default=True, description="Close runs of steps that died")

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:  # noqa: ARG002
        """Definitions to merge with the project's; opens no repository."""
        given = {"url": self.url, "project": self.project, "tracking": self.tracking}
        headwater = HeadwaterResource(**{name: value for name, value in given.items() if value})
        specs = [self._spec(artifact) for artifact in self.artifacts]
        sensors: list[Any] = []
        if specs and self.version_sensor:
            sensors.append(build_headwater_version_sensor(specs, resource_key=self.resource_key))
        if self.run_sync_sensor:
            sensors.append(build_headwater_run_sync_sensor(resource_key=self.resource_key))
        manager = HeadwaterIOManager(headwater=headwater, allow_pickle=self.allow_pickle)
        resources = {self.resource_key: headwater, self.io_manager_key: manager}
        return dg.Definitions(assets=specs, sensors=sensors, resources=resources)

    def _spec(self, artifact: ExternalArtifact) -> dg.AssetSpec:
        facts = {"group_name": artifact.group_name, "description": artifact.description}
        return headwater_asset_spec(
            artifact.name,
            alias=artifact.alias,
            key=artifact.key.split("/") if artifact.key else None,
            io_manager_key=self.io_manager_key,
            **{name: value for name, value in facts.items() if value},
        )
