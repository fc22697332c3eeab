"""Walking directories: order, links, loops, what is left out, what is refused."""

from __future__ import annotations

import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.artifact import Artifact
from headwater.errors import AccessError, InvalidInputError, SourceChangedError
from headwater.model.patterns import Ignore
from headwater.store import walk
from headwater.store.intake import Given
from headwater.store.statcache import StatCache
from headwater.store.walk import Walk
from tests.core.worlds import write


@pytest.fixture
def top(tmp_path):
    place = tmp_path / "top"
    place.mkdir()
    return place


def paths(top, prefix="", ignore=(), cache=None):
    return [path for item in Walk(str(top), prefix, Ignore(ignore), cache) for path in item.paths]


def test_paths_come_in_byte_order_of_the_whole_path(top):
    files = ["a", "a.txt", "a-b/x", "a/b", "é", "z", "a0/x", "B", "𝄞", "a b"]
    write(top, {path: b"" for path in files if path != "a"})
    found = paths(top)
    assert found == sorted(set(files) - {"a"}, key=str.encode)


@given(st.sets(st.lists(st.text("ab.-0é", min_size=1, max_size=3), min_size=1, max_size=3).map("/".join), max_size=12))
def test_any_tree_is_walked_in_order_and_whole(tmp_path_factory, wanted):
    top = tmp_path_factory.mktemp("tree")
    made = set()
    for path in sorted(wanted):
        parts = path.split("/")
        above = {"/".join(parts[:n]) for n in range(1, len(parts))}
        if {".", ".."} & set(parts) or above & made or any(p.startswith(path + "/") for p in made):
            continue
        write(top, {path: b"x"})
        made.add(path)
    assert paths(top) == sorted(made, key=str.encode)


def test_a_large_directory_is_walked_in_slices_that_one_new_file_does_not_shift(top, monkeypatch):
    monkeypatch.setattr(walk, "_SLICE", 16)
    write(top / "t", {f"{n:04}": b"" for n in range(300)} | {"0150x/y": b""})
    cache = StatCache(top / "cache", sample=0)
    before = list(Walk(str(top / "t"), "", Ignore(), cache))
    assert [p for item in before for p in item.paths] == sorted([*(f"{n:04}" for n in range(300)), "0150x/y"])
    assert len(before) > 10
    write(top / "t", {"0000x": b""})
    keys = {item.listing.key for item in before}
    after = {item.listing.key for item in Walk(str(top / "t"), "", Ignore(), cache)}
    assert len(after - keys) <= 1


def test_empty_directories_are_entries_and_full_ones_are_not(top):
    write(top, {"full/x": b"", "empty/": b"", "nest/inner/": b""})
    assert paths(top) == ["empty/", "full/x", "nest/inner/"]
    assert paths(top / "empty") == []
    assert paths(top / "empty", "top/") == ["top/"]


def test_of_the_mode_only_the_executable_bit_counts(top):
    write(top, {"plain": b"", "tool": b""})
    (top / "tool").chmod(0o755)
    (top / "plain").chmod(0o640)
    (item,) = Walk(str(top), "", Ignore(), None)
    item.listing.digests = bytes(64)
    assert [(e.path, e.executable) for e in item.entries()] == [("plain", False), ("tool", True)]


def test_links_inside_the_tree_are_followed(top):
    write(top / "t", {"data/x": b"content", "data/y": b""})
    (top / "t/file").symlink_to("data/x")
    (top / "t/folder").symlink_to(top / "t/data")
    assert paths(top / "t") == ["data/x", "data/y", "file", "folder/x", "folder/y"]
    (top / "link").symlink_to("t")
    assert paths(top / "link") == ["data/x", "data/y", "file", "folder/x", "folder/y"]


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("../outside", "leaves"),
        ("/etc", "leaves"),
        ("nowhere", "nowhere"),
        (".", "back"),
        ("..", "leaves"),
        ("self", "nowhere"),
    ],
)
def test_links_that_leave_the_tree_or_lead_nowhere_or_back_are_named(top, target, says):
    write(top, {"outside/x": b"", "t/a/x": b""})
    (top / "t/self").symlink_to(target)
    with pytest.raises(InvalidInputError, match=says) as caught:
        paths(top / "t")
    assert str(top / "t/self") in str(caught.value)
    assert paths(top / "t", ignore=["self"]) == ["a/x"]


