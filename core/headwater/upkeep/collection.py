"""Garbage collection: one pass of everything that may run beside writers.

    tidy        runs whose lease lapsed end, drafts past their time go
    retire      what no retention rule keeps becomes a tombstone
    condemn     packs that nothing references, nobody holds and that are a day old
    compact     sparse packs are moved out of, small ones merged; what that empties is condemned too
    delete      those condemned a day ago, looked at again; the object, then the row
    orphans     objects that no row knows, a week old
    forget      lapsed leases, page lists of versions that are gone for good

A pass may be interrupted anywhere: whatever state it leaves, the next one goes on
from there. All ages are on the catalog's clock, those of orphans on the store's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from headwater.errors import StateError
from headwater.upkeep import backups, compaction, orphans, retention
from headwater.upkeep.compaction import Compacted
from headwater.upkeep.epochs import Guard, caretaker
from headwater.upkeep.orphans import Orphans
from headwater.upkeep.retention import Retired

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headwater.home import Home
    from headwater.ports import Progress

DAY = 86_400.0
BATCH = 100
"""Objects deleted between two looks at the epoch."""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """How long is waited; seconds."""

    min_age: float = DAY
    """Of a pack before it is condemned."""
    grace: float = DAY
    """Between condemning and deleting."""
    orphan_age: float = orphans.AGE_SECONDS
    compact: bool = True


class Amount(msgspec.Struct, kw_only=True):
    """So many packs, so many bytes."""

    packs: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        """One more."""
        self.packs += 1
        self.bytes += size


class Collected(msgspec.Struct, kw_only=True):
    """What a pass did, or (`dry_run`) would do now."""

    dry_run: bool = False
    lost_runs: int = 0
    discarded_drafts: int = 0
    retired: list[Retired] = []
    compacted: Compacted = msgspec.field(default_factory=Compacted)
    condemned: Amount = msgspec.field(default_factory=Amount)
    deleted: Amount = msgspec.field(default_factory=Amount)
    """Their bytes are free now."""
    waiting: Amount = msgspec.field(default_factory=Amount)
    """Condemned, in their grace."""
    awaiting_backup: Amount = msgspec.field(default_factory=Amount)
    """Of those waiting, what the newest backup still needs: it goes after the next one."""
    orphans: Orphans = msgspec.field(default_factory=Orphans)
    backup: str | None = None
    """The backup that was due and was made."""
    forgotten_rows: int = 0

    @property
    def freed_bytes(self) -> int:
        """Bytes that the store has less now."""
        return self.deleted.bytes + self.orphans.freed_bytes


def collect(
    home: Home, terms: Terms | None = None, *, now: bool = False, progress: Progress | None = None
) -> Collected:
    """One whole pass.

    Args:
        home: The repository.
        terms: How long is waited.
        now: Do not wait at all; only when nobody else has the repository open.
        progress: Told `pages`, `compact` and `packs`, done and total.

    Raises:
        StateError: Another catalog or collector is at work in this store; with `now`, somebody has it open;
            the catalog was restored and not repaired.
        StorageError, AccessError: Nothing is lost: what was begun, the next pass finishes.
    """
    terms = _alone(home) if now else terms or Terms()
    report = Collected()
    guard = Guard(home)
    guard.advance()
    tidy(home, report)
    report.retired = retention.retire(home, retention.overdue(home))
    condemn(home, terms, report)
    if terms.compact:
        compact(home, terms, report, progress)
        condemn(home, terms, report)
    report.backup = backups.make_if_due(home)
    delete(home, guard, terms, report, progress)
    report.orphans = orphans.sweep(home, guard, min_age_seconds=terms.orphan_age)
    report.forgotten_rows = caretaker(home).collector.forget()
    return report


def preview(
    home: Home, terms: Terms | None = None, *, now: bool = False, progress: Progress | None = None
) -> Collected:
    """What a pass would do at this moment, and why; nothing is changed.

    What retention would delete frees its packs only at the passes after that; they are not counted here.

    Raises:
        As `collect`.
    """
    terms = _alone(home) if now else terms or Terms()
    report = Collected(dry_run=True)
    Guard(home).check()
    report.retired = retention.overdue(home)
    if terms.compact:
        wanted = compaction.plan(home, min_age_seconds=terms.min_age, progress=progress)
        report.compacted = Compacted(
            packs=len(wanted.packs), frees=wanted.frees, why=wanted.why, damaged=wanted.damaged
        )
    for _, size in caretaker(home).collector.condemn(min_age_seconds=terms.min_age, dry_run=True):
        report.condemned.add(size)
    _count_waiting(home, terms, report)
    report.orphans, _ = orphans.find(home, min_age_seconds=terms.orphan_age)
    return report


def _alone(home: Home) -> Terms:
    """The terms of whoever is alone."""
    home.leases.close()  # our own hold on bytes is not somebody else's
    others = caretaker(home).survey.others()
    if others:
        raise StateError(
            what=f"others have the repository open: {'; '.join(others[:5])}", where=home.url, others=list(others),
            fix="wait for them, or collect without --now: then nothing is waited for but a day's grace",
        )  # fmt: skip
    return Terms(min_age=0, grace=0)


def tidy(home: Home, report: Collected) -> None:
    """End runs whose lease lapsed, discard drafts past their time."""
    report.lost_runs += len(home.catalog.runs.sweep())
    while discarded := home.catalog.versions.sweep_drafts(home.actor):
        report.discarded_drafts += discarded


def compact(home: Home, terms: Terms, report: Collected, progress: Progress | None = None) -> None:
    """Plan and do what compaction is worth now."""
    wanted = compaction.plan(home, min_age_seconds=terms.min_age, progress=progress)
    report.compacted = compaction.compact(home, wanted, progress)


def condemn(home: Home, terms: Terms, report: Collected) -> None:
    """Condemn what nothing needs."""
    for _, size in caretaker(home).collector.condemn(min_age_seconds=terms.min_age):
        report.condemned.add(size)


def delete(home: Home, guard: Guard, terms: Terms, report: Collected, progress: Progress | None = None) -> None:
    """Delete what was condemned long enough, and what an interrupted pass had begun to delete."""
    collector = caretaker(home).collector
    sizes = {pack_id: size for pack_id, _, _, size in home.catalog.packs.packs("deleting")}
    _erase(home, guard, [(p, key, sizes.get(p, 0)) for p, key in collector.deleting()], report, progress)
    batch: list[tuple[str, str, int]] = []
    before = backups.newest_time(home)
    for pack in collector.recheck(grace_seconds=terms.grace, condemned_before=before):
        batch.append(pack)
        if len(batch) >= BATCH:
            _erase(home, guard, batch, report, progress)
            batch = []
    _erase(home, guard, batch, report, progress)
    _count_waiting(home, terms, report)


def _erase(
    home: Home,
    guard: Guard,
    batch: Iterable[tuple[str, str, int]],
    report: Collected,
    progress: Progress | None,
) -> None:
    some = list(batch)
    for start in range(0, len(some), BATCH):
        slice_ = some[start : start + BATCH]
        guard.hold()
        for _, key, _ in slice_:
            home.objects.delete(key)
        caretaker(home).collector.gone([pack_id for pack_id, _, _ in slice_])
        for _, _, size in slice_:
            report.deleted.add(size)
        if progress:
            progress("packs", report.deleted.packs, None)


def _count_waiting(home: Home, terms: Terms, report: Collected) -> None:
    survey = caretaker(home).survey
    now, backup = survey.now(), backups.newest_time(home)
    for _, size, since in survey.waiting():
        over = now - since >= terms.grace * 1_000_000
        if report.dry_run and over and (backup is None or since <= backup):
            report.deleted.add(size)
        else:
            report.waiting.add(size)
            if over:
                report.awaiting_backup.add(size)
