"""Packs: what was put in comes out, proved, or not at all."""

from __future__ import annotations

import os
import struct
import threading
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.errors import DigestMismatchError, FormatError, InvalidInputError
from headwater.model.chunker import chunk_list_name, encode_chunks
from headwater.model.digest import Digest
from headwater.store import compression, packs
from headwater.store.packs import PackWriter, decode_blob, read_index, scan
from headwater.store.ulids import new_ulid

blobs = st.lists(
    st.one_of(st.binary(max_size=200), st.binary(min_size=1, max_size=8).map(lambda b: b * 5_000)), max_size=20
)


def get_from(data, asked=None):
    def get(start, length):
        if asked is not None:
            asked.append((start, length))
        return bytes(data[start : start + length])

    return get


def packed(found, **options):
    writer = PackWriter(new_ulid())
    for raw in found:
        writer.add(Digest.of(raw), raw, **options)
    data, sealed = writer.finish()
    return bytes(data), sealed


def read(data, row):
    return decode_blob(row, data[row.offset : row.offset + row.stored], "here")


@settings(max_examples=60)
@given(blobs, st.booleans())
def test_what_was_put_in_comes_out(found, compress):
    data, sealed = packed(found, compress=compress)
    assert read_index(get_from(data), len(data)) == sealed
    assert scan(data) == sealed.rows
    assert {read(data, row) for row in sealed.rows} == set(found)
    assert sealed.size == len(data)
    assert [row.offset for row in sealed.rows] == sorted(row.offset for row in sealed.rows)


def test_size_tells_what_finish_will_make():
    writer = PackWriter(new_ulid())
    for i in range(50):
        writer.add(Digest.of(b"%d" % i), b"%d" % i)
    expected = writer.size
    data, sealed = writer.finish()
    assert (len(data), sealed.size, writer.n_blobs) == (expected, expected, 50)


def test_a_blob_that_is_there_is_not_added_again():
    writer = PackWriter(new_ulid())
    first, size = writer.add(Digest.of(b"x"), b"x"), writer.size
    assert writer.add(Digest.of(b"x"), b"x") == first
    assert (writer.size, writer.n_blobs) == (size, 1)


def test_any_buffer_is_taken():
    for raw in (bytearray(b"abc" * 99), memoryview(b"abc" * 99), memoryview(b"abcd" * 99).cast("I")):
        writer = PackWriter(new_ulid())
        row = writer.add(Digest.of(bytes(raw)), raw)
        data, _ = writer.finish()
        assert read(bytes(data), row) == bytes(raw)


def test_a_pack_is_full_at_its_target_and_never_over_its_maximum():
    writer = PackWriter(new_ulid())
    rng = os.urandom(2**20)
    count = 0
    while not writer.full:
        writer.add(Digest.of(b"%d" % count), rng)
        count += 1
    assert count == 32
    while writer.size + 2**20 + 200 < packs.MAX_SIZE:
        writer.add(Digest.of(b"%d" % count), rng)
        count += 1
    size = writer.size
    with pytest.raises(InvalidInputError, match="finish"):
        writer.add(Digest.of(b"one more"), rng)
    assert writer.size == size
    data, _ = writer.finish()
    assert len(data) <= packs.MAX_SIZE


def test_a_pack_is_full_with_8192_blobs():
    writer = PackWriter(new_ulid())
    for i in range(8_192):
        assert not writer.full
        writer.add(Digest.of(b"%d" % i), b"%d" % i)
    assert writer.full
    with pytest.raises(InvalidInputError):
        writer.add(Digest.of(b"more"), b"more")
    data, sealed = writer.finish()
    asked: list[tuple[int, int]] = []
    assert read_index(get_from(data, asked), len(data)) == sealed
    assert len(asked) == 2


def test_the_index_of_a_usual_pack_is_one_request():
    data, _ = packed([b"%d" % i for i in range(1_300)])
    asked: list[tuple[int, int]] = []
    read_index(get_from(data, asked), len(data))
    assert len(asked) == 1


@pytest.mark.parametrize("name", [b"", b"short", bytes(33)])
def test_a_name_is_32_bytes(name):
    with pytest.raises(InvalidInputError):
        PackWriter(new_ulid()).add(name, b"x")


def test_a_blob_that_is_too_long_is_refused():
    with pytest.raises(InvalidInputError):
        PackWriter(new_ulid()).add(Digest.of(b""), bytes(packs.MAX_BLOB + 1))


def test_a_pack_needs_a_ulid():
    with pytest.raises(InvalidInputError):
        PackWriter("pack")


# ----------------------------------------------------------------- verification
def test_other_bytes_under_a_name_are_refused():
    writer = PackWriter(new_ulid())
    row = writer.add(Digest.of(b"right"), b"wrong")
    data, _ = writer.finish()
    with pytest.raises(DigestMismatchError, match="here"):
        read(data, row)


def test_a_chunk_list_is_proved_by_its_seal():
    listed = encode_chunks([(Digest.of(b"c"), 1)])
    name = chunk_list_name(Digest.of(b"file"))
    writer = PackWriter(new_ulid())
    row = writer.add(name, listed, "chunks")
    data, _ = writer.finish()
    assert read(data, row) == listed
    with pytest.raises(FormatError):
        decode_blob(row, listed[:-1] + b"x", "here")


