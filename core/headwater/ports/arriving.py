"""What a catalog is told of versions that come from another repository. Only catalogs that own a database have this."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from headwater.ports.facts import Catalog

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from headwater.model.records import Publication, RunRecord, UseEdge, VersionRecord


class Arrival(NamedTuple):
    """One version that comes from another repository, and the edges that come with it."""

    version: VersionRecord
    """As it is there: its id and facts are kept, its number is not."""
    origin: str
    """The id of the repository it comes from."""
    runs: Sequence[tuple[str, str | None, str]]
    """(run id, role, kind of edge) of the runs that logged it; runs that are not here are left out."""
    sources: Sequence[str]
    """Ids of the versions it derives from; those that are not here are left out."""


class ArrivalCatalog(Protocol):
    """Versions and runs of other repositories, taken over under their own ids. Everything is idempotent."""

    def known(self, version_ids: Collection[str]) -> dict[str, VersionRecord]:
        """Those of these versions that are here, in whatever state."""

    def run(self, run: RunRecord, origin: str, actor: str) -> None:
        """Take a run over. One that still runs there is `lost` here until it is sent again."""

    def version(self, arrival: Arrival, publication: Publication | None, actor: str) -> VersionRecord:
        """Take a version over, under the next number; without a publication as a tombstone, for its lineage only.

        Raises:
            ConflictError: As `VersionCatalog.commit`.
            InvalidInputError: The artifact has another type here.
        """

    def uses(self, edges: Collection[UseEdge]) -> None:
        """Take use edges over; those of runs or versions that are not here are left out."""


class ArrivingCatalog(Catalog, Protocol):
    """A catalog with that face."""

    @property
    def arrivals(self) -> ArrivalCatalog: ...
