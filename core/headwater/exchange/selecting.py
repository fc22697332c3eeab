"""Which versions are meant, by the names people write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.errors import NotFoundError
from headwater.lookup import find_version
from headwater.model.naming import parse_name
from headwater.model.records import Query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headwater.home import Home


def select(home: Home, names: Sequence[str]) -> list[str]:
    """Ids of the versions that `names` mean; `artifact:*` is all of an artifact's versions, no name is everything.

    Raises:
        InvalidInputError: Not a name.
        ArtifactNotFoundError, VersionNotFoundError, NotFoundError: Nothing has that name, or there is nothing at all.
    """
    if not names:
        found = [record.id for record in home.catalog.versions.versions(Query())]
        if not found:
            raise NotFoundError(what="the repository has no versions", where=home.url)
        return found
    ids: list[str] = []
    for name in names:
        ids += _all_of(home, name.removesuffix(":*")) if name.endswith(":*") else [find_version(home, name).id]
    return list(dict.fromkeys(ids))


def _all_of(home: Home, name: str) -> list[str]:
    parsed = parse_name(name).within(home.project)
    home.catalog.versions.artifact(parsed)
    partition = parsed.partition or None
    query = Query(project=parsed.project, artifact=parsed.artifact, partition=partition)
    return [record.id for record in home.catalog.versions.versions(query)]
