"""The format outlives the code: golden files are read by Headwater, and by a reader that knows only FORMAT.md."""

from __future__ import annotations

import ast
import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from blake3 import blake3

from headwater.errors import DigestMismatchError, FormatError, HeadwaterError
from headwater.model.chunker import chunk_list_name, decode_chunks, split
from headwater.model.digest import Digest
from headwater.model.entries import ReferenceEntry, StoredEntry
from headwater.model.keys import Marker, decode_marker, parse_pack_key
from headwater.model.manifest import Root, build_pages, decode_page, encode_page
from headwater.store.packs import decode_blob, read_index, scan
from tests.core.model.entries import many
from tests.format import independent
from tests.format.generate import FILES, PACKED_ID, PLAIN_ID, entries, names, plain_pack
from tests.format.samples import CUT, LARGE

GOLDEN = Path(__file__).parent / "golden"
PLAIN = (GOLDEN / "plain.pack").read_bytes()
PACKED = (GOLDEN / "packed.pack").read_bytes()
NAMES = json.loads((GOLDEN / "names.json").read_text(encoding="utf-8"))


def get_from(data):
    return lambda start, length: data[start : start + length]


def blobs(data):
    """Name → bytes, as Headwater reads them by the index."""
    sealed = read_index(get_from(data), len(data))
    return {row.name: decode_blob(row, data[row.offset : row.offset + row.stored], "golden") for row in sealed.rows}


# ---------------------------------------------------------- today's Headwater
def test_names_and_canonical_bytes_are_what_they_were():
    assert names() == NAMES


def test_an_uncompressed_pack_is_written_as_it_was():
    assert plain_pack() == PLAIN


def test_headwater_reads_the_golden_version():
    found = blobs(PACKED)
    assert read_index(get_from(PACKED), len(PACKED)).pack_id == PACKED_ID
    root = Root.decode(found[Digest.parse(NAMES["root"])])
    read = [entry for page in root.pages for entry in decode_page(found[page.name])]
    assert read == entries()
    listed = decode_chunks(found[chunk_list_name(Digest.of(LARGE))])
    assert b"".join(found[name] for name, _ in listed) == LARGE
    assert len(listed) > 2
    for entry in read:
        if isinstance(entry, StoredEntry) and entry.path in FILES and entry.size < 2**20:
            assert found[entry.digest] == FILES[entry.path]


def test_the_index_is_rebuilt_from_the_records():
    for data in (PLAIN, PACKED):
        assert scan(data) == read_index(get_from(data), len(data)).rows


def test_cuts_are_what_they_were():
    golden = json.loads((GOLDEN / "cuts.json").read_text())["cuts"]
    assert {name: [len(chunk) for chunk in split(data)] for name, data in CUT.items()} == golden


def test_key_and_marker_are_read():
    assert parse_pack_key(NAMES["pack key"]) == PACKED_ID
    assert decode_marker(NAMES["marker"].encode()) == Marker(repository="r-1", epoch=3)


# -------------------------------------------------------- the independent reader
def test_the_independent_reader_imports_nothing_of_ours():
    tree = ast.parse(Path(independent.__file__).read_text())
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not any("headwater" in name or name == "msgspec" for name in imported)


def test_the_independent_reader_follows_root_to_pages_to_entries_to_chunks_to_bytes():
    store = independent.Store([PACKED])
    found = {path: rest for path, *rest in store.entries(bytes.fromhex(NAMES["root"][7:]))}
    assert list(found) == [entry.path for entry in entries()]
    for path, data in FILES.items():
        size, kind, name = found[path]
        assert (size, kind) == (len(data), int(path.endswith(".sh")))
        assert store.file(name) == data
    for entry in entries():
        if isinstance(entry, ReferenceEntry):
            pin = entry.pin
            expected = [entry.uri, pin.version, pin.checksum, pin.etag, pin.modified]
            assert found[entry.path] == [entry.size, 2, expected]


