"""Purging: one content removed from every version that holds it, at once and for good.

For legal requests. Versions keep their manifests, digests and lineage; where the
content was there is a tombstone that says when, by whom and why, and reading it is
an error that says so. Logging the same content again is refused.

The packs that hold it are written anew without it and deleted without any grace:
a writer who relied on one is told at its commit, and sends what it needs again.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec

from headwater.errors import ConflictError, HeadwaterError, InvalidInputError, NotFoundError
from headwater.model.chunker import chunk_list_name, decode_chunks
from headwater.model.digest import Digest
from headwater.model.keys import purged_key
from headwater.model.records import Query
from headwater.upkeep.epochs import Guard, caretaker
from headwater.upkeep.liveness import chunks_of, pages_of, purged_names
from headwater.upkeep.relocation import relocate

if TYPE_CHECKING:
    from headwater.home import Home
    from headwater.model.records import VersionRecord
    from headwater.ports import Progress

PREFIX = "purged:"
"""Tombstones are settings of the catalog under this and a digest, hex."""
TRIES = 5


class Tombstone(msgspec.Struct, frozen=True, kw_only=True):
    """What remains of a content."""

    digest: str
    at: int
    """Microseconds since 1970 UTC."""
    actor: str
    reason: str


class Purged(msgspec.Struct, kw_only=True):
    """What a purge did."""

    digest: str
    versions: list[str] = []
    """Names of those that held it."""
    packs: int = 0
    """Written anew."""
    freed_bytes: int = 0


def purge(home: Home, digest: str, *, reason: str, progress: Progress | None = None) -> Purged:
    """Remove a file's content. Interrupted, it is done by calling it again.

    Every page of every standing version is read once, to find who holds it and which of its chunks others need.

    Args:
        home: The repository.
        digest: `blake3:…` of the file.
        reason: For the tombstone and the history; must say something.
        progress: Told `packs`, done and total.

    Raises:
        InvalidInputError: No digest, or no reason.
        NotFoundError: No version holds it.
        StorageError, AccessError, StateError
    """
    if not reason.strip():
        raise InvalidInputError(what="a purge needs a reason", fix="it is what people will read instead of the bytes")
    file = Digest.parse(digest)
    chunk_list = bytes(chunk_list_name(file))
    guard = Guard(home)
    guard.check()
    doomed, holding = _find(home, bytes(file), chunk_list)
    report = Purged(digest=str(file), versions=[_label(v) for v in _versions_with(home, holding)])
    before = _tombstone(home, file)
    if not holding and before is None:
        raise NotFoundError(what=f"no version holds {digest}", fix="`headwater artifact ls NAME@VERSION` shows digests")
    guard.advance()
    if before is None:
        _bury(home, file, chunk_list, reason)
        versions = [v.id for v in _versions_with(home, holding)]
        caretaker(home).repairs.announce("content.purged", versions, home.actor, {"digest": digest, "reason": reason})
    for done, pack in enumerate(_packs_with(home, doomed, chunk_list), 1):
        report.freed_bytes += _rewrite(home, guard, pack, doomed)
        report.packs += 1
        if progress:
            progress("packs", done, None)
    return report


def tombstones(home: Home) -> list[Tombstone]:
    """Every content that was purged, oldest first."""
    texts = caretaker(home).survey.settings(PREFIX).values()
    found = {t.digest: t for t in (msgspec.json.decode(text, type=Tombstone) for text in texts)}
    return sorted(found.values(), key=lambda t: t.at)


def _tombstone(home: Home, file: Digest) -> str | None:
    return home.catalog.setting(PREFIX + bytes(file).hex())


def _find(home: Home, file: bytes, chunk_list: bytes) -> tuple[frozenset[bytes], frozenset[bytes]]:
    """The blobs that go, and the pages that hold the file. A chunk that another file needs too stays."""
    chunks: set[bytes] = set()
    with contextlib.suppress(HeadwaterError):
        chunks = {bytes(chunk) for chunk, _ in decode_chunks(home.blobs.read(chunk_list))}
    holding, purged, looked = set(), purged_names(home), {chunk_list}
    for page, small, lists in pages_of(home, caretaker(home).survey.standing()):
        if file in small or chunk_list in lists:
            holding.add(page)
        chunks -= small - {file}
        if chunks:
            others = lists - looked - purged
            looked |= others
            for needed in chunks_of(home, others).values():
                chunks -= needed
    return frozenset(chunks | {file, chunk_list}), frozenset(holding)


def _versions_with(home: Home, pages: frozenset[bytes]) -> list[VersionRecord]:
    found = []
    for version in home.catalog.versions.versions(Query(), drafts=True):
        root = home.blobs.read_root(Digest.parse(version.digest))
        if any(bytes(page.name) in pages for page in root.pages):
            found.append(version)
    return found


def _label(version: VersionRecord) -> str:
    part = f"[{version.partition}]" if version.partition else ""
    number = f"v{version.number}" if version.number is not None else f"draft {version.id}"
    return f"{version.project}/{version.artifact}{part}:{number}"


def _bury(home: Home, file: Digest, chunk_list: bytes, reason: str) -> None:
    stone = Tombstone(digest=str(file), at=caretaker(home).survey.now(), actor=home.actor, reason=reason)
    text = msgspec.json.encode(stone).decode()
    names = (bytes(file).hex(), chunk_list.hex())
    # Beside the packs too: a catalog restored from an older backup must know.
    home.objects.put(purged_key(names[0]), msgspec.json.encode(dict.fromkeys(names, text)))
    for name in names:
        caretaker(home).repairs.put_setting(PREFIX + name, text)


def _packs_with(home: Home, doomed: frozenset[bytes], chunk_list: bytes) -> list[str]:
    """Those with the list of chunks last: an interrupted purge still finds the chunks by it."""
    survey = caretaker(home).survey
    last = set(survey.holding(chunk_list))
    return sorted({pack for name in doomed for pack in survey.holding(name)} - last) + sorted(last)


def _rewrite(home: Home, guard: Guard, pack: str, doomed: frozenset[bytes]) -> int:
    """Move the rest of a pack elsewhere and delete it; bytes freed, less those written anew."""
    catalog = caretaker(home)
    size = {pack_id: size for pack_id, _, _, size in catalog.packs.packs() if pack_id == pack}.get(pack, 0)
    lease = catalog.packs.open_lease(f"{home.actor} purge")
    try:
        for _ in range(TRIES):
            moved = relocate(home, lease, [pack], without=doomed)
            if moved.unreadable:
                raise next(iter(moved.unreadable.values()))
            # What is damaged goes too: it could not be read, and may not keep what has to go.
            key = catalog.repairs.expunge(pack, moved.pages[pack], moved.holes | moved.broken)
            if key is not None:
                guard.hold()
                home.objects.delete(key)
                catalog.collector.gone([pack])
                return size - moved.copied_bytes
    finally:
        with contextlib.suppress(HeadwaterError):
            catalog.packs.close_lease(lease)
    raise ConflictError(what=f"versions with pack {pack} are being logged all the time", fix="purge again")
