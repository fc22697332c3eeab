"""Who holds the bytes: per artifact what only it needs, what it shares, and what it points at elsewhere.

Bytes are counted by packs, which is what clean-up takes: an artifact's own bytes are
those of packs that nobody else needs, so deleting it would free them.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec

from headwater.model.records import Query
from headwater.upkeep.epochs import caretaker

if TYPE_CHECKING:
    from headwater.home import Home


class Share(msgspec.Struct, kw_only=True):
    """One artifact's part, partitions folded; bytes."""

    name: str
    versions: int = 0
    logical: int = 0
    """Of all versions, as if nothing were shared or compressed."""
    stored: int = 0
    """Of packs that only it needs."""
    shared: int = 0
    """Of packs that other artifacts need too."""
    referenced: int | None = 0
    """Of references, which stay elsewhere; None if the size of any is unknown."""


class State(msgspec.Struct, kw_only=True):
    """The packs in one state."""

    packs: int = 0
    bytes: int = 0


class Measured(msgspec.Struct, kw_only=True):
    """Everything counted."""

    packs: dict[str, State]
    shares: list[Share]
    """Largest first."""
    unneeded: int
    """Bytes of live packs that no version needs: collection will take them."""


def measure(home: Home) -> Measured:
    """Count. One statement per artifact and one for the packs; nothing is read from the store.

    Raises:
        StateError: The catalog is a server's.
        StorageError, AccessError
    """
    states: dict[str, State] = {}
    live = 0
    for _, _, state, size in home.catalog.packs.packs():
        if state != "gone":
            known = states.setdefault(state, State())
            known.packs, known.bytes = known.packs + 1, known.bytes + size
            live += size if state == "live" else 0
    shares = _shares(home)
    needed = _attribute(home, shares)
    ordered = sorted(shares.values(), key=lambda s: (-s.stored - s.shared, -s.logical, s.name))
    return Measured(packs=dict(sorted(states.items())), shares=ordered, unneeded=max(0, live - needed))


def _shares(home: Home) -> dict[str, Share]:
    found: dict[str, Share] = {}
    for version in home.catalog.versions.versions(Query()):
        name = f"{version.project}/{version.artifact}"
        share = found.setdefault(name, Share(name=name))
        share.versions += 1
        share.logical += version.stored_size
        if version.referenced_size is None or share.referenced is None:
            share.referenced = None
        else:
            share.referenced += version.referenced_size
    return found


def _attribute(home: Home, shares: dict[str, Share]) -> int:
    """Give each needed pack to those who need it; bytes of all needed packs."""
    holders: dict[str, list[str]] = defaultdict(list)
    sizes: dict[str, int] = {}
    for holder in caretaker(home).survey.holders():
        holders[holder.pack_id].append(holder.artifact)
        sizes[holder.pack_id] = holder.size
    for pack, names in holders.items():
        for name in names:
            share = shares.setdefault(name, Share(name=name))
            if len(names) == 1:
                share.stored += sizes[pack]
            else:
                share.shared += sizes[pack]
    return sum(sizes.values())
