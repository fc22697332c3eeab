"""Chunks: joined they are the file, and a change costs its surroundings."""

from __future__ import annotations

import io
import mmap
import random
import subprocess
import sys
import threading
import time

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.errors import FormatError, InvalidInputError
from headwater.model import chunker
from headwater.model.chunker import MAX_CHUNK, MIN_CHUNK, chunk_list_name, decode_chunks, encode_chunks, split
from headwater.model.digest import Digest
from tests.format.samples import lines, stream

RANDOM = stream("chunker tests", 12 * 2**20)


def new_bytes(old: bytes, new: bytes) -> int:
    """How many bytes of `new` lie in chunks that `old` does not have."""
    known = {Digest.of(chunk) for chunk in split(old)}
    return sum(len(chunk) for chunk in split(new) if Digest.of(chunk) not in known)


@settings(max_examples=12)
@given(st.integers(0, 6 * 2**20), st.integers(0, 3 * 2**20), st.integers(1, 3 * 2**20))
def test_chunks_joined_are_the_input_and_a_stream_is_cut_like_a_buffer(size, start, piece):
    data = memoryview(RANDOM)[start : start + size]
    whole = [bytes(chunk) for chunk in split(data)]
    assert b"".join(whole) == data
    reader = io.BytesIO(data)
    assert [bytes(chunk) for chunk in split(lambda n: reader.read(min(n, piece)))] == whole
    assert all(MIN_CHUNK <= len(chunk) <= MAX_CHUNK for chunk in whole[:-1])


@pytest.mark.parametrize("data", [bytes(9 * 2**20), b"ab" * 2**22, lines(400_000)], ids=["zeros", "pairs", "lines"])
def test_monotonous_streams_are_cut_like_buffers(data):
    reader = io.BytesIO(data)
    assert [len(c) for c in split(reader.read)] == [len(c) for c in split(data)]


@pytest.mark.parametrize("size", [0, 1, MIN_CHUNK, MIN_CHUNK + 1, 4 * 2**20, 4 * 2**20 + 1, 5 * 2**20])
def test_lengths_around_the_limits_are_cut_whole(size):
    assert b"".join(split(RANDOM[:size])) == RANDOM[:size]
    assert b"".join(split(io.BytesIO(RANDOM[:size]).read)) == RANDOM[:size]


def test_any_buffer_is_cut_alike(tmp_path):
    expected = [len(c) for c in split(RANDOM)]
    (tmp_path / "f").write_bytes(RANDOM)
    with (tmp_path / "f").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert [len(c) for c in split(mapped)] == expected
    assert [len(c) for c in split(bytearray(RANDOM))] == expected
    assert [len(c) for c in split(memoryview(RANDOM).cast("I"))] == expected


def test_five_bytes_inserted_into_a_large_file_cost_two_mebibytes_at_most():
    for at in (0, 1, 5_000_000, 11_000_003):
        assert new_bytes(RANDOM, RANDOM[:at] + b"12345" + RANDOM[at:]) <= 2 * 2**20


def test_a_deletion_costs_its_surroundings():
    assert new_bytes(RANDOM, RANDOM[:4_000_000] + RANDOM[4_300_000:]) <= 2 * 2**20


def test_an_append_costs_its_own_size_and_one_chunk():
    assert new_bytes(RANDOM[:-500_000], RANDOM) <= 500_000 + 2 * MAX_CHUNK


def test_rows_inserted_into_a_table_cost_their_surroundings():
    random.seed(1)
    rows = [b"%d,%r,user%d\n" % (i, random.random(), random.randrange(10**5)) for i in range(200_000)]
    table = b"".join(rows)
    rows[80_000:80_000] = [b"new,%d\n" % i for i in range(500)]
    assert new_bytes(table, b"".join(rows)) <= 2**20


def test_chunks_average_what_the_format_says():
    sizes = [len(chunk) for chunk in split(RANDOM)]
    assert 200 * 1024 < sum(sizes) / len(sizes) < 450 * 1024


def test_a_stream_holds_one_block(monkeypatch):
    asked: list[int] = []
    reader = io.BytesIO(RANDOM)

    def read(n: int) -> bytes:
        asked.append(n)
        return reader.read(n)

    chunks = split(read)
    next(chunks)
    assert sum(asked) <= 4 * 2**20
    assert sum(map(len, chunks)) > 0


