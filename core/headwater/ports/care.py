"""What upkeep asks of a catalog, beyond what writers and readers ask. Only embedded catalogs have these faces."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, NamedTuple, Protocol

from headwater.ports.facts import Catalog, CollectorCatalog

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from headwater.model.records import SealedPack


class Holder(NamedTuple):
    """An artifact that needs a pack."""

    artifact: str
    """`project/name`, partitions folded."""
    pack_id: str
    size: int


class LivePack(NamedTuple):
    """A pack that is live."""

    pack_id: str
    size: int
    old: bool
    """As old as was asked for."""


class SurveyCatalog(Protocol):
    """Questions that upkeep asks before it acts; nothing is changed. All stream."""

    def now(self) -> int:
        """Microseconds since 1970 UTC on the catalog's clock."""

    def n_blobs(self) -> int:
        """How many blobs the index has, copies counted."""

    def standing(self) -> Iterator[bytes]:
        """Names of the pages and roots of every version that stands, or that a running run reads; each once."""

    def live_packs(self, *, min_age_seconds: float = 0) -> dict[int, LivePack]:
        """Every live pack under the catalog's own number for it, which rises with age."""

    def index(self) -> Iterator[Sequence[tuple[bytes, int, int]]]:
        """The whole index of blobs in slices: (name, number of the pack, stored bytes), by name and number."""

    def holders(self) -> Iterator[Holder]:
        """Which artifact needs which pack, each pair once, by artifact."""

    def others(self) -> Sequence[str]:
        """Who has the repository open, in words: live leases on bytes, running runs."""

    def in_use(self) -> frozenset[str]:
        """Ids of versions that running runs use."""

    def strangers(self, keys: Collection[str]) -> frozenset[str]:
        """Of these keys, those of no pack that is uploading, live, condemned or deleting."""

    def waiting(self) -> Sequence[tuple[str, int, int]]:
        """(pack id, size, condemned at: microseconds) of condemned packs."""

    def settings(self, prefix: str) -> dict[str, str]:
        """Every setting whose key starts so."""

    def holding(self, blob: bytes) -> Sequence[str]:
        """Ids of the packs, live or condemned, with a copy of this blob."""

    def broken_pages(self) -> Iterator[bytes]:
        """Standing pages and roots that nothing proves, or whose proof names a pack that cannot be read."""


class RepairCatalog(Protocol):
    """Changes that only upkeep makes. They run alone, also in a restored catalog that refuses everybody else."""

    def retire(self, version_id: str, *, actor: str, why: str, spare_aliased: bool = True) -> bool:
        """Delete a version unless a running run uses it; whether it went.

        An alias other than latest saves it too, or (not `spare_aliased`) goes with it.
        """

    def adopt(self, pack: SealedPack, key: str) -> None:
        """This object is there and holds these blobs: the pack is live, its index is this one."""

    def lose(self, pack_id: str) -> None:
        """The object is not there: forget its blobs. What standing pages have elsewhere stays theirs."""

    def reprove(self, page: bytes, packs: Collection[str], *, whole: bool) -> None:
        """What a standing page needs lies in these packs; not `whole`: some of it nowhere, so nobody relies on it."""

    def expunge(self, old: str, moved: Mapping[bytes, Collection[str]], holes: Collection[bytes]) -> str | None:
        """Make a pack `deleting` although it is held, once its pages (all of `moved`) are in others; its key.

        Pages in `holes` are never again proved whole: something of them is gone on purpose. None if somebody has
        come to need the pack meanwhile: look again.
        """

    def put_setting(self, key: str, value: str | None) -> None:
        """Set or remove a setting."""

    def settle_epoch(self, key: str, epoch: str, intents: str) -> None:
        """Set `key` to `epoch` ("number name"), unless it is further on; drop settings under `intents` not above it."""

    def announce(self, kind: str, versions: Collection[str], actor: str, details: Mapping[str, str]) -> None:
        """An event in the history of each of these versions."""

    def dump(self, out: IO[bytes]) -> dict[str, int]:
        """Write everything, as of one moment, to a file; rows by table."""


class CaredForCatalog(Catalog, Protocol):
    """A catalog with the faces that upkeep needs."""

    @property
    def collector(self) -> CollectorCatalog: ...
    @property
    def survey(self) -> SurveyCatalog: ...
    @property
    def repairs(self) -> RepairCatalog: ...
