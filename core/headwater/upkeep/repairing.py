"""Repair: what lies in the packs is asked of the packs, and the catalog's index made to say so.

- A pack whose index is not what the catalog says is indexed anew, from its end or by a scan of its records.
- A pack that is there and unknown is adopted: its blobs count as present, until collection finds that nothing
  needs them.
- A pack that the catalog calls live and that is not there is given up: its blobs are sent again by whoever logs
  them next, and versions that need them become whole again with that.
- Pages that rested on what was lost are proved anew from what is there.

Names, versions and lineage are not in packs: those come from a backup.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from headwater.errors import FormatError, HeadwaterError, IntegrityError, NotFoundError
from headwater.model.keys import PACKS, PURGED, check_ulid, pack_key, parse_pack_key
from headwater.model.records import BlobRow, SealedPack
from headwater.store.packs import decode_blob, read_index, scan
from headwater.upkeep.epochs import Guard, caretaker
from headwater.upkeep.liveness import chunks_of, pages_of, purged_names
from headwater.upkeep.verifying import Finding

if TYPE_CHECKING:
    from headwater.home import Home
    from headwater.ports import ObjectInfo, ObjectStore, Progress

RESTORED = "restored"
"""The catalog's setting that keeps writers out until this has run."""
_LOOKUPS = 2000


class Repaired(msgspec.Struct, kw_only=True):
    """What was found and mended."""

    packs: int = 0
    """Looked at."""
    reindexed: int = 0
    adopted: int = 0
    lost: int = 0
    pages: int = 0
    """Proved anew."""
    restored: str | None = None
    """The backup that the catalog came from and that it now has caught up with."""
    findings: list[Finding] = []
    """What could not be mended."""

    def __bool__(self) -> bool:
        """Whether everything is well now."""
        return not self.findings


def repair(home: Home, *, full: bool = False, progress: Progress | None = None) -> Repaired:
    """Make the catalog know its packs. May run again at any time; nothing is taken from the store.

    Args:
        home: The repository. Writers may be at work, except after a restore, when they are refused.
        full: Read every byte, and leave damaged blobs out of the index, so that they are sent again.
        progress: Told `packs`, done, total unknown.

    Raises:
        StorageError, AccessError: The store could not be listed or read: what is not seen is not given up.
        StateError: The catalog is a server's.
    """
    report = Repaired()
    seen: set[str] = set()
    known = {pack_id: (state, size) for pack_id, _, state, size in home.catalog.packs.packs()}
    restored = home.catalog.setting(RESTORED)
    for info in home.objects.list(PACKS):
        pack_id = parse_pack_key(info.key)
        if pack_id is None:
            continue
        seen.add(pack_id)
        state, size = known.get(pack_id, (None, 0))
        if state not in ("deleting", "gone") and (state != "uploading" or restored):
            _look(home, info, pack_id, None if state is None else size, report, full=full)
        report.packs += 1
        if progress:
            progress("packs", report.packs, None)
    for pack_id, (state, _) in known.items():
        if pack_id not in seen and (state in ("live", "condemned") or (restored and state == "uploading")):
            _give_up(home, pack_id, state, report)
    _remember_purges(home)
    _prove(home, report)
    Guard(home).take_over()
    caretaker(home).repairs.put_setting(RESTORED, None)
    report.restored = restored
    return report


def _look(home: Home, info: ObjectInfo, pack_id: str, known: int | None, report: Repaired, *, full: bool) -> None:
    try:
        sealed = _read(home, info, pack_id, report, full=full)
    except NotFoundError:  # collected this very moment
        return
    if sealed is None:
        return
    rows = {(r.name, r.offset, r.stored, r.raw, r.compression, r.kind) for r in home.catalog.packs.rows(pack_id)}
    found = {(bytes(r.name), r.offset, r.stored, r.raw, r.compression, r.kind) for r in sealed.rows}
    if known is None:
        report.adopted += 1
    elif rows != found or known != info.size:
        report.reindexed += 1
    else:
        return
    caretaker(home).repairs.adopt(sealed, info.key)


def _read(home: Home, info: ObjectInfo, pack_id: str, report: Repaired, *, full: bool) -> SealedPack | None:
    """The pack's index, from its end, else by a scan; None if it is of no use."""
    objects, key = home.objects, info.key
    try:
        sealed = _indexed(objects, info, pack_id)
    except FormatError as error:
        report.findings.append(Finding("damaged-pack", key, f"{error}: its records were scanned instead"))
        sealed = SealedPack(pack_id=check_ulid(pack_id), size=info.size, rows=scan(objects.get(key)))
        full = True
    if full:
        data = memoryview(objects.get(key))
        sealed = msgspec.structs.replace(sealed, rows=tuple(_sound(sealed, data, key, report)))
    return sealed if sealed.rows else None


def _indexed(objects: ObjectStore, info: ObjectInfo, pack_id: str) -> SealedPack:
    sealed = read_index(lambda start, length: objects.get(info.key, start, length), info.size)
    if sealed.pack_id != pack_id:
        raise FormatError(what=f"it says that it is pack {sealed.pack_id}", where=info.key)
    return sealed


def _sound(sealed: SealedPack, data: memoryview, key: str, report: Repaired) -> Iterator[BlobRow]:
    for row in sealed.rows:
        try:
            decode_blob(row, data[row.offset : row.offset + row.stored], key)
        except IntegrityError as error:
            report.findings.append(Finding("damaged-blob", key, str(error)))
        else:
            yield row


def _give_up(home: Home, pack_id: str, state: str | None, report: Repaired) -> None:
    key = pack_key(pack_id)
    needed = caretaker(home).collector.pages_in(pack_id)
    caretaker(home).repairs.lose(pack_id)
    report.lost += 1
    if needed and state != "uploading":
        report.findings.append(Finding("missing-pack", key, f"{len(needed)} pages had something in it"))


def _prove(home: Home, report: Repaired) -> None:
    """Point the pages that rested on lost packs at what is there."""
    broken = caretaker(home).survey.broken_pages()
    while batch := list(islice(broken, 64)):
        for page in batch:
            try:
                whole = _prove_page(home, page)
            except HeadwaterError as error:
                report.findings.append(Finding("damaged-manifest", page.hex(), str(error)))
                continue
            report.pages += 1
            if not whole:
                report.findings.append(Finding("missing-blob", page.hex(), "a page needs blobs that are in no pack"))


def _prove_page(home: Home, page: bytes) -> bool:
    purged = purged_names(home)
    ((_, small, lists),) = pages_of(home, [page])
    present = {name for name in lists if name in home.catalog.packs.locate([name])}
    needed = list({page} | small | lists | set().union(*chunks_of(home, present).values()))
    packs: set[str] = set()
    missing: set[bytes] = set()
    for start in range(0, len(needed), _LOOKUPS):
        some = needed[start : start + _LOOKUPS]
        found = home.catalog.packs.locate(some)
        packs |= {place.pack_id for place in found.values()}
        missing |= set(some) - found.keys()
    caretaker(home).repairs.reprove(page, packs, whole=not missing)
    return not missing - purged


def _remember_purges(home: Home) -> None:
    """What was purged after the backup was made stays purged."""
    for info in home.objects.list(PURGED):
        for name, text in msgspec.json.decode(home.objects.get(info.key), type=dict[str, str]).items():
            caretaker(home).repairs.put_setting(f"purged:{name}", text)
