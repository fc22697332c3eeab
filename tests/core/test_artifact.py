"""The builder of the next version: what it takes, what it refuses, and when."""

from __future__ import annotations

import gc
import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.artifact import Artifact
from headwater.errors import (
    ConflictError,
    EntryNotFoundError,
    InvalidInputError,
    NotFoundError,
    ReferenceMissingError,
    StorageError,
)
from headwater.model.entries import Pin, ReferenceEntry
from headwater.ports import Found
from headwater.sources import SOURCES
from tests.core.worlds import world, write


def plan(artifact):
    return [(entry.path, entry.size) for entry in artifact.entries()]


def references(artifact):
    return [item.content for item in artifact.items(None)]


@pytest.mark.parametrize("name", ["", "a:v1", "a@blake3:" + "0" * 64, "a/b/c", "a b ", "a\n"])
def test_names_that_cannot_be_are_refused_at_once(name):
    with pytest.raises(InvalidInputError):
        Artifact(name)


def test_metadata_is_copied_and_must_be_json():
    given_ = {"a": [1, 2]}
    artifact = Artifact("t", metadata=given_)
    given_["a"].append(3)
    assert artifact.metadata == {"a": [1, 2]}
    with pytest.raises(InvalidInputError):
        Artifact("t", metadata={"a": object()})


def test_files_take_their_own_name_unless_told(tmp_path):
    write(tmp_path, {"x.txt": b"123"})
    artifact = Artifact("t").add_file(tmp_path / "x.txt").add_file(tmp_path / "x.txt", "in/y.txt")
    assert plan(artifact) == [("in/y.txt", 3), ("x.txt", 3)]


def test_what_is_not_there_is_refused_at_once(tmp_path):
    write(tmp_path, {"f": b"", "d/": b""})
    with pytest.raises(NotFoundError):
        Artifact("t").add_file(tmp_path / "none")
    with pytest.raises(NotFoundError):
        Artifact("t").add_dir(tmp_path / "none")
    with pytest.raises(InvalidInputError):
        Artifact("t").add_dir(tmp_path / "f")
    with pytest.raises(InvalidInputError):
        Artifact("t").add_file(tmp_path / "d")


BAD_PATHS = ["", "/a", "../a", "a/../b", "a//b", "./a", "a/", "a\nb", "a\x00", "\udcff", "x" * 5000]


@pytest.mark.parametrize("path", BAD_PATHS)
def test_paths_that_cannot_be_are_refused_at_once(tmp_path, path):
    write(tmp_path, {"f": b""})
    artifact = Artifact("t")
    for add in (
        lambda: artifact.add_bytes(b"", path),
        lambda: artifact.add_file(tmp_path / "f", path),
        lambda: artifact.new_file(path).__enter__(),
    ):
        with pytest.raises(InvalidInputError):
            add()
    assert plan(artifact) == []


def test_the_same_path_needs_the_same_content_unless_overwritten(tmp_path):
    write(tmp_path, {"same": b"one", "other": b"two"})
    artifact = Artifact("t").add_bytes(b"one", "p").add_file(tmp_path / "same", "p")
    with pytest.raises(ConflictError, match="'p'"):
        artifact.add_file(tmp_path / "other", "p")
    artifact.add_file(tmp_path / "other", "p", overwrite=True)
    assert [e.source for e in artifact.entries()] == [str(tmp_path / "other")]


def test_a_file_and_a_directory_cannot_share_a_name():
    with pytest.raises(ConflictError):
        Artifact("t").add_bytes(b"", "a").add_bytes(b"", "a/b")
    with pytest.raises(ConflictError):
        Artifact("t").add_bytes(b"", "a/b/c").add_bytes(b"", "a", overwrite=True)
    artifact = Artifact("t").add_bytes(b"", "a/b").remove("a")
    assert plan(artifact.add_bytes(b"", "a")) == [("a", 0)]


def test_a_directory_is_looked_at_when_it_is_logged(tmp_path):
    write(tmp_path / "d", {"a": b"1"})
    artifact = Artifact("t").add_dir(tmp_path / "d", "sub")
    write(tmp_path / "d", {"b": b"22"})
    assert plan(artifact) == [("sub/a", 1), ("sub/b", 2)]


def test_bytes_may_come_in_any_form(tmp_path):
    data = os.urandom(3_000_000)
    here = world(tmp_path / "r")
    artifact = Artifact("t").add_bytes(data[:5], "b").add_bytes(bytearray(data[:5]), "ba")
    artifact.add_bytes(memoryview(data), "large").add_bytes(io.BytesIO(data), "stream")
    artifact.add_bytes(io.BytesIO(b""), "none")

    class Slow(io.RawIOBase):
        left = data[:10_000]

        def read(self, n=-1):
            piece, self.left = self.left[:7], self.left[7:]
            return piece

    artifact.add_bytes(Slow(), "slow")
    content = here.content(here.log(artifact))
    assert content == {"b": data[:5], "ba": data[:5], "large": data, "none": b"", "slow": data[:10_000], "stream": data}