def test_a_link_to_a_directory_above_it_is_a_loop(top):
    write(top, {"a/b/x": b""})
    (top / "a/b/up").symlink_to("../../a")
    with pytest.raises(InvalidInputError, match="back"):
        paths(top)


def test_what_has_no_bytes_is_refused_by_name(top, monkeypatch):
    os.mkfifo(top / "pipe")
    with pytest.raises(InvalidInputError, match="pipe"):
        paths(top)
    assert paths(top, ignore="pipe") == []
    (top / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(top)  # a socket's path is short
        server.bind("socket")
        with pytest.raises(InvalidInputError, match="socket"):
            paths(top)


@pytest.mark.parametrize("name", [b"bad\xff", b"new\nline", b"bell\x07", b"del\x7f"])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_names_that_cannot_be_paths_are_refused_unless_left_out(top, name, kind):
    place = top / os.fsdecode(name)
    place.mkdir() if kind == "folder" else place.touch()
    with pytest.raises(InvalidInputError):
        paths(top)
    assert paths(top, ignore="*[!a-z]*") == []


def test_a_directory_nobody_may_read_is_an_access_error(top, monkeypatch):
    write(top, {"secret/x": b""})
    real = os.open

    def refuse(path, *rest, **more):  # the tests may run as root, who may read everything
        if str(path).endswith("secret"):
            raise PermissionError(13, "Permission denied", path)
        return real(path, *rest, **more)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(AccessError, match="secret"):
        paths(top)


def test_a_file_that_vanishes_during_the_walk_is_named(top, monkeypatch):
    write(top, {"a": b"", "b": b""})
    real = os.stat

    def vanish(path, **more):
        if path == "b":
            raise FileNotFoundError(2, "No such file", path)
        return real(path, **more)

    monkeypatch.setattr(os, "stat", vanish)
    with pytest.raises(SourceChangedError, match="b"):
        paths(top)


def test_a_deep_tree_needs_neither_recursion_nor_open_files(top):
    top = here = top / "t"
    for _ in range(150):
        here = here / "d"
    here.mkdir(parents=True)
    (here / "x").write_bytes(b"")
    assert paths(top) == ["d/" * 150 + "x"]


@pytest.mark.parametrize(
    ("patterns", "left"),
    [
        (["*.tmp"], ["a/k.txt", "build/x", "keep.txt", "src/build/y"]),
        (["/build"], ["a/k.txt", "a/n.tmp", "keep.txt", "m.tmp", "src/build/y"]),
        (["build/"], ["a/k.txt", "a/n.tmp", "keep.txt", "m.tmp", "src/"]),
        (["*", "!keep.txt"], ["keep.txt"]),
        (["*.tmp", "!m.tmp"], ["a/k.txt", "build/x", "keep.txt", "m.tmp", "src/build/y"]),
        (["**/y", "a/*.t?t"], ["a/n.tmp", "build/x", "keep.txt", "m.tmp", "src/build/"]),
        (["[k-m]*"], ["a/n.tmp", "build/x", "src/build/y"]),
        ([r"\*"], ["a/k.txt", "a/n.tmp", "build/x", "keep.txt", "m.tmp", "src/build/y"]),
    ],
)
def test_patterns_leave_out_as_gitignore_does(top, patterns, left):
    write(top, dict.fromkeys(["a/k.txt", "a/n.tmp", "build/x", "keep.txt", "m.tmp", "src/build/y"], b""))
    assert paths(top, ignore=patterns) == left


@pytest.mark.parametrize("pattern", ["", "/", "!"])
def test_empty_patterns_are_refused(pattern):
    with pytest.raises(InvalidInputError):
        Ignore([pattern])


@given(st.text("ab*?[]!\\/-^", min_size=1, max_size=8), st.text("ab/[]-", max_size=6))
def test_no_pattern_is_too_strange(pattern, path):
    try:
        ignore = Ignore([pattern])
    except InvalidInputError:
        return
    assert ignore(path, is_directory=True) in (True, False)


def test_marks_of_empty_directories_yield_to_content_from_elsewhere(top):
    write(top, {"one/d/": b"", "two/d/x": b""})
    items = Artifact("t").add_dir(top / "one").add_dir(top / "two").items(None)
    assert [item.first for item in items if not isinstance(item, Given)] == ["d/x"]
