"""An artifact as Airflow's asset: `headwater://project/name`, with the version in each event's `extra`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult

if TYPE_CHECKING:
    from airflow.sdk import Asset

    from headwater import Run, Version

SCHEME = "headwater://"


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """For Airflow: the one spelling of an artifact's URI. Runs while DAG files are parsed, so it asks nobody.

    Raises:
        ValueError: It has no project or no artifact; Airflow shows it as an import error of the DAG file.
    """
    if not uri.netloc or uri.path in ("", "/"):
        raise ValueError(f"{uri.geturl()!r} names no artifact: write headwater://project/artifact")
    if uri.path.count("/") > 1:
        raise ValueError(f"{uri.geturl()!r} is more than an artifact: write headwater://project/artifact")
    return uri._replace(query="", fragment="")


def artifact_asset(name: str = "", *, project: str = "", artifact: str = "", **more: Any) -> Asset:
    """The asset of an artifact. Its name is its URI, as of a plain `Asset("headwater://project/artifact")`.

    Args:
        name: `project/artifact`.
        project: With `artifact`, instead of `name`.
        artifact: See `project`.
        **more: As for `Asset`: `group`, `extra`, `watchers`.

    Raises:
        ValueError: It has no project.
    """
    from airflow.sdk import Asset

    whole = name.removeprefix(SCHEME) or f"{project}/{artifact}"
    return Asset(f"{SCHEME}{whole}", **more)


def watched_asset(
    name: str, *, alias: str | None = None, poll_seconds: float = 30.0, conn_id: str | None = None, **more: Any
) -> Asset:
    """The asset of an artifact whose events come from the repository: a version logged anywhere starts DAGs.

    Do not declare it as an outlet as well: each version would come twice.

    Args:
        name: `project/artifact`.
        alias: Only when this alias moves, e.g. `prod`; otherwise at each new version.
        poll_seconds: How often the feed is read; one small query.
        conn_id: The connection of the repository.
        **more: As for `Asset`.
    """
    from airflow.sdk import AssetWatcher

    from airflow_headwater.triggers import VersionEventTrigger

    bare = name.removeprefix(SCHEME)
    trigger = VersionEventTrigger(bare, alias=alias, poll_seconds=poll_seconds, conn_id=conn_id)
    return artifact_asset(bare, watchers=[AssetWatcher(name=f"headwater {bare}", trigger=trigger)], **more)


def describe(version: Version[Any]) -> dict[str, Any]:
    """What an asset event says of a version; small, and JSON."""
    return {
        "ref": str(version),
        "name": version.name,
        "version": version.number,
        "digest": version.digest,
        "id": version.id,
        "type": version.type,
        "aliases": sorted(version.aliases),
    }


def artifact_of(outlet: Any) -> str | None:
    """`project/artifact` of an outlet that is an artifact's asset."""
    uri = getattr(outlet, "uri", None)
    return uri.removeprefix(SCHEME) if isinstance(uri, str) and uri.startswith(SCHEME) else None


def announce(context: dict[str, Any], run: Run) -> None:
    """Put the versions that this run logged into the events of the task's outlets; asks only if there are such."""
    outlets = {name: outlet for outlet in context["task"].outlets or () if (name := artifact_of(outlet))}
    if not outlets:
        return
    for version in run.logged_artifacts():
        bare = version.name.split("[", 1)[0]
        if bare in outlets and version.state == "published":
            context["outlet_events"][outlets[bare]].extra["headwater"] = describe(version)
