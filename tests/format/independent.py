"""A reader of stores written from docs/FORMAT.md alone: it imports nothing of Headwater.

    python tests/format/independent.py DIGEST TARGET PACK...

writes the stored files of a version and prints its references. The second half
says where pages end and files are cut, as FORMAT.md says it, slowly.
"""

from __future__ import annotations

import hashlib
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from blake3 import blake3

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAGIC = bytes.fromhex("89485750 0d0a1a0a")
CHUNKER = b"fastcdc2020/64k/256k/1024k/nc1"


def digest(data: bytes) -> bytes:
    return blake3(data).digest()


# ------------------------------------------------------------------ MessagePack
def unpack(data: bytes) -> Any:
    """One MessagePack value that fills `data`: nil, int, str, bin, array."""
    value, end = _value(data, 0)
    assert end == len(data), "something follows the value"
    return value


def _value(data: bytes, at: int) -> tuple[Any, int]:
    tag = data[at]
    at += 1
    if tag < 0x80:
        return tag, at
    if tag == 0xC0:
        return None, at
    if 0x90 <= tag < 0xA0:
        return _array(data, at, tag & 15)
    if 0xA0 <= tag < 0xC0:
        return data[at : at + (tag & 31)].decode(), at + (tag & 31)
    return _wide(data, tag, at)


def _wide(data: bytes, tag: int, at: int) -> tuple[Any, int]:
    width = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD9: 1, 0xDA: 2, 0xDB: 4, 0xDC: 2, 0xDD: 4}
    number = int.from_bytes(data[at : at + width[tag]], "big")
    at += width[tag]
    if tag in (0xCC, 0xCD, 0xCE, 0xCF):
        return number, at
    if tag in (0xDC, 0xDD):
        return _array(data, at, number)
    raw = data[at : at + number]
    return (raw if tag in (0xC4, 0xC5, 0xC6) else raw.decode()), at + number


def _array(data: bytes, at: int, length: int) -> tuple[list[Any], int]:
    found = []
    for _ in range(length):
        value, at = _value(data, at)
        found.append(value)
    return found, at


def pack(value: Any) -> bytes:
    """The canonical MessagePack of nil, ints, str, bytes and lists."""
    if value is None:
        return b"\xc0"
    if isinstance(value, int):
        return bytes([value]) if value < 128 else _sized((0xCC, 0xCD, 0xCE, 0xCF), (1, 2, 4, 8), value)
    if isinstance(value, str):
        raw = value.encode()
        return (bytes([0xA0 + len(raw)]) if len(raw) < 32 else _sized((0xD9, 0xDA, 0xDB), (1, 2, 4), len(raw))) + raw
    if isinstance(value, bytes):
        return _sized((0xC4, 0xC5, 0xC6), (1, 2, 4), len(value)) + value
    head = bytes([0x90 + len(value)]) if len(value) < 16 else _sized((0xDC, 0xDD), (2, 4), len(value))
    return head + b"".join(map(pack, value))


def _sized(tags: tuple[int, ...], widths: tuple[int, ...], number: int) -> bytes:
    tag, width = next((t, w) for t, w in zip(tags, widths, strict=True) if number < 1 << 8 * w)
    return bytes([tag]) + number.to_bytes(width, "big")


# ------------------------------------------------------------------------ packs
def read_pack(data: bytes) -> dict[bytes, tuple[int, bytes]]:
    """Name → (kind, blob), by the index; everything that FORMAT.md lets one check is checked."""
    assert data[:8] == MAGIC
    assert data[-8:] == MAGIC
    version, pack_id, crc = struct.unpack("<I26s6xI", data[8:48])
    assert (version, crc) == (1, zlib.crc32(data[:44]))
    again, version, n_blobs, length, index_crc, crc = struct.unpack("<26s2xIIIII", data[-56:-8])
    assert (again, version, crc) == (pack_id, 1, zlib.crc32(data[-56:-12]))
    index = data[-56 - length : -56]
    assert len(index) == 48 * n_blobs
    assert zlib.crc32(index) == index_crc
    found = {}
    for name, offset, stored, raw, compression, kind in struct.iter_unpack("<32sIIIBB2x", index):
        body = data[offset : offset + stored]
        record = data[offset - 56 : offset]
        head = struct.pack("<4sBBHII32sI", b"\x89HWB", kind, compression, 0, stored, raw, name, zlib.crc32(body))
        assert record == head + struct.pack("<I", zlib.crc32(head))
        blob = zstd.decompress(body) if compression else body
        assert len(blob) == raw
        assert kind == 1 or digest(blob) == name
        found[name] = (kind, blob)
    assert list(found) == sorted(found)
    return found


