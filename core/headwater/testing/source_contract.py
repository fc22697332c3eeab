"""What every source must do. Subclass it, give it a source and a world that it looks at.

The world changes the bytes behind the source's back and says how a user would
write their URIs. Flags say what the kind of source cannot do.
"""

from __future__ import annotations

from typing import Protocol

import pytest
from blake3 import blake3

from headwater.errors import HeadwaterError, ReferenceChangedError, ReferenceMissingError
from headwater.model.manifest import Pin
from headwater.model.naming import check_path
from headwater.ports import Found, Source

STRANGE = (
    "sp ace.txt",
    "h#ash.txt",
    "qu?estion=1&b",
    "per%41cent",
    "pl+us",
    "ünï/cödé.csv",
    "日本語",
    "a&b=c;d",
    "tilde~",
    "(b)[c]",
)
"""Names that break sources which quote too much or too little."""


class World(Protocol):
    """Other people's bytes."""

    def put(self, key: str, data: bytes) -> None:
        """Create or overwrite."""

    def delete(self, key: str) -> None:
        """Remove."""

    def uri(self, key: str) -> str:
        """How a user writes it; a key that ends in `/` (or is empty) means all below it."""


class SourceContract:
    """The contract; needs the fixtures `source` and `world`."""

    keeps_versions = False
    """Whether overwritten and deleted bytes can still be had."""
    has_folders = True
    """Whether a URI can mean everything below it."""
    strange = STRANGE

    def test_one_object_is_one_entry_named_by_its_last_part(self, source: Source, world: World) -> None:
        world.put("data/train.csv", b"12345")
        (found,) = source.walk(world.uri("data/train.csv"))
        assert (found.path, found.uri, found.size) == ("train.csv", world.uri("data/train.csv"), 5)
        assert found.pin.strength != "unverified"

    def test_what_was_found_can_be_read(self, source: Source, world: World) -> None:
        data = bytes(range(256)) * 9000
        world.put("big.bin", data)
        (found,) = source.walk(world.uri("big.bin"))
        assert read(source, found) == data

    def test_ranges_can_be_read(self, source: Source, world: World) -> None:
        world.put("a", b"0123456789")
        (found,) = source.walk(world.uri("a"))
        for start, length in ((0, 4), (4, 2), (9, 1), (3, None)):
            end = None if length is None else start + length
            assert b"".join(source.read(found.uri, found.pin, start, length)) == b"0123456789"[start:end]

    def test_an_object_of_no_bytes_is_an_entry(self, source: Source, world: World) -> None:
        world.put("empty", b"")
        (found,) = source.walk(world.uri("empty"))
        assert found.size == 0
        assert read(source, found) == b""

    def test_names_mean_themselves(self, source: Source, world: World) -> None:
        for key in self.strange:
            world.put("strange/" + key, key.encode())
        for key in self.strange:
            (found,) = source.walk(world.uri("strange/" + key))
            assert check_path(found.path) == key.rpartition("/")[2]
            assert read(source, found) == key.encode()

    def test_nothing_there_is_an_error_that_names_it(self, source: Source, world: World) -> None:
        world.put("there", b"x")
        for key in ("nothing", "nothing/"):
            with pytest.raises(ReferenceMissingError) as caught:
                list(source.walk(world.uri(key)))
            assert "nothing" in str(caught.value)

    def test_without_a_pin_nobody_is_asked(self, source: Source, world: World) -> None:
        (found,) = source.walk(world.uri("perhaps/there"), pin=False)
        assert (found.path, found.uri, found.size) == ("there", world.uri("perhaps/there"), None)
        assert found.pin.strength == "unverified"

    def test_a_digest_pin_proves_the_bytes(self, source: Source, world: World) -> None:
        world.put("a", b"some bytes")
        (found,) = source.walk(world.uri("a"), pin="digest")
        assert found.pin.checksum == f"blake3:{blake3(b'some bytes').hexdigest()}"
        assert read(source, found) == b"some bytes"

    def test_a_false_digest_never_ends_well(self, source: Source, world: World) -> None:
        world.put("a", b"some bytes")
        pin = Pin(checksum=f"blake3:{blake3(b'other').hexdigest()}")
        with pytest.raises(ReferenceChangedError):
            b"".join(source.read(world.uri("a"), pin))

    def test_an_unverified_reference_gives_what_is_there(self, source: Source, world: World) -> None:
        world.put("a", b"whatever")
        assert b"".join(source.read(world.uri("a"), Pin())) == b"whatever"

    def test_overwritten_bytes_are_changed_or_as_they_were(self, source: Source, world: World) -> None:
        world.put("a", b"first")
        (found,) = source.walk(world.uri("a"))
        world.put("a", b"second, longer")
        if self.keeps_versions:
            assert read(source, found) == b"first"
        else:
            with pytest.raises(ReferenceChangedError) as caught:
                read(source, found)
            assert caught.value.facts["uri"] == found.uri

    def test_deleted_bytes_are_missing_or_as_they_were(self, source: Source, world: World) -> None:
        world.put("a", b"first")
        (found,) = source.walk(world.uri("a"))
        world.delete("a")
        if self.keeps_versions:
            assert read(source, found) == b"first"
        else:
            with pytest.raises(ReferenceMissingError):
                read(source, found)
        with pytest.raises(ReferenceMissingError):
            list(source.walk(world.uri("a")))

    def test_check_tells_same_changed_missing_and_unverified_apart(self, source: Source, world: World) -> None:
        for key in ("kept", "overwritten", "deleted", "bare"):
            world.put("c/" + key, key.encode())
        pins = {key: next(iter(source.walk(world.uri("c/" + key)))).pin for key in ("kept", "overwritten", "deleted")}
        world.put("c/overwritten", b"other bytes")
        world.delete("c/deleted")
        asked = [(world.uri("c/" + key), pin) for key, pin in pins.items()]
        asked += [(world.uri("c/bare"), Pin()), (world.uri("c/never"), Pin())]
        answers = list(source.check(iter(asked)))
        assert [answer.uri for answer in answers] == [uri for uri, _ in asked]
        old = ("same", "same") if self.keeps_versions else ("changed", "missing")
        assert [answer.outcome for answer in answers] == ["same", *old, "unverified", "missing"]
        assert answers[1].found, "says what is there now"

    def test_check_of_nothing_is_nothing(self, source: Source) -> None:
        assert list(source.check([])) == []

    # -- below a prefix ------------------------------------------------------------
    def test_below_a_prefix_everything_is_found_in_order(self, source: Source, world: World) -> None:
        if not self.has_folders:
            return
        keys = ["b/z", "b/a-b", "b/a/x", "b/a.b", "b/a/y/z", "b/0", "b/empty"]
        for key in keys:
            world.put(key, b"" if key == "b/empty" else key.encode())
        for uri in (world.uri("b/"), world.uri("b/").rstrip("/")):
            found = list(source.walk(uri))
            assert [f.path for f in found] == sorted(key[2:] for key in keys)
            assert all(f.size == (0 if f.path == "empty" else len(f.path) + 2) for f in found)
            assert all(f.pin.strength != "unverified" for f in found)
            assert all(read(source, f) == (b"" if f.path == "empty" else f"b/{f.path}".encode()) for f in found)
            assert [f.uri for f in found] == [world.uri("b/" + f.path) for f in found]

    def test_a_neighbour_with_the_same_beginning_does_not_match(self, source: Source, world: World) -> None:
        if not self.has_folders:
            return
        world.put("data/train/1", b"x")
        world.put("data/train2/1", b"y")
        assert [f.path for f in source.walk(world.uri("data/train"))] == ["1"]

    def test_strange_names_below_a_prefix_are_read_back(self, source: Source, world: World) -> None:
        if not self.has_folders:
            return
        for key in self.strange:
            world.put("strange/" + key, key.encode())
        found = list(source.walk(world.uri("strange/")))
        assert {f.path for f in found} == set(self.strange)
        assert all(read(source, f) == f.path.encode() for f in found)

    def test_many_references_are_checked_at_once(self, source: Source, world: World) -> None:
        if not self.has_folders:
            return
        for n in range(30):
            world.put(f"many/{n:02}", b"%d" % n)
        asked = [(f.uri, f.pin) for f in source.walk(world.uri("many/"))]
        assert {answer.outcome for answer in source.check(asked)} == {"same"}

    def test_every_error_is_ours(self, source: Source, world: World) -> None:
        for wrong in ("nonsense", world.uri("nothing")):
            with pytest.raises(HeadwaterError):
                list(source.walk(wrong))
            with pytest.raises(HeadwaterError):
                list(source.read(wrong, Pin()))


def read(source: Source, found: Found) -> bytes:
    """The pinned bytes."""
    return b"".join(source.read(found.uri, found.pin))
