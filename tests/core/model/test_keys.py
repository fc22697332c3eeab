"""Keys of objects: written, read, and nothing else taken for one."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import FormatError, InvalidInputError
from headwater.model.keys import (
    PACKS,
    Marker,
    check_ulid,
    decode_marker,
    encode_marker,
    format_ulid,
    pack_key,
    parse_pack_key,
)
from headwater.store.ulids import new_ulid

moments = st.integers(0, 2**48 - 1)
entropy = st.binary(min_size=10, max_size=10)
ulids = st.builds(format_ulid, moments, entropy)


@given(ulids)
def test_a_key_leads_back_to_its_pack_and_is_fit_for_every_store(ulid):
    key = pack_key(ulid)
    assert parse_pack_key(key) == ulid
    assert key.startswith(PACKS)
    assert re.fullmatch(r"[a-z0-9/._-]+", key)


@given(moments, entropy, moments, entropy)
def test_ulids_sort_by_time(first, a, second, b):
    one, two = format_ulid(first, a), format_ulid(second, b)
    assert (one < two) == ((first, a) < (second, b))


@pytest.mark.parametrize(
    "key",
    ["", "packs/", "packs/yz/", "headwater.json", "packs/zz/01jd2vgk3mq9c4t7w8x5h6n2yz.pack",
     "packs/yz/01JD2VGK3MQ9C4T7W8X5H6N2YZ.pack", "packs/yz/01jd2vgk3mq9c4t7w8x5h6n2yz.pack.tmp",
     "x/packs/yz/01jd2vgk3mq9c4t7w8x5h6n2yz.pack", "packs/yz/81jd2vgk3mq9c4t7w8x5h6n2yz.pack",
     "packs/yz/01jd2vgk3mq9c4t7w8x5h6niyz.pack", "packs/yz/01jd2vgk3mq9c4t7w8x5h6n2yz.pack\n"],
)  # fmt: skip
def test_another_key_is_no_pack(key):
    assert parse_pack_key(key) is None


@given(st.text(max_size=60))
def test_arbitrary_text_never_breaks_the_parser(text):
    found = parse_pack_key(text)
    assert found is None or pack_key(found) == text


@pytest.mark.parametrize(
    "text", ["", "x", "01jd2vgk3mq9c4t7w8x5h6n2yz", "81JD2VGK3MQ9C4T7W8X5H6N2YZ", None, "../../etc"]
)
def test_what_is_no_ulid_makes_no_key(text):
    with pytest.raises(InvalidInputError):
        pack_key(text)


@pytest.mark.parametrize(("ms", "random"), [(-1, bytes(10)), (2**48, bytes(10)), (0, bytes(9))])
def test_what_does_not_fit_a_ulid_is_refused(ms, random):
    with pytest.raises(InvalidInputError):
        format_ulid(ms, random)


def test_new_ulids_differ():
    made = {new_ulid() for _ in range(1_000)}
    assert len(made) == 1_000
    assert all(check_ulid(ulid) for ulid in made)


def test_a_marker_is_read_as_it_was_written():
    marker = Marker(repository="r", epoch=7)
    assert decode_marker(encode_marker(marker)) == marker


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"\xff", b'{"repository": 1}', b"[" * 100_000, b'{"format":1,"repo']
)
def test_a_damaged_marker_is_refused(data):
    with pytest.raises(FormatError):
        decode_marker(data)


def test_a_newer_store_is_refused_by_name():
    with pytest.raises(FormatError, match="upgrade headwater"):
        decode_marker(b'{"format": 2, "whose": "unknown"}')
