"""Which source reads a URI, and what the sources for files and for anything else promise."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from headwater.backends import filesource
from headwater.backends.filesource import FileSource
from headwater.backends.opaque import OpaqueSource
from headwater.disk import path_of, uri_of
from headwater.errors import (
    AccessError,
    InvalidInputError,
    ReferenceChangedError,
    ReferenceMissingError,
    StateError,
    StorageError,
)
from headwater.model.manifest import Pin
from headwater.sources import SOURCES, Sources, scheme_of
from tests.core.backends.test_files import powerless  # noqa: F401 - a fixture
from tests.core.worlds import write


# --------------------------------------------------------------------- registry
def test_files_and_anything_else_are_known_uninstalled():
    sources = Sources()
    assert isinstance(sources.find("file:///x"), FileSource)
    for opaque in ("warehouse:table", "/just/a/path", "C:\\data", "text", "nobody://x"):
        assert isinstance(sources.find(opaque), OpaqueSource), opaque


def test_a_source_is_made_once_per_process():
    sources = Sources()
    first = sources.find("file:///x")
    assert sources.find("FILE:///y") is first
    child = os.fork()
    if child == 0:
        os._exit(0 if sources.find("file:///x") is not first else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(("uri", "sdk", "extra"), [
    ("s3://b/k", "boto3", "s3"), ("gs://b/k", "google", "gcs"), ("az://c/k", "azure", "azure"),
    ("https://acc.blob.core.windows.net/c/k", "azure", "azure"), ("https://example.org/x", "requests", "http"),
])  # fmt: skip
def test_a_missing_extra_is_named(monkeypatch, uri, sdk, extra):
    for name in [name for name in sys.modules if name.split(".")[0] == sdk]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, sdk, None)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "acc")
    with pytest.raises(StateError, match=rf'which is not installed: pip install "headwater\[{extra}\]"'):
        next(Sources().find(uri).walk(uri))


def test_a_third_party_registers_a_scheme_by_entry_point(monkeypatch):
    point = importlib.metadata.EntryPoint("mine", "headwater.backends.opaque:OpaqueSource", "headwater.sources")
    real = importlib.metadata.entry_points
    monkeypatch.setattr(
        importlib.metadata, "entry_points",
        lambda **how: [point] if how == {"group": "headwater.sources", "name": "mine"} else real(**how),
    )  # fmt: skip
    sources = Sources()
    assert sources.find("mine://x") is not sources.find("other://x")


def test_a_scheme_may_be_registered_in_one_registry():
    sources, mine = Sources(), OpaqueSource()
    sources.register("s3", lambda: mine)
    assert sources.find("s3://b/k") is mine
    assert SOURCES is not sources
    with pytest.raises(InvalidInputError):
        sources.register("not a scheme", OpaqueSource)


@pytest.mark.parametrize(("uri", "scheme"), [("S3://b", "s3"), ("a+b.c-d:x", "a+b.c-d"), ("C:/x", ""), ("/x:y", "")])
def test_schemes(uri, scheme):
    assert scheme_of(uri) == scheme


# ------------------------------------------------------------------------ opaque
def test_an_opaque_uri_is_recorded_as_it_is_and_nothing_is_known_of_it():
    (found,) = OpaqueSource().walk("warehouse:db/table?day=1#x")
    assert found == ("table", "warehouse:db/table?day=1#x", None, Pin())
    (checked,) = OpaqueSource().check([("warehouse:t", Pin())])
    assert checked.outcome == "unverified"
    with pytest.raises(InvalidInputError):
        OpaqueSource().read("warehouse:t", Pin())


@pytest.mark.parametrize("uri", ["ftp://me:secret@host/x", "x://h/k?X-Amz-Signature=abc", "x://h/k?a=1&sig=abc",
                                 "x://h/k?auth_token=abc#part", "x://h/k?API%2DKEY=abc&a=1", "  "])  # fmt: skip
def test_secrets_are_refused_not_recorded(uri):
    with pytest.raises(InvalidInputError) as caught:
        OpaqueSource().walk(uri)
    assert "secret" not in str(caught.value) and "abc" not in str(caught.value)


def test_a_digest_of_what_cannot_be_read_is_refused():
    with pytest.raises(InvalidInputError):
        OpaqueSource().walk("warehouse:t", pin="digest")


# ------------------------------------------------------------------------- files
@pytest.fixture
def share(tmp_path):
    return write(tmp_path / "share", {
        "train/b": b"bb", "train/a/z": b"z", "train/a-b": b"a-b", "train/a.txt": b"", "train2/x": b"sibling",
    })  # fmt: skip


def walk(path, **how):
    return list(FileSource().walk(path if isinstance(path, str) else path.as_uri(), **how))


def test_a_file_is_pinned_by_digest_size_and_time(share):
    (found,) = walk(share / "train/b")
    assert (found.path, found.size) == ("b", 2)
    assert found.pin.checksum == f"blake3:{blake3(b'bb').hexdigest()}"
    assert found.pin.modified.endswith("Z") and found.pin.strength == "checksum"


def test_a_directory_is_walked_in_byte_order_without_its_siblings(share):
    found = walk(share / "train")
    assert [(f.path, f.size) for f in found] == [("a-b", 3), ("a.txt", 0), ("a/z", 1), ("b", 2)]
    assert [f.uri for f in found] == [f"{(share / 'train').as_uri()}/{f.path}" for f in found]
    assert [f.path for f in walk((share / "train").as_uri() + "/")] == [f.path for f in found]


@pytest.mark.parametrize("name", ["a b", "a#b", "a?b=c", "%41", "100%", "ü", "日本", "a+b", "a;b", "~x", "'q\"", "a:b"])
def test_any_name_survives_the_way_through_a_uri(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    (found,) = walk(tmp_path / name)
    assert found.path == name
    assert b"".join(FileSource().read(found.uri, found.pin)) == b"x"
    assert walk(f"file://{tmp_path}/{name}" if "%" not in name else found.uri) == [found]


@given(st.text(min_size=1).filter(lambda s: "\0" not in s and ".." not in s.split("/") and s.isprintable()))
def test_paths_and_uris_are_each_others_inverse(name):
    path = "/" + name.strip("/")
    assert path_of(uri_of(path)) == path
    assert uri_of(path) == Path(path).as_uri() or "//" in path or "/." in path


@pytest.mark.parametrize(
    "uri", ["file:x", "file://server/share", "file:///a/../b", "file:///a%2F..%2Fb", "file:///a%00"]
)
def test_a_uri_that_means_nothing_here_is_refused(uri):
    with pytest.raises(InvalidInputError):
        FileSource().walk(uri)


def test_nothing_there_is_missing_and_an_empty_directory_too(tmp_path):
    with pytest.raises(ReferenceMissingError):
        walk(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReferenceMissingError, match="no files"):
        walk(tmp_path / "empty")


def test_without_a_pin_nothing_is_touched(tmp_path):
    (found,) = walk(tmp_path / "absent", pin=False)
    assert (found.size, found.pin) == (None, Pin())


def test_links_inside_are_followed(share):
    (share / "train/link").symlink_to("a/z")
    (share / "train/folder").symlink_to("a")
    assert [(f.path, f.size) for f in walk(share / "train")] == [
        ("a-b", 3), ("a.txt", 0), ("a/z", 1), ("b", 2), ("folder/z", 1), ("link", 1),
    ]  # fmt: skip


@pytest.mark.parametrize("to", ["../train2/x", "/", "nowhere", ".", "a/../.."])
def test_a_link_that_leads_out_nowhere_or_round_is_an_error_that_names_it(share, to):
    (share / "train/link").symlink_to(to)
    with pytest.raises((InvalidInputError, ReferenceMissingError), match="link"):
        walk(share / "train")


def test_a_pipe_is_refused_and_not_waited_for(share):
    os.mkfifo(share / "train/pipe")
    with pytest.raises(InvalidInputError, match="pipe"):
        walk(share / "train")


def test_ranges_are_read_and_proved(share):
    (found,) = walk(share / "train/a-b")
    source = FileSource()
    assert b"".join(source.read(found.uri, found.pin, 1, 1)) == b"-"
    with pytest.raises(StorageError):
        list(source.read(found.uri, found.pin, 2, 5))
    info = (share / "train/a-b").stat()
    (share / "train/a-b").write_bytes(b"a_b")
    os.utime(share / "train/a-b", ns=(info.st_atime_ns, info.st_mtime_ns))
    with pytest.raises(ReferenceChangedError):
        next(source.read(found.uri, found.pin, 1, 1))
    with pytest.raises(ReferenceChangedError):
        list(FileSource().read(found.uri, found.pin))


def test_a_touched_file_with_the_same_bytes_is_the_same(share):
    (found,) = walk(share / "train/b")
    os.utime(share / "train/b", (1, 1))
    assert b"".join(FileSource().read(found.uri, found.pin)) == b"bb"
    assert [c.outcome for c in FileSource().check([(found.uri, found.pin)])] == ["same"]


def test_a_changed_file_gives_not_even_its_first_byte(share):
    (found,) = walk(share / "train/b")
    (share / "train/b").write_bytes(b"changed")
    with pytest.raises(ReferenceChangedError):
        next(FileSource().read(found.uri, found.pin))


def test_check_tells_every_outcome_and_never_raises(share, powerless):  # noqa: F811
    os.seteuid(0) if os.getuid() == 0 else None
    found = walk(share / "train")
    (share / "train/a-b").unlink()
    (share / "train/a.txt").write_bytes(b"now longer")
    (share / "train/b").chmod(0)
    share.chmod(0o755)
    if os.getuid() == 0:
        os.seteuid(65534)
    references = [(f.uri, f.pin) for f in found] + [(found[2].uri, Pin()), ("file:nonsense", Pin())]
    outcomes = [checked.outcome for checked in FileSource().check(references)]
    assert outcomes == ["missing", "changed", "same", "denied", "unverified", "missing"]
    with pytest.raises(AccessError):
        list(FileSource().read(found[3].uri, found[3].pin))


def test_other_checksums_are_checked_too(share):
    import hashlib

    uri = (share / "train/b").as_uri()
    assert list(FileSource().read(uri, Pin(checksum=f"md5:{hashlib.md5(b'bb').hexdigest()}"))) == [b"bb"]
    with pytest.raises(ReferenceChangedError):
        list(FileSource().read(uri, Pin(checksum=f"md5:{hashlib.md5(b'b').hexdigest()}")))
    with pytest.raises(ReferenceChangedError):
        list(FileSource().read(uri, Pin(modified="2020-01-01T00:00:00.000000000Z")))


# ------------------------------------------------------------------------- files
def test_what_files_were_proved_is_remembered_for_ranges_and_only_for_so_many(tmp_path, monkeypatch):
    monkeypatch.setattr(filesource, "REMEMBERED", 2)
    for name in "abc":
        (tmp_path / name).write_bytes(name.encode() * 10)
    source, hashed = FileSource(), []
    found = list(source.walk(tmp_path.as_uri()))
    real = filesource._pieces
    monkeypatch.setattr(
        filesource, "_pieces", lambda read, length: (hashed.append(1) if length is None else None) or real(read, length)
    )
    for n_hashed, each in enumerate(found, 1):  # `a` was forgotten when `c` was proved, `b` is when `a` is again, …
        assert b"".join(source.read(each.uri, each.pin, 2, 3)) == each.path.encode() * 3
        assert b"".join(source.read(each.uri, each.pin, 5, 1)) == each.path.encode()
        assert len(hashed) == n_hashed
