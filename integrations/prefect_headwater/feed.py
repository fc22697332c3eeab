"""Headwater's events in Prefect's words: `headwater.artifact-version.published`, `.aliased`, `.unaliased`, `.deleted`.

The resource is the artifact, `headwater://project/name`, so that a trigger may name one or match
`headwater://project/*`. An event's id is derived from what happened: told twice, it is one event.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from headwater.adapter import label

if TYPE_CHECKING:
    from headwater import Repository, Version

PREFIX = "headwater.artifact-version."
KINDS = {
    "version.published": "published",
    "version.deleted": "deleted",
    "alias.set": "aliased",
    "alias.removed": "unaliased",
}
"""Kind in the repository's feed → the last word of the event's name."""
_NAMESPACE = uuid.UUID("0f6c1a5e-7b59-5b0b-9f7c-70726566656d")


def resource_id(name: str) -> str:
    """The resource of an artifact's events."""
    return f"headwater://{name}"


def describe(
    repo: Repository, version: Version[Any], word: str, *, alias: str | None = None, cursor: int | None = None
) -> dict[str, Any]:
    """One event: id, name, resource and payload.

    Args:
        repo: Whose event it is.
        version: The version it is about, published once.
        word: One of the values of `KINDS`.
        alias: Which alias came or went.
        cursor: Where in the feed; an alias may come to the same version twice.
    """
    happened = f"{repo.id}\n{version.id}\n{word}\n{alias or ''}\n{cursor or ''}"
    resource = {
        "prefect.resource.id": resource_id(version.name),
        "prefect.resource.name": label(version.record),
        "headwater.project": version.project,
        "headwater.type": version.type,
        "headwater.version": version.version,
    }
    if alias is not None:
        resource["headwater.alias"] = alias
    return {
        "id": uuid.uuid5(_NAMESPACE, happened),
        "event": PREFIX + word,
        "resource": resource,
        "payload": {
            "ref": f"headwater://{version}",
            "name": version.name,
            "version": version.version,
            "digest": version.digest,
            "type": version.type,
            "alias": alias,
            "aliases": list(version.aliases),
            "tags": list(version.tags),
            "repository": repo.id,
        },
    }