def test_other_threads_run_while_a_cut_is_sought():
    zeros = bytes(2**20)
    ticks = 0
    stop = threading.Event()

    def cut() -> None:
        while not stop.is_set():
            for _ in split(zeros):
                pass

    worker = threading.Thread(target=cut)
    worker.start()
    end = time.monotonic() + 0.2
    while time.monotonic() < end:
        ticks += 1
    stop.set()
    worker.join()
    assert ticks > 1_000


def test_the_compiled_chunker_is_in_use():
    assert not chunker._algorithm().__module__.startswith("pyfastcdc.py")


def test_the_slow_fallback_cuts_alike_and_says_that_it_is_slow():
    program = (
        "import sys, warnings; sys.modules['pyfastcdc.cy'] = None\n"
        "from headwater.model.chunker import split\n"
        "from tests.format.samples import stream\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    print([len(c) for c in split(stream('chunker tests', 400_000))])\n"
        "    list(split(b'again'))\n"
        "print([str(w.message) for w in caught])\n"
    )
    path = [p for p in sys.path if p]
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}\n{program}"]
    cuts, warned = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.splitlines()
    assert cuts == str([len(c) for c in split(RANDOM[:400_000])])
    assert warned.count("compiled part") == 1


# ------------------------------------------------------------------ chunk lists
chunk_lists = st.lists(
    st.tuples(st.binary(min_size=32, max_size=32).map(Digest), st.integers(1, MAX_CHUNK)), min_size=1
)


@given(chunk_lists)
def test_a_chunk_list_is_read_as_it_was_written(chunks):
    assert decode_chunks(encode_chunks(chunks)) == chunks


@pytest.mark.parametrize(
    "chunks", [[], [(Digest.of(b""), 0)], [(Digest.of(b""), MAX_CHUNK + 1)], [(Digest.of(b"")[:31], 5)]]
)
def test_a_chunk_list_the_format_cannot_hold_is_refused(chunks):
    with pytest.raises(InvalidInputError):
        encode_chunks(chunks)


def test_the_name_of_a_chunk_list_depends_on_the_file_and_differs_from_its_digest():
    one, two = Digest.of(b"1"), Digest.of(b"2")
    assert len({one, two, chunk_list_name(one), chunk_list_name(two)}) == 4


@settings(max_examples=50)
@given(chunk_lists, st.data())
def test_a_damaged_chunk_list_is_refused(chunks, data):
    good = bytearray(encode_chunks(chunks))
    at = data.draw(st.integers(0, len(good) - 1))
    with pytest.raises(FormatError):
        decode_chunks(bytes(good[:at]))
    good[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(FormatError):
        decode_chunks(bytes(good))


def _sealed(value: object) -> bytes:
    body = msgspec.msgpack.encode(value)
    return body + Digest.of(body)


@pytest.mark.parametrize(
    "value",
    [None, [], ["headwater.chunks", 1, "x", b"", []], ["headwater.chunks", 1, "x", b"n" * 31, [1]],
     ["headwater.chunks", 1, "x", b"n" * 32, [0]], ["headwater.chunks", 1, "x", b"n" * 32, [2**40]],
     ["headwater.chunks", 1, "x", b"n" * 32, [-1]], ["headwater.page", 1, "x", b"n" * 32, [1]]],
)  # fmt: skip
def test_a_sealed_list_that_is_wrong_is_refused(value):
    with pytest.raises(FormatError):
        decode_chunks(_sealed(value))


def test_a_newer_chunk_list_is_refused_by_name_and_another_chunker_is_welcome():
    with pytest.raises(FormatError, match="newer Headwater"):
        decode_chunks(_sealed(["headwater.chunks", 2, {}]))
    name = Digest.of(b"")
    assert decode_chunks(_sealed(["headwater.chunks", 1, "another/cut", bytes(name), [3_000_000]])) == [
        (name, 3_000_000)
    ]


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_no_chunk_list(data):
    for candidate in (data, data + Digest.of(data)):
        with pytest.raises(FormatError):
            decode_chunks(candidate)
