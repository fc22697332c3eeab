"""A page: equal entries give equal bytes, and nothing else is ever read from one."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.errors import FormatError, InvalidInputError
from headwater.model.digest import Digest
from headwater.model.entries import EMPTY, Pin, ReferenceEntry, StoredEntry
from headwater.model.pages import decode_page, encode_page
from tests.core.model.entries import manifests, many

FILE = Digest.of(b"file")


@settings(max_examples=30)
@given(manifests.filter(bool))
def test_what_was_encoded_is_decoded(found):
    page = [found[path] for path in sorted(found)]
    assert decode_page(encode_page(page)) == page


@settings(max_examples=30)
@given(manifests.filter(bool), st.randoms())
def test_equal_entries_give_equal_bytes_whatever_the_order_they_came_in(found, random):
    shuffled = list(found.values())
    random.shuffle(shuffled)
    assert encode_page(sorted(shuffled, key=lambda e: e.path)) == encode_page([found[p] for p in sorted(found)])


def test_text_order_is_the_byte_order_of_the_paths():
    paths = ["a", "z", "é", "ﬀ", "😀", "a-b", "a b"]
    page = [StoredEntry(path, 1, FILE) for path in sorted(paths)]
    assert [e.path for e in decode_page(encode_page(page))] == sorted(paths, key=str.encode)


def test_a_decoded_digest_writes_its_public_form():
    (entry,) = decode_page(encode_page([StoredEntry("a", 4, FILE)]))
    assert str(entry.digest) == str(FILE)


def test_unicode_spellings_of_one_name_stay_two_paths():
    page = [StoredEntry("e\u0301", 1, FILE), StoredEntry("\u00e9", 1, FILE)]
    assert decode_page(encode_page(page)) == page


@pytest.mark.parametrize(
    "path",
    ["", "/", "/a", "a//b", "a//", ".", "..", "a/..", "../a", "./a", "a/./b", "a\nb", "a\n", "\na", "a\x00", "a\x7f",
     "a\t", "\ud800", "x" * 4097, "é" * 2049],
)  # fmt: skip
def test_a_path_that_leaves_its_root_or_cannot_be_written_is_refused(path):
    for page in ([path], sorted(["b/c", path]), sorted(["!", path])):
        with pytest.raises(InvalidInputError):
            encode_page([StoredEntry(p, 1, FILE) for p in page])


@pytest.mark.parametrize("path", ["...", "..a", "a..", ".a/.b", "a/...", "x" * 4096, "é" * 2048, "a b", "\u2028"])
def test_an_odd_but_harmless_path_is_kept(path):
    page = [StoredEntry(path, 1, FILE)]
    assert decode_page(encode_page(page)) == page


@pytest.mark.parametrize(
    ("above", "below"), [("a", "a/b"), ("a", "a/b/c"), ("a", "a/"), ("a/", "a/b"), ("a/b", "a/b/c")]
)
def test_a_path_is_not_an_entry_and_a_folder(above, below):
    between = [p for p in ("a-", "a.x", "a b") if above < p < below]
    page = [StoredEntry(p, 0, EMPTY) for p in sorted([above, *between, below])]
    with pytest.raises(InvalidInputError, match="cannot be an entry and hold"):
        encode_page(page)


@pytest.mark.parametrize(
    "page",
    [
        [],
        [StoredEntry("b", 1, FILE), StoredEntry("a", 1, FILE)],
        [StoredEntry("a", 1, FILE), StoredEntry("a", 1, FILE)],
        [StoredEntry("a", -1, FILE)],
        [StoredEntry("a", 2**63, FILE)],
        [StoredEntry("a", 1.0, FILE)],
        [StoredEntry("a", True, FILE)],
        [StoredEntry("a", None, FILE)],
        [StoredEntry("a", 1, FILE[:31])],
        [StoredEntry("a", 1, FILE[:31]), StoredEntry("b", 1, FILE + b"x")],
        [StoredEntry("a", 1, None)],
        [StoredEntry("a", 1, FILE, 2)],
        [StoredEntry("a", 1, FILE, "yes")],
        [StoredEntry(None, 1, FILE)],
        [StoredEntry(b"a", 1, FILE)],
        [StoredEntry("a/", 1, EMPTY)],
        [StoredEntry("a/", 0, FILE)],
        [StoredEntry("a/", 0, EMPTY, True)],
        [ReferenceEntry("a/", 0, "s3://b", Pin())],
        [ReferenceEntry("a", -1, "s3://b", Pin())],
        [ReferenceEntry("a", 1, "", Pin())],
        [ReferenceEntry("a", 1, None, Pin())],
        [ReferenceEntry("a", 1, "x" * 16_385, Pin())],
        [ReferenceEntry("a", 1, "\udc00", Pin())],
        [ReferenceEntry("a", 1, "s3://b", None)],
        [ReferenceEntry("a", 1, "s3://b", Pin(etag=""))],
        [ReferenceEntry("a", 1, "s3://b", Pin(etag=7))],
        [ReferenceEntry("a", 1, "s3://b", Pin(version="v" * 1_025))],
        [("a", 1, FILE)],
    ],
    ids=repr,
)
def test_an_entry_the_format_cannot_hold_is_refused(page):
    with pytest.raises(InvalidInputError):
        encode_page(page)


def test_a_page_that_is_too_long_is_neither_written_nor_read():
    page = many(16_385)
    with pytest.raises(InvalidInputError):
        encode_page(page)
    columns = msgspec.msgpack.decode(encode_page(page[:-1]))
    columns[2] += "\nz"
    columns[3] += b"\x00"
    columns[4].append(0)
    columns[5] += FILE
    with pytest.raises(FormatError):
        decode_page(msgspec.msgpack.encode(columns))


def test_a_newer_format_is_refused_by_name():
    columns = msgspec.msgpack.decode(encode_page(many(1)))
    for newer in ([columns[0], 2, *columns[2:]], [columns[0], 7, {"paths": []}], [columns[0], 2]):
        with pytest.raises(FormatError, match=r"newer Headwater.*upgrade"):
            decode_page(msgspec.msgpack.encode(newer))


def _with(at: int, value: object) -> bytes:
    columns = msgspec.msgpack.decode(encode_page([StoredEntry("a", 1, FILE), ReferenceEntry("b", 2, "s3://b", Pin())]))
    columns[at] = value
    return msgspec.msgpack.encode(columns)


@pytest.mark.parametrize(
    ("at", "value"),
    [(0, "headwater.root"), (1, 0), (1, -1), (2, "a"), (2, "a\nb\nc"), (2, "b\na"), (2, "../a\nb"), (2, "a\n/b"),
     (3, b"\x00\x03"), (3, b"\x00"), (3, b"\x02\x02"), (4, [1]), (4, [None, 1]), (4, [1, -1]), (4, [1, 2**63]),
     (5, b""), (5, b"x" * 33), (6, []), (6, [""]), (7, []), (10, [""])],
)  # fmt: skip
def test_columns_that_do_not_fit_together_are_refused(at, value):
    with pytest.raises(FormatError):
        decode_page(_with(at, value))


def test_other_msgpack_for_the_same_entries_is_refused():
    data = encode_page([StoredEntry("a", 1, FILE)])
    longer = data.replace(b"\xa1a", b"\xd9\x01a")
    assert msgspec.msgpack.decode(longer) == msgspec.msgpack.decode(data)
    with pytest.raises(FormatError, match="canonical"):
        decode_page(longer)


def test_every_bit_flip_and_every_cut_of_a_page_is_refused_or_is_another_page_in_canonical_form():
    data = encode_page([StoredEntry("a", 1, FILE), ReferenceEntry("b", None, "s3://b", Pin(etag="e"))])
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        if not _refused(bytes(flipped)):
            entries = decode_page(bytes(flipped))
            assert entries != decode_page(data)
            assert encode_page(entries) == flipped
    assert all(_refused(data[:end]) for end in range(len(data)))
    assert _refused(data + b"\xc0")


@given(st.one_of(st.binary(max_size=300), st.binary(max_size=60).map(lambda b: encode_page(many(2))[:40] + b)))
def test_arbitrary_bytes_are_refused_and_never_crash(data):
    assert _refused(data)


@pytest.mark.parametrize(
    "data", [b"\xdd\xff\xff\xff\xff", b"\x9b\xdb\xff\xff\xff\xff", b"\x91" * 100_000, b"\xc6\xff\xff\xff\xff"]
)
def test_a_page_that_claims_to_be_huge_or_deep_costs_nothing(data):
    assert _refused(data)


def _refused(data: bytes) -> bool:
    try:
        decode_page(data)
    except FormatError:
        return True
    return False
