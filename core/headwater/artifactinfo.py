"""A named thing that has versions, described."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headwater.model.naming import Name, check_part, several
from headwater.model.records import Query
from headwater.version import Version

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from headwater.home import Home
    from headwater.model.records import ArtifactRecord, Event


class ArtifactInfo:
    """Facts of one artifact (or one partition); description and tags are edited in place and sent by `save()`."""

    def __init__(self, record: ArtifactRecord, home: Home) -> None:
        self.home = home
        self._adopt(record)

    def _adopt(self, record: ArtifactRecord) -> None:
        self.record = record
        self.description = record.description
        self.tags = list(record.tags)

    @property
    def _bare(self) -> Name:
        r = self.record
        return Name(project=r.project, artifact=r.name, partition=r.partition)

    @property
    def name(self) -> str:
        """`project/artifact[partition]`."""
        return self._bare.bare

    @property
    def type(self) -> str:
        """Fixed by its first version."""
        return self.record.type

    @property
    def created_at(self) -> datetime:
        """When its first version was logged, UTC."""
        return self.record.created_at

    def __repr__(self) -> str:
        return f"<ArtifactInfo {self.name}: {self.record.n_versions} versions>"

    def versions(
        self, *, where: Sequence[str] = (), order: str = "", limit: int | None = None, deleted: bool = False
    ) -> list[Version[Any]]:
        """Its published versions, newest first unless ordered; with `deleted` also the tombstones."""
        r = self.record
        query = Query(
            project=r.project,
            artifact=r.name,
            partition=r.partition,
            where=several(where, "where"),
            order=order,
            limit=limit,
        )
        return [Version(v, self.home) for v in self.home.catalog.versions.versions(query, deleted=deleted)]

    def partitions(self) -> list[ArtifactInfo]:
        """Its partitions by key; empty if it has none."""
        return [ArtifactInfo(record, self.home) for record in self.home.catalog.versions.partitions(self._bare)]

    def history(self) -> list[Event]:
        """Every change to it and its versions, oldest first, with who and when."""
        return self.home.catalog.versions.history(self._bare)

    def save(self) -> None:
        """Send the description and tags if they were changed.

        Raises:
            InvalidInputError: Something that cannot be a tag.
        """
        tags = tuple(sorted({check_part(t, "tag") for t in several(self.tags, "tags")}))
        changes = {"description": self.description, "tags": tags}
        old = {"description": self.record.description, "tags": self.record.tags}
        new = {field: value for field, value in changes.items() if value != old[field]}
        if new:
            self._adopt(self.home.catalog.versions.edit_artifact(self._bare, new, self.home.actor))
