"""Compaction: sparse packs are written anew without their waste, small ones are merged.

What is moved stays readable in its old place until collection takes that, so
readers and writers notice nothing. Interrupted at any point, the next pass goes on.
Something damaged stops nothing: it stays where it is, and is reported.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec

from headwater.errors import ConflictError, HeadwaterError
from headwater.model.digest import Digest
from headwater.upkeep.epochs import caretaker
from headwater.upkeep.liveness import live_sketch
from headwater.upkeep.relocation import relocate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from headwater.home import Home
    from headwater.ports import Progress
    from headwater.ports.care import LivePack
    from headwater.upkeep.liveness import Damaged, Sketch
    from headwater.upkeep.relocation import Moved

SPARSE = 0.60
"""Packs with a smaller share of needed bytes are compacted (kopia calls its own `short` at the same share) …"""
WORTH = 0.02
"""… when all of them together free at least this share of what is stored (borg's second gate)."""
SMALL = 1 << 20
"""Packs under this size are merged …"""
MERGE_FROM = 8
"""… when there are so many of them: merging two or three at every pass would write the same bytes again and again."""
BATCH_BLOBS = 100_000


class Candidate(msgspec.Struct, frozen=True):
    """A pack to compact."""

    pack_id: str
    size: int
    live: int
    """Bytes that standing versions need, about."""
    blobs: int


class Plan(msgspec.Struct, kw_only=True):
    """What compaction would do, and why (not)."""

    packs: list[Candidate] = []
    frees: int = 0
    stored: int = 0
    """Bytes of all packs looked at."""
    why: str = ""
    damaged: list[str] = []
    """Manifests that cannot be read: packs that they name are left alone."""


class Compacted(msgspec.Struct, kw_only=True):
    """What compaction did."""

    packs: int = 0
    new_packs: int = 0
    copied_bytes: int = 0
    frees: int = 0
    """Bytes that collection can take now, about."""
    why: str = ""
    damaged: list[str] = []
    """What was left where it is, for its bytes are not what was recorded: `verify` says whose it is."""


def plan(home: Home, *, min_age_seconds: float = 86_400, progress: Progress | None = None) -> Plan:
    """Find sparse and small packs. Reads every page of every standing version once.

    Memory is 4 to 8 bytes per blob of the repository and some hundred per pack, whatever the sizes.

    Raises:
        StorageError, AccessError
    """
    survey, collector = caretaker(home).survey, caretaker(home).collector
    packs = survey.live_packs(min_age_seconds=min_age_seconds)
    unreadable: Damaged = {}
    needed, blobs = _weigh(home, packs, live_sketch(home, survey.n_blobs(), unreadable, progress))
    found = Plan(stored=sum(pack.size for pack in packs.values()), damaged=_told(unreadable))
    sparse: list[Candidate] = []
    small: list[Candidate] = []
    for number, pack in packs.items():
        live = needed.get(number, 0)
        candidate = Candidate(pack.pack_id, pack.size, live, blobs.get(number, 0))
        if not pack.old or (not live and not collector.pages_in(pack.pack_id)):
            continue  # one that nothing needs is collected as it is
        if unreadable and not unreadable.keys().isdisjoint(collector.pages_in(pack.pack_id)):
            continue  # nobody knows what of it is needed
        if live < SPARSE * pack.size:
            sparse.append(candidate)
        elif pack.size < SMALL:
            small.append(candidate)
    found.frees = sum(c.size - c.live for c in sparse)
    worth = found.frees >= WORTH * found.stored and found.frees > 0
    merge = len(small) + sum(c.size < SMALL for c in sparse) >= MERGE_FROM
    found.packs = [*(sparse if worth else ()), *(small if merge else ())]
    found.why = _why(sparse, small, worth=worth, merge=merge)
    found.frees = found.frees if worth else 0
    return found


def _weigh(home: Home, packs: Mapping[int, LivePack], live: Sketch) -> tuple[dict[int, int], dict[int, int]]:
    """Number of a pack → bytes in it that are needed; and → blobs. Of several copies that in the newest pack counts."""
    needed: dict[int, int] = {}
    blobs: dict[int, int] = {}
    last: tuple[bytes, int, int] | None = None
    for rows in caretaker(home).survey.index():
        for _, pack, _ in rows:
            blobs[pack] = blobs.get(pack, 0) + 1
        for row in live.among(rows):
            name, pack, stored = row
            if pack not in packs:
                continue
            if last is not None and last[0] == name:  # rows come by name: this is a copy in a newer pack
                needed[last[1]] -= last[2]
            needed[pack] = needed.get(pack, 0) + stored
            last = row
    return needed, blobs


def _why(sparse: Sequence[Candidate], small: Sequence[Candidate], *, worth: bool, merge: bool) -> str:
    said = []
    if sparse:
        gate = "" if worth else f", left: together they free less than {WORTH:.0%} of what is stored"
        said.append(f"{len(sparse)} packs under {SPARSE:.0%} needed{gate}")
    if small:
        said.append(f"{len(small)} small packs" + (" to merge" if merge else f", left until there are {MERGE_FROM}"))
    return "; ".join(said)


def compact(home: Home, wanted: Plan, progress: Progress | None = None) -> Compacted:
    """Move what is needed out of the planned packs; collection then condemns them like any other.

    Raises:
        StorageError, AccessError
    """
    packs = home.catalog.packs
    done = Compacted(why=wanted.why, damaged=list(wanted.damaged))
    if not wanted.packs:
        return done
    lease = packs.open_lease(f"{home.actor} compaction")
    try:
        for batch in _batches(sorted(wanted.packs, key=lambda c: c.pack_id)):
            with contextlib.suppress(ConflictError):  # somebody took a pack meanwhile: the next pass looks again
                _compact(home, lease, batch, done)
            if progress:
                progress("compact", done.packs, len(wanted.packs))
    finally:
        with contextlib.suppress(HeadwaterError):  # it lapses by itself
            packs.close_lease(lease)
    return done


def _batches(candidates: Sequence[Candidate]) -> Iterator[list[Candidate]]:
    batch: list[Candidate] = []
    blobs = 0
    for candidate in candidates:
        if batch and blobs + candidate.blobs > BATCH_BLOBS:
            yield batch
            batch, blobs = [], 0
        batch.append(candidate)
        blobs += candidate.blobs
    if batch:
        yield batch


def _compact(home: Home, lease: str, batch: Sequence[Candidate], done: Compacted) -> None:
    moved = relocate(home, lease, [c.pack_id for c in batch])
    done.copied_bytes += moved.copied_bytes
    done.new_packs += moved.new_packs
    done.damaged += [line for line in _told(moved.unreadable | moved.damaged) if line not in done.damaged]
    caretaker(home).collector.repoint([move for candidate in batch for move in _moves(candidate.pack_id, moved)])
    for candidate in batch:
        if candidate.pack_id not in moved.stuck:
            done.packs += 1
            done.frees += candidate.size - candidate.live


def _moves(pack_id: str, moved: Moved) -> Iterator[tuple[str, frozenset[str], list[bytes]]]:
    """Where the pages that rested on a pack rest from now on; but a page that needs something damaged stays."""
    groups: dict[frozenset[str], list[bytes]] = {}
    for page, new in moved.pages[pack_id].items():
        if page not in moved.broken:
            groups.setdefault(new, []).append(page)
    for new, pages in groups.items():
        yield pack_id, new, pages


def _told(damaged: Damaged) -> list[str]:
    return sorted(f"{Digest(name)}: {error}" for name, error in damaged.items())
