"""Write the golden files. Run by hand, once per format, never by a test:

    python -m tests.format.generate

A golden file that changes is a change of the format: it needs a new format number, and the old file stays.
"""

from __future__ import annotations

import json
from pathlib import Path

from headwater.model.chunker import CHUNKER, chunk_list_name, encode_chunks, split
from headwater.model.digest import Digest
from headwater.model.entries import EMPTY, Entry, Pin, ReferenceEntry, StoredEntry
from headwater.model.keys import Marker, encode_marker, pack_key
from headwater.model.manifest import Root, build_pages
from headwater.store.packs import PackWriter
from tests.format.samples import CUT, LARGE

GOLDEN = Path(__file__).parent / "golden"
PLAIN_ID = "01JD2VGK3MQ9C4T7W8X5H6N2YZ"
PACKED_ID = "01JD2VGK3MQ9C4T7W8X5H6N2Z0"

FILES: dict[str, bytes] = {
    "README": b"A golden version.\n",
    "bin/run.sh": b"#!/bin/sh\necho golden\n",
    "data/empty": b"",
    "data/large.bin": LARGE,
    "data/ünïcode 😀.txt": "Grüße\n".encode() * 40,
}


def entries() -> list[Entry]:
    """The entries of the golden version: one of each kind."""
    found: list[Entry] = [
        StoredEntry(path, len(data), Digest.of(data), path.endswith(".sh")) for path, data in FILES.items()
    ]
    found += [
        StoredEntry("logs/", 0, EMPTY),
        ReferenceEntry(
            "raw/a.parquet", 1_234_567_890_123, "s3://bucket/a.parquet", Pin(version="3/L4kqtJ", etag='"9b2cf5"')
        ),
        ReferenceEntry("raw/b", None, "https://example.org/b", Pin(modified="2026-11-23T00:00:00Z")),
        ReferenceEntry("raw/c", 0, "gs://bucket/c", Pin(checksum="crc32c:AAAAAA==")),
        ReferenceEntry("raw/d", None, "anything:at all", Pin()),
    ]
    return sorted(found, key=lambda entry: entry.path)


def plain_pack() -> bytes:
    """A pack without compression: its bytes never change."""
    writer = PackWriter(PLAIN_ID)
    for data in (b"one", b"", b"two" * 20):
        writer.add(Digest.of(data), data, compress=False)
    pages = list(build_pages([StoredEntry("one", 3, Digest.of(b"one")), StoredEntry("zero", 0, EMPTY)]))
    root = Root(tuple(ref for ref, _ in pages))
    for ref, data in pages:
        writer.add(ref.name, data, "page", compress=False)
    writer.add(root.digest, root.encode(), "root", compress=False)
    return bytes(writer.finish()[0])


def packed_pack() -> bytes:
    """The golden version in one pack."""
    writer = PackWriter(PACKED_ID)
    for data in FILES.values():
        if data is not LARGE:
            writer.add(Digest.of(data), data)
    chunks = [(Digest.of(chunk), chunk) for chunk in split(LARGE)]
    for name, chunk in chunks:
        writer.add(name, chunk)
    listed = encode_chunks([(name, len(chunk)) for name, chunk in chunks])
    writer.add(chunk_list_name(Digest.of(LARGE)), listed, "chunks")
    pages = list(build_pages(entries()))
    for ref, page in pages:
        writer.add(ref.name, page, "page")
    root = Root(tuple(ref for ref, _ in pages))
    writer.add(root.digest, root.encode(), "root")
    return bytes(writer.finish()[0])


def names() -> dict[str, object]:
    """Every name that readers of the golden version meet."""
    pages = list(build_pages(entries()))
    root = Root(tuple(ref for ref, _ in pages))
    return {
        "root": str(root.digest),
        "root bytes": root.encode().hex(),
        "pages": [str(ref.name) for ref, _ in pages],
        "page bytes": [data.hex() for _, data in pages],
        "files": {path: str(Digest.of(data)) for path, data in FILES.items()},
        "chunk list": str(chunk_list_name(Digest.of(LARGE))),
        "empty root": str(Root().digest),
        "pack key": pack_key(PACKED_ID),
        "marker": encode_marker(Marker(repository="r-1", epoch=3)).decode(),
    }


def main() -> None:
    GOLDEN.mkdir(exist_ok=True)
    cuts = {name: [len(chunk) for chunk in split(data)] for name, data in CUT.items()}
    (GOLDEN / "cuts.json").write_text(json.dumps({"chunker": CHUNKER, "cuts": cuts}, indent=1) + "\n")
    (GOLDEN / "names.json").write_text(json.dumps(names(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (GOLDEN / "plain.pack").write_bytes(plain_pack())
    (GOLDEN / "packed.pack").write_bytes(packed_pack())


if __name__ == "__main__":
    main()
