"""What the catalog knows of a draft that several writers extend. Only catalogs that own a database have this face."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from headwater.ports.facts import Catalog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headwater.model.naming import Name
    from headwater.model.records import Publication, Published, VersionRecord


class Part(NamedTuple):
    """What one writer has handed in."""

    writer: str
    version_id: str
    """A draft of its own, which keeps the bytes until the whole is published."""
    digest: str
    aliases: Sequence[str]
    """Wanted for the whole."""


class Joint(NamedTuple):
    """A draft that several writers extend, at one moment."""

    version: VersionRecord
    """The draft; once published what it was published as, under the same id."""
    expected: int | None
    """How many writers hand in before it publishes itself; None: somebody says when."""
    revision: int
    """Rises with every part."""
    parts: tuple[Part, ...]
    """In the order they came; those of runs that failed have left."""


class JoinCatalog(Protocol):
    """Drafts of a group, by artifact. Every call is one transaction."""

    def open(self, artifact: Name, group: str, draft_id: str | None, expected: int | None) -> Joint | None:
        """The group's joint version of the artifact; if there is none, or it was discarded, `draft_id` becomes it.

        None if there is none and no draft was given.

        Raises:
            ConflictError: Another number of writers is expected.
        """

    def look(self, version_id: str) -> Joint:
        """The joint draft now; VersionNotFoundError."""

    def enter(self, version_id: str, writer: str, part_id: str, revision: int) -> Joint:
        """Hand a part in: the draft `part_id`. A later attempt's part replaces an earlier one's. Idempotent.

        Raises:
            ConflictError: Others have handed in since `revision` (fact `moved`): compare with them first; or the
                writer has handed in other content itself.
            StateError: It was published (fact `published`) or discarded.
        """

    def publish(self, publication: Publication, revision: int) -> Published:
        """Give the draft `publication.version_id` its content, publish it, and let its parts go; once.

        Raises:
            ConflictError: As `VersionCatalog.commit`; or parts came since `revision` (fact `moved`).
            StateError: It was discarded.
        """


class JoiningCatalog(Catalog, Protocol):
    """A catalog with that face."""

    @property
    def joins(self) -> JoinCatalog: ...