def test_large_bytes_stay_in_memory_up_to_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("headwater.contents.KEPT", 5 << 20)
    here, many = world(tmp_path / "r"), [os.urandom(2 << 20) for _ in range(4)]
    artifact = Artifact("t")
    for n in range(2):
        artifact.add_bytes(many[n], f"{n}")
    assert artifact.contents._spool is None
    assert artifact.contents._single["0"] is many[0]
    for n in range(2, 4):
        artifact.add_bytes(many[n], f"{n}")
    assert len(list(Path(artifact.contents.spool().folder).iterdir())) == 2
    assert here.content(here.log(artifact)) == {f"{n}": data for n, data in enumerate(many)}
    monkeypatch.setattr("headwater.contents.KEPT", 1 << 20)
    alone = Artifact("t").add_bytes(many[0], "large")
    assert alone.contents._single["large"] is many[0]
    assert isinstance(alone.add_bytes(many[1], "second").contents._single["second"], str)
    assert isinstance(Artifact("t").add_bytes(bytearray(many[0]), "copy").contents._single["copy"], str)


@pytest.mark.parametrize("size", [1000, 2 << 20])
def test_what_becomes_of_a_buffer_after_it_was_added_does_not_matter(tmp_path, size):
    here, data = world(tmp_path / "r"), os.urandom(size)
    buffer = bytearray(data)
    artifact = Artifact("t").add_bytes(buffer, "a").add_bytes(memoryview(buffer), "b")
    buffer[:] = bytes(size)
    assert here.content(here.log(artifact)) == {"a": data, "b": data}


@given(st.lists(st.integers(0, 700_000), max_size=5))
def test_a_stream_in_any_pieces_is_taken_whole(sizes):
    rest = [bytes([n + 1]) * size for n, size in enumerate(sizes) if size]
    want = sum(map(len, rest))
    stream = io.BytesIO()
    stream.read = lambda n: rest.pop(0) if rest else b""
    assert plan(Artifact("t").add_bytes(stream, "s")) == [("s", want)]


@pytest.mark.parametrize("data", ["text", 5, None, io.StringIO("text")])
def test_text_is_not_bytes(data):
    with pytest.raises(InvalidInputError):
        Artifact("t").add_bytes(data, "x")


def test_new_files_are_written_and_removed_with_the_artifact():
    artifact = Artifact("t")
    with artifact.new_file("notes.txt") as file:
        file.write("häh\n")
    with artifact.new_file("raw", "wb") as file:
        file.write(b"\x00\x01")
    assert plan(artifact) == [("notes.txt", 5), ("raw", 2)]
    sources = [entry.source for entry in artifact.entries()]
    assert all(map(os.path.exists, sources))
    copy = artifact.described(name="u")
    del artifact
    gc.collect()
    assert all(map(os.path.exists, sources))
    del copy
    gc.collect()
    assert not any(map(os.path.exists, sources))


def test_a_new_file_whose_block_fails_is_not_added():
    artifact = Artifact("t")
    with pytest.raises(ZeroDivisionError), artifact.new_file("x") as file:
        file.write("half")
        raise ZeroDivisionError
    assert plan(artifact) == []
    with pytest.raises(InvalidInputError), artifact.new_file("x", "r"):
        pass


def test_removing_takes_out_files_directories_and_parts_of_them(tmp_path):
    write(tmp_path, {"d/a": b"", "d/b/c": b"", "d/b/d": b"", "d/b0": b"", "d/b-": b""})
    artifact = Artifact("t").add_dir(tmp_path / "d").add_bytes(b"x", "b/e")
    assert [p for p, _ in plan(artifact.described())] == ["a", "b-", "b/c", "b/d", "b/e", "b0"]
    artifact.remove("b")
    assert [p for p, _ in plan(artifact)] == ["a", "b-", "b0"]
    artifact.add_bytes(b"y", "b/c")
    assert [p for p, _ in plan(artifact)] == ["a", "b-", "b/c", "b0"]
    with pytest.raises(EntryNotFoundError):
        artifact.remove("none")
    artifact.remove("a").remove("b-").remove("b/c").remove("b0")
    assert plan(artifact) == []


