"""Upkeep that only looks: `verify` holds packs, manifests and catalog against each other.

It changes nothing: it reports, and a person decides. Two directions:

- every pack the catalog calls live is whole, and holds exactly the blobs the catalog says;
- every version that is not deleted can be read: its root, its pages, and a live place for each blob.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from headwater.errors import HeadwaterError, MissingBlobError, NotFoundError
from headwater.model.chunker import MIN_FILE, chunk_list_name, decode_chunks
from headwater.model.digest import Digest
from headwater.model.graph import label
from headwater.model.manifest import StoredEntry
from headwater.model.records import Query
from headwater.store.packs import decode_blob, read_index

if TYPE_CHECKING:
    from headwater.home import Home
    from headwater.model.manifest import PageRef
    from headwater.model.records import BlobRow, VersionRecord
    from headwater.ports import Progress


class Finding(msgspec.Struct, frozen=True):
    """Something that is not as it should be."""

    kind: str
    """One of `missing-pack`, `damaged-pack`, `damaged-blob`, `index-differs`, `missing-blob`, `damaged-manifest`,
    `asked-failed` (the store could not say)."""
    where: str
    """The pack's key, or the version and path."""
    what: str


class Verified(msgspec.Struct, kw_only=True):
    """What was looked at, and what was found."""

    packs: int = 0
    blobs: int = 0
    bytes: int = 0
    versions: int = 0
    entries: int = 0
    findings: list[Finding] = []

    def __bool__(self) -> bool:
        """Whether all is well."""
        return not self.findings


def verify(home: Home, *, sample: float = 1.0, seed: int | None = None, progress: Progress | None = None) -> Verified:
    """Check the repository; see the module for what is compared.

    Args:
        home: The repository.
        sample: Share of the packs to read through, 0 to 1; manifests are always walked whole.
        seed: Of the sample; by default another sample each time.
        progress: Told `packs` and `versions`, done and total.

    Raises:
        StorageError, AccessError: The catalog could not be read. What fails in the store becomes a finding.
    """
    report = Verified()
    _verify_packs(home, report, sample, random.Random(seed), progress)
    _verify_versions(home, report, progress)
    return report


def _verify_packs(home: Home, report: Verified, sample: float, dice: random.Random, progress: Progress | None) -> None:
    live = [pack for state in ("live", "condemned") for pack in home.catalog.packs.packs(state)]
    chosen = [pack for pack in live if sample >= 1 or dice.random() < sample]
    for done, (pack_id, key, state, size) in enumerate(chosen, 1):
        if state == "live" or next(iter(home.catalog.packs.rows(pack_id)), None):  # else it never was uploaded
            report.findings += _check_pack(home, pack_id, key, size, report)
        report.packs += 1
        if progress:
            progress("packs", done, len(chosen))


def _check_pack(home: Home, pack_id: str, key: str, size: int, report: Verified) -> list[Finding]:
    try:
        data = home.objects.get(key)
    except NotFoundError:
        return [Finding("missing-pack", key, "the catalog calls it live, the store does not have it")]
    except HeadwaterError as error:
        return [Finding("asked-failed", key, str(error))]
    if len(data) != size:
        return [Finding("damaged-pack", key, f"{len(data)} bytes long, {size} were written")]
    known = {row.name: row for row in home.catalog.packs.rows(pack_id)}
    found = list(_compare_index(data, known, key))
    for row in known.values():
        report.blobs += 1
        report.bytes += row.raw
        try:
            decode_blob(row, memoryview(data)[row.offset : row.offset + row.stored], key)
        except HeadwaterError as error:
            found.append(Finding("damaged-blob", key, str(error)))
    return found


def _compare_index(data: bytes, known: dict[bytes, BlobRow], key: str) -> Iterator[Finding]:
    try:
        written = {row.name: row for row in read_index(lambda start, n: data[start : start + n], len(data)).rows}
    except HeadwaterError as error:
        yield Finding("damaged-pack", key, str(error))
        return
    strangers = written.keys() ^ known.keys()
    moved = [name for name in written.keys() & known.keys() if written[name].offset != known[name].offset]
    if strangers or moved:
        yield Finding("index-differs", key, f"{len(strangers) + len(moved)} blobs differ between pack and catalog")


