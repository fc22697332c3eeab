"""`on_new_version`: run a deployment when an artifact gets a new version, whoever published it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect.events import DeploymentEventTrigger

from headwater import InvalidInputError
from headwater.adapter import check_alias, current, parse_name
from prefect_headwater.feed import PREFIX, resource_id
from prefect_headwater.settings import settings

EVENT_REF = "{{ event.payload.ref }}"
"""As a parameter of the triggered deployment: the exact version the event is about."""


def on_new_version(
    artifact: str, *, alias: str | None = None, parameters: Mapping[str, Any] | None = None, **options: Any
) -> DeploymentEventTrigger:
    """The trigger to pass to `flow.deploy(triggers=[…])`.

    `headwater forward prefect` brings the repository's events to Prefect; each starts exactly one flow run.

    Args:
        artifact: `project/name` (without a project, the current one), or `project/*` for all of a project.
        alias: Run when this alias comes to a version, instead of when a version is published.
        parameters: Of the flow; use `EVENT_REF` where the version goes.
        **options: Those of Prefect's `DeploymentEventTrigger`.

    Raises:
        InvalidInputError: Not the name of an artifact.
    """
    match: dict[str, str | list[str]] = {"prefect.resource.id": resource_id(_full(artifact))}
    if alias is not None:
        match["headwater.alias"] = check_alias(alias)
    return DeploymentEventTrigger(
        expect={PREFIX + ("published" if alias is None else "aliased")},
        match=match,
        parameters=dict(parameters or {}),
        **options,
    )


def _full(artifact: str) -> str:
    settings()
    if artifact.endswith("/*"):
        return artifact
    parsed = parse_name(artifact)
    if parsed.alias or parsed.digest or parsed.number is not None:
        raise InvalidInputError(what=f"{artifact!r} says which version", fix="name the artifact; alias= says the alias")
    return parsed.within(current().project).bare
