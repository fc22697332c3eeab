"""Components for `dg`: `type: dagster_headwater.components.HeadwaterComponent` in a `defs.yaml`."""
