"""Orphans: objects of a store that no row of the catalog knows, or only as gone.

A late writer or a restored catalog leaves them. They go after seven days, on the
store's own clock. The sweep fails closed: an error while listing, or more to take
than a tenth of all bytes, and nothing is taken.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from headwater.model.keys import MARKER, PACKS, parse_pack_key
from headwater.upkeep.epochs import Guard, caretaker

if TYPE_CHECKING:
    from headwater.home import Home
    from headwater.ports import ObjectInfo

AGE_SECONDS = 7 * 86_400.0
MOST = 0.10
"""Share of the bytes that a sweep takes at most …"""
FEW = 1 << 20
"""… unless it is less than this anyway: a tenth of a small repository is nothing."""
BATCH = 500


class Orphans(msgspec.Struct, kw_only=True):
    """What no row knows."""

    objects: int = 0
    bytes: int = 0
    young: int = 0
    """Not old enough: a writer may be about to record them."""
    taken: int = 0
    freed_bytes: int = 0
    why: str = ""
    """Why nothing was taken."""


def find(home: Home, *, min_age_seconds: float = AGE_SECONDS) -> tuple[Orphans, list[ObjectInfo]]:
    """List the store and look every pack up. ⌈objects/1000⌉ requests; memory for the orphans only.

    Raises:
        StorageError, AccessError: The listing failed; what was seen until then means nothing.
    """
    found, report, total = [], Orphans(), 0
    listing = home.objects.list(PACKS)
    while batch := list(islice(listing, BATCH)):
        total += sum(info.size for info in batch)
        known = {info.key: info for info in batch if parse_pack_key(info.key)}
        found += [known[key] for key in caretaker(home).survey.strangers(known.keys())]
    now = _store_time(home)
    old = [info for info in found if (now - info.modified_at) >= timedelta(seconds=min_age_seconds)] if now else []
    report.young = len(found) - len(old)
    report.objects, report.bytes = len(old), sum(info.size for info in old)
    if report.bytes > max(FEW, MOST * total):
        share = report.bytes / total
        report.why = f"{share:.0%} of the store's bytes have no row: that looks like a wrong catalog, nothing was taken"
    return report, old


def _store_time(home: Home) -> datetime | None:
    """The store's clock: when the marker was written, which this pass has just done."""
    return next((info.modified_at for info in home.objects.list(MARKER) if info.key == MARKER), None)


def sweep(home: Home, guard: Guard, *, min_age_seconds: float = AGE_SECONDS) -> Orphans:
    """Take old orphans: a row that says `gone` first, so that a late writer of that key is refused, then the object.

    Raises:
        StateError: Another collector has begun.
        StorageError, AccessError
    """
    report, old = find(home, min_age_seconds=min_age_seconds)
    if report.why:
        return report
    catalog = caretaker(home)
    for start in range(0, len(old), BATCH):
        batch = old[start : start + BATCH]
        guard.hold()
        catalog.collector.bury([info.key for info in batch])
        unknown = catalog.survey.strangers([info.key for info in batch])
        for info in batch:
            if info.key in unknown:
                home.objects.delete(info.key)
                report.taken += 1
                report.freed_bytes += info.size
    return report