@settings(max_examples=60)
@given(st.binary(min_size=1, max_size=8).map(lambda b: b * 100), st.data())
def test_damaged_stored_bytes_are_refused_or_harmless(raw, data):
    pack, sealed = packed([raw])
    (row,) = sealed.rows
    stored = bytearray(pack[row.offset : row.offset + row.stored])
    stored[data.draw(st.integers(0, len(stored) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        assert decode_blob(row, bytes(stored), "here") == raw
    except (FormatError, DigestMismatchError):
        pass


@pytest.mark.parametrize(
    "change", [{"raw": 499}, {"raw": 501}, {"raw": 0}, {"stored": 3}, {"compression": 2}, {"raw": 2**31}]
)
def test_a_row_that_does_not_fit_its_blob_is_refused(change):
    from msgspec.structs import replace

    data, sealed = packed([b"a" * 500])
    (row,) = sealed.rows
    with pytest.raises(FormatError):
        decode_blob(replace(row, **change), data[row.offset : row.offset + row.stored], "here")


def test_a_frame_that_unpacks_to_more_than_recorded_costs_only_what_was_recorded():
    bomb = compression._frame(bytes(40 * 2**20))
    assert len(bomb) < 10_000
    with pytest.raises(FormatError):
        compression.decompress(bomb, 100, "here")


def test_nothing_may_follow_or_be_missing_from_a_frame():
    frame = compression._frame(b"abc" * 100)
    for wrong in (frame + b"x", frame + frame, frame[:-1], b"", b"x" * 20):
        with pytest.raises(FormatError):
            compression.decompress(wrong, 300, "here")


# ------------------------------------------------------------------ compression
def test_what_compresses_is_compressed_and_what_does_not_is_kept():
    noise = os.urandom(300_000)
    _, sealed = packed([b"text " * 60_000, noise, b"tiny", b""])
    assert [row.compression for row in sealed.rows] == [1, 0, 0, 0]
    assert [row.stored == row.raw for row in sealed.rows] == [False, True, True, True]


def test_a_gain_under_five_percent_is_not_worth_it():
    almost_noise = os.urandom(9_700) + bytes(300)
    assert compression.compress(almost_noise) == (0, almost_noise)


def test_a_text_behind_a_noisy_header_is_compressed():
    assert compression.compress(os.urandom(4_096) + b"text " * 60_000)[0] == 1


def test_threads_compress_side_by_side():
    results: list[bool] = []

    def work(seed: int) -> None:
        for i in range(50):
            raw = b"%d-%d " % (seed, i) * 500
            _, stored = compression.compress(raw)
            results.append(compression.decompress(stored, len(raw), "here") == raw)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 200


# ----------------------------------------------------------------------- damage
def test_rows_are_rebuilt_when_the_end_is_lost():
    data, sealed = packed([b"%d" % i * 50 for i in range(100)])
    last = sealed.rows[-1]
    assert scan(data[: last.offset + last.stored]) == sealed.rows
    assert scan(data[: last.offset]) == sealed.rows[:-1]


def test_a_pack_inside_a_blob_does_not_confuse_the_scan():
    inner, _ = packed([b"inner"])
    data, sealed = packed([inner, b"outer"], compress=False)
    assert scan(data) == sealed.rows


def _with_trailer(data, **changes):
    """The pack with other numbers in its trailer, CRC made right again."""
    fields = dict(zip(("id", "format", "n", "length", "crc"), struct.unpack("<26s2xIIII", data[-56:-12]), strict=True))
    fields |= changes
    body = struct.pack("<26s2xIIII", *fields.values())
    return data[:-56] + body + struct.pack("<I", crc32(body)) + data[-8:]


def test_a_newer_pack_is_refused_by_name():
    data, _ = packed([b"x"])
    with pytest.raises(FormatError, match="upgrade headwater"):
        newer = _with_trailer(data, format=2)
        read_index(get_from(newer), len(newer))


@pytest.mark.parametrize(
    "changes",
    [{"n": 2}, {"n": 0}, {"length": 0}, {"length": 2**32 - 1}, {"n": 2**32 - 1}, {"crc": 0}, {"id": b"x" * 26},
     {"id": b"\xff" * 26}, {"format": 0}, {"n": 9_000, "length": 48 * 9_000}],
)  # fmt: skip
def test_a_trailer_that_lies_is_refused(changes):
    data = _with_trailer(packed([b"x"])[0], **changes)
    with pytest.raises(FormatError):
        read_index(get_from(data), len(data))


@pytest.mark.parametrize(
    ("at", "value"),
    [(32, 2**32 - 1), (32, 0), (36, 2**32 - 1), (36, 5_000), (40, 2**32 - 1), (44, 0x0400), (44, 0x10000)],
)
def test_an_index_that_points_elsewhere_is_refused(at, value):
    data = bytearray(packed([b"x" * 10])[0])
    index = len(data) - 56 - 48
    data[index + at : index + at + 4] = struct.pack("<I", value)
    wrong = _with_trailer(bytes(data), crc=crc32(data[index : index + 48]))
    with pytest.raises(FormatError):
        read_index(get_from(wrong), len(wrong))


def test_an_index_out_of_order_is_refused():
    data = bytearray(packed([b"x", b"y"])[0])
    index = len(data) - 56 - 96
    data[index : index + 96] = data[index + 48 : index + 96] + data[index : index + 48]
    wrong = _with_trailer(bytes(data), crc=crc32(data[index : index + 96]))
    with pytest.raises(FormatError, match="order"):
        read_index(get_from(wrong), len(wrong))


def test_a_short_answer_is_refused():
    data, _ = packed([b"x"])
    for cut in (0, 1, 30, 60):
        with pytest.raises(FormatError):
            read_index(lambda start, length, cut=cut: data[start : start + length][: length - cut - 1], len(data))


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_no_pack_and_never_crash(data):
    with pytest.raises(FormatError):
        read_index(get_from(data), len(data))
    scan(data)
    scan(b"\x89HWB" + data)