def test_the_independent_reader_restores_a_version_as_a_program(tmp_path):
    command = [sys.executable, independent.__file__, NAMES["root"], str(tmp_path / "out"), str(GOLDEN / "packed.pack")]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, env={"PYTHONUTF8": "1"})
    assert "s3://bucket/a.parquet" in printed.stdout
    files = {str(p.relative_to(tmp_path / "out")): p for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert {path: p.read_bytes() for path, p in files.items()} == FILES
    assert files["bin/run.sh"].stat().st_mode & stat.S_IXUSR
    assert (tmp_path / "out" / "logs").is_dir()


def test_the_page_says_how_pages_and_roots_are_encoded():
    for data in (bytes.fromhex(NAMES["root bytes"]), *map(bytes.fromhex, NAMES["page bytes"])):
        assert independent.pack(independent.unpack(data)) == data
    long_page = encode_page(many(2_000))
    assert independent.pack(independent.unpack(long_page)) == long_page


def test_the_page_says_where_pages_end():
    stored = many(25_000)
    pointed = [ReferenceEntry(f"z/{i:06d}", i, "s3://bucket/" + "x" * (i % 900), NO_PIN) for i in range(8_000)]
    found = [*stored, *pointed]
    expected = independent.page_lengths([(e.path, getattr(e, "uri", None)) for e in found])
    assert [ref.n_entries for ref, _ in build_pages(found)] == expected
    assert len(expected) > 5


NO_PIN = entries()[-1].pin


def test_the_page_says_where_files_are_cut():
    for data in (CUT["stream of 'odd', 1,000,001 bytes"], LARGE[:1_200_001], CUT["65,537 zeros"], b"x" * 100_001):
        assert [len(chunk) for chunk in split(data)] == independent.cut_lengths(data)


def test_b3sum_of_a_file_is_its_digest():
    assert NAMES["files"]["data/large.bin"] == "blake3:" + blake3(LARGE).hexdigest()


# ---------------------------------------------------------------------- damage
def _read(data):
    """(names → bytes or None where refused) by the index, or None if the index is refused."""
    try:
        sealed = read_index(get_from(data), len(data))
    except FormatError:
        return None
    found = {}
    for row in sealed.rows:
        try:
            found[row.name] = decode_blob(row, data[row.offset : row.offset + row.stored], "golden")
        except (FormatError, DigestMismatchError):
            found[row.name] = None
    return found


def test_every_single_bit_flip_is_detected_or_harmless():
    whole = blobs(PLAIN)
    harmless = 0
    for bit in range(len(PLAIN) * 8):
        flipped = bytearray(PLAIN)
        flipped[bit // 8] ^= 1 << bit % 8
        found = _read(bytes(flipped))
        wrong = [name for name, raw in (found or {}).items() if raw is not None and raw != whole.get(name)]
        assert not wrong, bit
        assert found is None or sum(raw is None for raw in found.values()) <= 1
        harmless += found == whole
        rebuilt = {row.name: row for row in scan(flipped)}
        assert len(rebuilt) >= len(whole) - 1
        for name, row in rebuilt.items():
            assert decode_blob(row, bytes(flipped[row.offset : row.offset + row.stored]), "scan") == whole[name]
    assert harmless <= 8 * (48 + 56 * len(whole))  # The header and the records, which the index does not need.


def test_bit_flips_in_compressed_blobs_are_detected_or_harmless():
    whole = blobs(PACKED)
    for bit in range(0, len(PACKED) * 8, 1_009):
        flipped = bytearray(PACKED)
        flipped[bit // 8] ^= 1 << bit % 8
        for name, raw in (_read(bytes(flipped)) or {}).items():
            assert raw is None or raw == whole[name]


def test_a_pack_cut_anywhere_is_refused_and_scanned_as_far_as_it_goes():
    rows = read_index(get_from(PLAIN), len(PLAIN)).rows
    for end in range(len(PLAIN)):
        with pytest.raises(FormatError):
            read_index(get_from(PLAIN[:end]), end)
        assert scan(PLAIN[:end]) == tuple(row for row in rows if row.offset + row.stored <= end)


def test_damage_in_the_middle_costs_one_blob():
    rows = read_index(get_from(PACKED), len(PACKED)).rows
    victim = rows[2]
    torn = bytearray(PACKED[: len(PACKED) - 300])
    torn[victim.offset - 30 : victim.offset] = bytes(30)
    assert scan(torn) == tuple(row for row in rows if row != victim)


def test_no_error_of_others_crosses_the_format():
    for data in (b"", b"x", PLAIN[:60], PLAIN[-60:], bytes(200), PLAIN_ID.encode() * 9):
        with pytest.raises(HeadwaterError):
            read_index(get_from(data), len(data))
