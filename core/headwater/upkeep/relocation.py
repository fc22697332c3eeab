"""Moving what standing versions need out of some packs and into new ones. Nothing is taken away here.

Copies are verified on their way, and durable and held by the caller's lease before
anybody points at them. What is damaged stays where it is, with the pages that need
it, and is told. A crash leaves packs that nothing references.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from zlib import crc32

from headwater.errors import ConflictError, IntegrityError, MissingBlobError, NotFoundError
from headwater.model.digest import Digest
from headwater.store.packs import MAX_SIZE, PackWriter, Prepared, decode_blob, new_buffer
from headwater.store.ulids import new_ulid
from headwater.upkeep.epochs import caretaker
from headwater.upkeep.liveness import Damaged, chunks_of, pages_of, purged_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from headwater.home import Home
    from headwater.model.records import Location
    from headwater.store.blobs import Range

_SPARE = 1 << 20
"""Room for what a pack adds to a blob."""
_LOOKUPS = 2000


@dataclass
class Moved:
    """Where to the blobs of some packs have gone."""

    pages: dict[str, dict[bytes, frozenset[str]]] = field(default_factory=dict)
    """Old pack → standing page → the packs that hold now what it had there."""
    holes: set[bytes] = field(default_factory=set)
    """Pages that need something that was left out on purpose."""
    broken: set[bytes] = field(default_factory=set)
    """Pages that need something that is damaged, and so was not copied."""
    unreadable: Damaged = field(default_factory=dict)
    """Pages of which nobody knows what they need: they are in no entry of `pages`."""
    damaged: Damaged = field(default_factory=dict)
    """Blobs that were not copied."""
    stuck: set[str] = field(default_factory=set)
    """Old packs that some page goes on needing, for something is damaged."""
    copied_bytes: int = 0
    new_packs: int = 0


def relocate(home: Home, lease: str, victims: Sequence[str], *, without: frozenset[bytes] = frozenset()) -> Moved:
    """Copy what standing versions need of the victims' blobs into new packs, or find it in other live ones.

    Args:
        home: The repository.
        lease: Holds the new packs, and those found.
        victims: Ids of packs. All their indexes are in memory together: 100,000 blobs take about 20 MB.
        without: Blobs to leave out.

    Raises:
        ConflictError: A pack was collected meanwhile.
        StorageError, AccessError
    """
    collector = caretaker(home).collector
    pages = {victim: collector.pages_in(victim) for victim in victims}
    lies_in: dict[bytes, set[str]] = defaultdict(set)
    for victim in victims:
        for row in home.catalog.packs.rows(victim):
            lies_in[row.name].add(victim)
    moved = Moved()
    needs = _needs(home, {page for some in pages.values() for page in some}, lies_in.keys(), without, moved)
    wanted = sorted(set().union(*needs.values()) if needs else set())
    target = _elsewhere(home, lease, wanted, frozenset(victims))
    target |= _Copier(home, lease, moved).copy([name for name in wanted if name not in target])
    moved.broken = {page for page, names in needs.items() if names & moved.damaged.keys()}
    for victim in victims:
        moved.pages[victim] = {
            page: frozenset(target[name] for name in needs[page] & target.keys() if victim in lies_in[name])
            for page in pages[victim]
            if page in needs
        }
        if moved.broken.union(moved.unreadable).intersection(pages[victim]):
            moved.stuck.add(victim)
    return moved


def _needs(
    home: Home, pages: Iterable[bytes], known: Iterable[bytes], without: frozenset[bytes], moved: Moved
) -> dict[bytes, set[bytes]]:
    """Page → which of the `known` blobs it needs; notes the pages that need one of `without`, and the unreadable."""
    found, known, purged = {}, set(known), purged_names(home)
    for page, small, lists in pages_of(home, pages, moved.unreadable):
        unread: Damaged = {}
        chunks = chunks_of(home, lists - purged - without, unread)
        if unread:
            moved.unreadable[page] = next(iter(unread.values()))
            continue
        needed = {page} | small | lists | set().union(*chunks.values())
        if needed & without:
            moved.holes.add(page)
        found[page] = (needed & known) - without
    return found


def _elsewhere(home: Home, lease: str, names: Sequence[bytes], victims: frozenset[str]) -> dict[bytes, str]:
    """Name → a live pack that is no victim, now held."""
    found: dict[bytes, str] = {}
    for start in range(0, len(names), _LOOKUPS):
        held = home.catalog.packs.hold_blobs(names[start : start + _LOOKUPS], lease)
        found |= {name: pack for name, pack in held.items() if pack not in victims}
    return found


class _Copier:
    """Writes verified copies into new packs: bytes of users apart from what describes them. Says in `moved` what."""

    def __init__(self, home: Home, lease: str, moved: Moved) -> None:
        self._home, self._lease, self._moved = home, lease, moved
        self._open: dict[bool, PackWriter] = {}
        self._buffers = {True: new_buffer(), False: new_buffer()}

    def copy(self, names: Sequence[bytes]) -> dict[bytes, str]:
        """Name → new pack, sealed and held; what is damaged is left out."""
        placed: dict[bytes, str] = {}
        for group in self._plan(names):
            try:
                data = memoryview(self._home.objects.get(group.key, group.start, group.length))
            except NotFoundError:
                data = memoryview(b"")
            for place in group.rows:
                low = place.row.offset - group.start
                try:
                    placed[place.row.name] = self._add(place, data[low : low + place.row.stored])
                except IntegrityError as error:
                    self._moved.damaged[place.row.name] = error
        for is_data in list(self._open):
            self._ship(is_data)
        return placed

    def _plan(self, names: Sequence[bytes]) -> list[Range]:
        try:
            return self._home.blobs.plan(names) if names else []
        except MissingBlobError as error:
            raise ConflictError(what=f"a pack was collected meanwhile: {error}", fix="look again") from error

    def _add(self, place: Location, stored: memoryview) -> str:
        row, is_data = place.row, place.row.kind == "data"
        if not stored and row.stored:
            raise MissingBlobError(digest=str(Digest(row.name)), where=place.key)
        decode_blob(row, stored, place.key)
        pack = self._open.get(is_data)
        if pack is not None and (pack.full or pack.size + row.stored + _SPARE > MAX_SIZE):
            self._ship(is_data)
            pack = None
        if pack is None:
            pack = self._open[is_data] = PackWriter(new_ulid(), self._buffers[is_data])
        pack.add_prepared(row.name, Prepared(row.compression, row.raw, stored, crc32(stored)), row.kind)
        self._moved.copied_bytes += row.stored
        return pack.pack_id

    def _ship(self, is_data: bool) -> None:  # noqa: FBT001  # the key of a dict
        pack = self._open.pop(is_data)
        raw, sealed = pack.finish()
        packs = self._home.catalog.packs
        (key,) = packs.reserve([pack.pack_id], self._lease)
        self._home.objects.put(key, raw)
        packs.seal([sealed], self._lease)
        packs.renew_leases([self._lease])
        self._moved.new_packs += 1