class Store:
    """All blobs of some packs."""

    def __init__(self, packs: list[bytes]) -> None:
        self.blobs = {name: blob for data in packs for name, (_, blob) in read_pack(data).items()}

    def entries(self, root: bytes) -> Iterator[tuple[str, int | None, int, Any]]:
        """(path, size, kind, digest | [URI, version, checksum, etag, modified]) of a version."""
        magic, version, pages = unpack(self.blobs[root])
        assert (magic, version) == ("headwater.root", 1)
        for name, first, last, n_entries, stored_size, referenced_size, n_references in pages:
            found = list(self._page(self.blobs[name]))
            assert digest(self.blobs[name]) == name
            assert (found[0][0], found[-1][0], len(found)) == (first, last, n_entries)
            assert sum(size or 0 for _, size, kind, _ in found if kind < 2) == stored_size
            pointed = [size for _, size, kind, _ in found if kind == 2]
            assert len(pointed) == n_references
            assert referenced_size == (None if None in pointed else sum(size or 0 for size in pointed))
            yield from found

    @staticmethod
    def _page(data: bytes) -> Iterator[tuple[str, int | None, int, Any]]:
        magic, version, paths, kinds, sizes, digests, *references = unpack(data)
        assert (magic, version) == ("headwater.page", 1)
        n_stored = n_references = 0
        for path, kind, size in zip(paths.split("\n"), kinds, sizes, strict=True):
            if kind == 2:
                yield path, size, kind, [column[n_references] for column in references]
                n_references += 1
            else:
                yield path, size, kind, digests[32 * n_stored : 32 * n_stored + 32]
                n_stored += 1

    def file(self, name: bytes) -> bytes:
        """The bytes of a file by its digest, proved."""
        data = self.blobs[name] if name in self.blobs else b"".join(self._chunks(name))
        assert digest(data) == name
        return data

    def _chunks(self, name: bytes) -> Iterator[bytes]:
        listed = self.blobs[digest(b"headwater.chunks\n" + CHUNKER + b"\n" + name)]
        assert digest(listed[:-32]) == listed[-32:]
        magic, version, chunker, names, sizes = unpack(listed[:-32])
        assert (magic, version, chunker) == ("headwater.chunks", 1, CHUNKER.decode())
        for at, size in enumerate(sizes):
            chunk = self.blobs[names[32 * at : 32 * at + 32]]
            assert len(chunk) == size
            yield chunk


# ----------------------------------------------------------------- where to cut
def page_lengths(entries: list[tuple[str, str | None]]) -> list[int]:
    """How many entries each page has, of (path, URI of a reference) in order."""
    lengths, n, weight = [], 0, 0
    for path, uri in entries:
        raw = path.encode()
        n += 1
        weight += 48 + len(raw) + (0 if uri is None else 128 + len(uri.encode()))
        boundary = zlib.crc32(raw) % 16 == 0 and int.from_bytes(digest(raw)[:4], "little") < 2**32 // 192
        if weight >= 2 << 20 or n == 16_384 or (n >= 1_024 and boundary):
            lengths.append(n)
            n = weight = 0
    return lengths + [n] * (n > 0)


GEAR = [int.from_bytes(hashlib.md5(bytes([i]) * 64, usedforsecurity=False).digest()[:8], "big") for i in range(256)]


def cut_lengths(data: bytes) -> list[int]:
    """The lengths of the chunks of a file."""
    lengths, at = [], 0
    while at < len(data):
        lengths.append(_cut(data[at : at + 1_048_577]))
        at += lengths[-1]
    return lengths


def _cut(rest: bytes) -> int:
    if len(rest) <= 65_536:
        return len(rest)
    n = min(len(rest), 1_048_576)
    h = 0
    for p in range(65_536, n // 2 * 2):
        h = (2 * h + GEAR[rest[p]]) & 0xFFFF_FFFF_FFFF_FFFF
        if h & (0x0000D91707537000 if p < 262_144 else 0x0000D90703537000) == 0:
            return p
    return n


def main(root: str, target: str, *packs: str) -> None:
    store = Store([Path(name).read_bytes() for name in packs])
    for path, _, kind, found in store.entries(bytes.fromhex(root.removeprefix("blake3:"))):
        place = Path(target, path)
        if kind == 2:
            print(path, *found)
        elif path.endswith("/"):
            place.mkdir(parents=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(store.file(found))
            place.chmod(0o755 if kind else 0o644)


if __name__ == "__main__":
    main(*sys.argv[1:])