def test_a_copy_with_other_facts_has_its_own_content():
    artifact = Artifact("t", "dataset", description="d", metadata={"k": 1}).add_bytes(b"x", "a")
    copy = artifact.described(name="u", metadata={"k": 2})
    copy.add_bytes(b"y", "b")
    assert (copy.name, copy.type, copy.description, copy.metadata) == ("u", "dataset", "d", {"k": 2})
    assert (plan(artifact), plan(copy)) == ([("a", 1)], [("a", 1), ("b", 1)])


def test_adding_forgets_how_a_value_was_written():
    artifact = Artifact("t")
    artifact.codec = {"name": "json"}
    assert artifact.described(description="x").codec == {"name": "json"}
    assert artifact.add_bytes(b"", "a").codec is None


# -------------------------------------------------------------------- references
def test_a_file_reference_is_asked_at_once(tmp_path):
    write(tmp_path, {"d/a": b"1", "d/b": b"22"})
    artifact = Artifact("t").add_reference((tmp_path / "d").as_uri(), "data")
    artifact.add_reference((tmp_path / "d/a").as_uri(), "one")
    assert plan(artifact) == [("data/a", 1), ("data/b", 2), ("one", 1)]
    assert {r.pin.strength for r in references(artifact)} == {"checksum"}
    with pytest.raises(ReferenceMissingError):
        artifact.add_reference((tmp_path / "none").as_uri(), "x")
    assert len(plan(artifact)) == 3


def test_one_file_below_a_directory_of_its_name_is_below_it(tmp_path):
    write(tmp_path, {"data/data": b"1"})
    assert plan(Artifact("t").add_reference((tmp_path / "data").as_uri(), "n")) == [("n/data", 1)]
    assert plan(Artifact("t").add_reference((tmp_path / "data/data").as_uri(), "n")) == [("n", 1)]


def test_over_the_limit_nothing_is_added_and_the_limit_is_named(tmp_path):
    write(tmp_path, {f"{n}": b"" for n in range(5)})
    artifact = Artifact("t")
    with pytest.raises(InvalidInputError, match="max_objects=4"):
        artifact.add_reference(tmp_path.as_uri(), max_objects=4)
    assert plan(artifact) == []
    assert len(plan(artifact.add_reference(tmp_path.as_uri(), max_objects=5))) == 5


def test_uris_that_no_source_knows_need_a_name_and_are_unverified():
    with pytest.raises(InvalidInputError, match="needs a name"):
        Artifact("t").add_reference("warehouse table 7")
    (found,) = references(Artifact("t").add_reference("warehouse table 7", "table"))
    assert found == ReferenceEntry("table", None, "warehouse table 7", Pin())


def test_recording_the_bare_uri_is_the_callers_explicit_choice(tmp_path):
    gone = (tmp_path / "gone").as_uri()
    artifact = Artifact("t").add_reference(gone, "a", on_unavailable="record").add_reference(gone, "b", pin=False)
    found = [(r.path, r.uri, r.pin.strength) for r in references(artifact)]
    assert found == [("a", gone, "unverified"), ("b", gone, "unverified")]
    with pytest.raises(InvalidInputError):
        Artifact("t").add_reference(gone, "a", on_unavailable="ignore")


@pytest.fixture
def register():
    """Registers a source for `fake://` as long as the test runs."""
    yield lambda n, error=None: SOURCES.register("fake", lambda: Fake(n, error))
    SOURCES._registered.pop("fake", None)
    SOURCES._made.pop("fake", None)


class Fake:
    """A source with as many objects as wanted, that may fail at the last."""

    def __init__(self, n, error=None):
        self.n, self.error = n, error

    def walk(self, uri, *, pin=True):
        for n in range(self.n):
            yield Found(f"{n:06}", f"{uri}/{n:06}", 1, Pin(etag=str(n)))
        if self.error:
            raise self.error


@pytest.mark.parametrize("n", [3, 10_000])
def test_a_source_that_fails_at_the_last_object_adds_nothing(n, register):
    register(n, StorageError(what="cut off"))
    artifact = Artifact("t").add_bytes(b"", "z")
    with pytest.raises(StorageError):
        artifact.add_reference("fake://x", max_objects=10**6)
    assert plan(artifact) == [("z", 0)]


def test_many_references_are_kept_outside_memory_and_merged_in_order(tmp_path, register):
    register(12_000)
    artifact = Artifact("t").add_reference("fake://x", "r", max_objects=20_000)
    artifact.add_bytes(b"", "r/005000x").remove("r/000001")
    paths = [path for path, _ in plan(artifact)]
    assert paths == sorted([*(f"r/{n:06}" for n in range(12_000) if n != 1), "r/005000x"])
    here = world(tmp_path / "r")
    uploaded = here.log(artifact)
    assert uploaded.n_entries == 12_000
    assert uploaded.referenced_size == 11_999