def _verify_versions(home: Home, report: Verified, progress: Progress | None) -> None:
    versions = home.catalog.versions.versions(Query(), drafts=True)
    sound: set[bytes] = set()  # pages and roots seen whole: versions share most of them
    for done, version in enumerate(versions, 1):
        report.findings += _check_version(home, version, sound, report)
        report.versions += 1
        if progress:
            progress("versions", done, len(versions))


def _check_version(home: Home, version: VersionRecord, sound: set[bytes], report: Verified) -> list[Finding]:
    name, root = f"{version.project}/{label(version)}", Digest.parse(version.digest)
    report.entries += version.n_entries
    if root in sound:
        return []
    try:
        pages = home.blobs.read_root(root).pages
    except HeadwaterError as error:
        return [Finding("damaged-manifest", name, str(error))]
    found = [finding for page in pages if page.name not in sound for finding in _check_page(home, page, name, sound)]
    if not found:
        sound.add(root)
    return found


def _blobs_of(home: Home, page: PageRef) -> dict[bytes, str]:
    """Every blob of users' bytes below a page, and a path that needs it; what was purged is needed no more."""
    stored = [e for e in home.blobs.read_page(page) if isinstance(e, StoredEntry) and e.size]
    whole: dict[bytes, str] = {e.digest: e.path for e in stored if e.size < MIN_FILE}
    chunked = {bytes(chunk_list_name(e.digest)): e.path for e in stored if e.size >= MIN_FILE}
    whole, chunked = _unpurged(home, whole), _unpurged(home, chunked)
    for list_name, raw in home.blobs.read_many(list(chunked)):
        whole |= {digest: chunked[list_name] for digest, _ in decode_chunks(raw)}
    return whole


def _unpurged(home: Home, names: dict[bytes, str]) -> dict[bytes, str]:
    absent = names.keys() - home.catalog.packs.locate(list(names)).keys() if names else set()
    purged = {name for name in absent if home.catalog.packs.purged(name)}
    return {name: path for name, path in names.items() if name not in purged}


def verify_version(home: Home, version: VersionRecord, *, progress: Progress | None = None) -> Verified:
    """Read every byte that we keep of one version; `packs` stays 0, for they are not read whole.

    Args:
        home: The repository.
        version: Which.
        progress: Told `verify`, bytes done, and how many there are in all.

    Raises:
        StorageError, AccessError: The catalog could not be read. What fails in the store becomes a finding.
    """
    name = f"{version.project}/{label(version)}"
    report = Verified(versions=1, entries=version.n_entries)
    try:
        for page in home.blobs.read_root(Digest.parse(version.digest)).pages:
            report.findings += _read_page(home, page, name, report)
            if progress:
                progress("verify", report.bytes, version.stored_size)
    except HeadwaterError as error:
        report.findings.append(Finding("damaged-manifest", name, str(error)))
    return report


def _read_page(home: Home, page: PageRef, name: str, report: Verified) -> list[Finding]:
    wanted = _blobs_of(home, page)
    try:
        sizes = [len(raw) for _, raw in home.blobs.read_many(list(wanted))]
    except HeadwaterError:  # which ones? ask for each by itself
        return [found for digest, path in wanted.items() for found in _read_blob(home, digest, f"{name}/{path}")]
    report.blobs += len(sizes)
    report.bytes += sum(sizes)
    return []


def _read_blob(home: Home, digest: bytes, where: str) -> Iterator[Finding]:
    try:
        home.blobs.read(digest)
    except MissingBlobError as error:
        yield Finding("missing-blob", where, str(error))
    except HeadwaterError as error:
        yield Finding("damaged-blob", where, str(error))


def _check_page(home: Home, page: PageRef, name: str, sound: set[bytes]) -> list[Finding]:
    try:
        whole = _blobs_of(home, page)
    except HeadwaterError as error:
        return [Finding("damaged-manifest", name, str(error))]
    known = home.catalog.packs.locate(list(whole))
    lost = [
        Finding("missing-blob", f"{name}/{path}", f"{Digest(digest)} is in no live pack")
        for digest, path in whole.items()
        if digest not in known
    ]
    if not lost:
        sound.add(page.name)
    return lost
