"""Manifests: pages do not depend on history, and only what differs is read."""

from __future__ import annotations

import random
import time
import tracemalloc
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.errors import FormatError, InvalidInputError
from headwater.model import pages
from headwater.model.digest import Digest
from headwater.model.entries import EMPTY, Pin, ReferenceEntry, StoredEntry
from headwater.model.manifest import PageRef, Root, build_pages, diff_roots, edit_pages, select_pages
from tests.core.model.entries import Shelf, entries_at, manifests, many, paths

FILE = Digest.of(b"file")


@pytest.fixture
def small_pages(monkeypatch):
    """Pages of about three entries, so that a few entries have many seams."""
    monkeypatch.setattr(pages, "MIN_ENTRIES", 1)
    monkeypatch.setattr(pages, "MAX_ENTRIES", 6)
    monkeypatch.setattr(pages, "MAX_WEIGHT", 600)
    monkeypatch.setattr(pages, "_SIEVE", 0)
    monkeypatch.setattr(pages, "_THRESHOLD", 2**32 // 3)


def in_order(found):
    return [found[path] for path in sorted(found)]


def edited(shelf, root, changes):
    """The edited root; its new pages go on the shelf."""
    refs = []
    for ref, data in edit_pages(root, shelf.read_page, changes):
        if data is not None:
            shelf.pages[ref.name] = data
        refs.append(ref)
    return Root(tuple(refs))


changes_to = st.lists(paths.flatmap(lambda p: st.tuples(st.just(p), st.one_of(st.none(), entries_at(p)))), max_size=12)


@settings(max_examples=70)
@given(manifests, changes_to, st.data())
def test_an_edit_gives_what_building_anew_gives(small_pages, found, changes, data):
    if found:  # Changes to what is there are drawn seldom otherwise.
        for path in data.draw(st.lists(st.sampled_from(sorted(found)), max_size=6)):
            changes.append((path, data.draw(st.one_of(st.none(), entries_at(path)))))
    shelf = Shelf()
    root = shelf.build(in_order(found))
    target = dict(found)
    for path, entry in changes:
        target.pop(path, None)
        if entry is not None:
            target[path] = entry
    try:
        expected = Shelf().build(in_order(target))
    except InvalidInputError:
        with pytest.raises(InvalidInputError):
            edited(shelf, root, changes)
        return
    result = edited(shelf, root, changes)
    assert result == expected
    assert shelf.entries(result) == in_order(target)


@settings(max_examples=40)
@given(manifests, manifests)
def test_a_difference_applied_to_the_old_gives_the_new(small_pages, found, wanted):
    shelf = Shelf()
    old, new = shelf.build(in_order(found)), shelf.build(in_order(wanted))
    changes = list(diff_roots(old, new, shelf.read_page))
    assert [c.path for c in changes] == sorted({c.path for c in changes})
    assert {c.path: (c.old, c.new) for c in changes} == {
        path: (found.get(path), wanted.get(path)) for path in {*found, *wanted} if found.get(path) != wanted.get(path)
    }
    assert all(c.kind == ("added" if c.old is None else "removed" if c.new is None else "changed") for c in changes)
    assert edited(shelf, old, [(c.path, c.new) for c in changes]) == new


@settings(max_examples=50)
@given(manifests, st.text("ab/é-", max_size=4))
def test_the_pages_of_a_prefix_hold_every_path_with_it_and_no_page_more(small_pages, found, prefix):
    shelf = Shelf()
    root = shelf.build(in_order(found))
    chosen = select_pages(root, prefix)
    inside = [e for ref in chosen for e in shelf.read_page(ref) if e.path.startswith(prefix)]
    assert inside == [e for e in in_order(found) if e.path.startswith(prefix)]
    assert all(ref.last >= prefix and ref.first[: len(prefix)] <= prefix for ref in chosen)


@settings(max_examples=30)
@given(manifests)
def test_a_root_is_read_as_it_was_written(small_pages, found):
    root = Shelf().build(in_order(found))
    assert Root.decode(root.encode()) == root
    assert root.digest == Digest.of(root.encode())
    assert root.n_entries == len(found)


def test_pages_do_not_depend_on_the_history():
    shelf = Shelf()
    entries = many(30_000)
    whole = shelf.build(entries)
    picked = random.Random(1).sample(entries, 30_000)
    root = Root()
    for at in range(0, 30_000, 7_500):
        root = edited(shelf, root, [(e.path, e) for e in picked[at : at + 7_500]])
    assert root == whole


def test_pages_keep_to_their_limits():
    root = Shelf().build(many(60_000))
    counts = [page.n_entries for page in root.pages]
    assert sum(counts) == 60_000
    assert all(1_024 <= n <= 16_384 for n in counts[:-1])
    assert 2_500 < sum(counts[:-1]) / len(counts[:-1]) < 7_000
    assert all(a.last < b.first for a, b in pairwise(root.pages))


def test_long_paths_and_uris_make_shorter_pages():
    found = [ReferenceEntry(f"{i:05d}" + "x" * 1000, None, "s3://" + "y" * 9000, Pin()) for i in range(600)]
    sizes = [(ref.n_entries, len(data)) for ref, data in build_pages(found)]
    assert all(n < 1_024 for n, _ in sizes)
    assert all(size < 2.2 * 2**20 for _, size in sizes)
    assert Shelf().build(found).referenced_size is None


def test_a_change_reads_one_page_and_writes_one():
    shelf = Shelf()
    entries = many(50_000)
    root = shelf.build(entries)
    for at in (0, 25_000, 49_999):
        shelf.read.clear()
        new = edited(shelf, root, [(entries[at].path, StoredEntry(entries[at].path, 1, FILE))])
        assert len(shelf.read) == 1
        assert len({p.name for p in new.pages} - {p.name for p in root.pages}) == 1
        shelf.read.clear()
        assert [c.path for c in diff_roots(root, new, shelf.read_page)] == [entries[at].path]
        assert len(shelf.read) == 2


def test_appending_behind_a_finished_last_page_reads_nothing():
    shelf = Shelf()
    entries = many(20_000)
    root = shelf.build(entries)
    finished = Root(root.pages[:-1])
    shelf.read.clear()
    more = entries[finished.n_entries :]
    assert edited(shelf, finished, [(e.path, e) for e in more]) == root
    assert shelf.read == []


def test_an_insertion_disturbs_few_pages():
    shelf = Shelf()
    entries = many(60_000)
    root = shelf.build(entries)
    worst = 0
    for at in range(500, 60_000, 3_000):
        shelf.read.clear()
        path = entries[at].path + "x"
        edited(shelf, root, [(path, StoredEntry(path, 1, FILE))])
        worst = max(worst, len(shelf.read))
    assert worst <= 4


def test_no_change_reads_nothing():
    shelf = Shelf()
    root = shelf.build(many(10_000))
    assert edited(shelf, root, []) == root
    assert list(diff_roots(root, root, shelf.read_page)) == []
    assert shelf.read == []


def test_building_a_long_manifest_holds_a_page_or_two():
    def stream():
        for i in range(60_000):
            yield StoredEntry(f"{i:08d}", i, FILE)

    tracemalloc.start()
    for _ in build_pages(stream()):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 12 * 2**20


def test_disorder_across_pages_is_refused(small_pages):
    found = [StoredEntry(f"{i:03d}", 1, FILE) for i in range(40)]
    for wrong in (found[20:] + found[:20], found + found[-1:]):
        with pytest.raises(InvalidInputError, match="rising byte order"):
            Shelf().build(wrong)


def test_a_collision_is_found_across_any_number_of_pages(small_pages):
    between = [StoredEntry(f"a-{i:02d}", 1, FILE) for i in range(40)]
    above, below = StoredEntry("a", 1, FILE), StoredEntry("a/b", 1, FILE)
    with pytest.raises(InvalidInputError, match="cannot be an entry and hold"):
        Shelf().build([above, *between, below])
    for there, added in ((above, below), (below, above)):
        shelf = Shelf()
        root = shelf.build(sorted([there, *between], key=lambda e: e.path))
        with pytest.raises(InvalidInputError, match="cannot be an entry and hold"):
            edited(shelf, root, [(added.path, added)])
        moved = edited(shelf, root, [(there.path, None), (added.path, added)])
        assert shelf.entries(moved) == sorted([added, *between], key=lambda e: e.path)


def test_a_change_that_names_another_path_is_refused():
    with pytest.raises(InvalidInputError, match="brings an entry called"):
        list(edit_pages(Root(), lambda _: [], [("a", StoredEntry("b", 1, FILE))]))


def test_an_empty_manifest_has_a_digest_too():
    root = Root()
    assert list(build_pages([])) == []
    assert Root.decode(root.encode()) == root
    assert (root.n_entries, root.stored_size, root.referenced_size) == (0, 0, 0)


def test_totals_add_up():
    found = [StoredEntry("a", 5, FILE), ReferenceEntry("b", 7, "s3://b/k", Pin()), StoredEntry("c/", 0, EMPTY)]
    root = Shelf().build(found)
    assert (root.n_entries, root.stored_size, root.referenced_size, root.n_references) == (3, 5, 7, 1)


def test_sizes_that_no_number_holds_are_refused():
    with pytest.raises(InvalidInputError, match="add up"):
        Shelf().build([StoredEntry("a", 2**62, FILE), StoredEntry("b", 2**62, FILE)])


def _page(**other: object) -> PageRef:
    fields = dict(name=FILE, first="a", last="b", n_entries=2, stored_size=1, referenced_size=0, n_references=0)
    return PageRef(**{**fields, **other})


@pytest.mark.parametrize(
    "found",
    [
        (_page(name=Digest(b"x")),),
        (_page(first="c"),),
        (_page(first="b"),),
        (_page(first=""),),
        (_page(n_entries=0),),
        (_page(n_entries=1),),
        (_page(n_entries=16_385),),
        (_page(n_references=3),),
        (_page(stored_size=-1),),
        (_page(stored_size=2**63),),
        (_page(referenced_size=-1),),
        (_page(), _page(first="b", last="c")),
        (_page(first="x", last="y"), _page()),
    ],
)
def test_a_root_that_contradicts_itself_is_refused(found):
    with pytest.raises(FormatError):
        Root.decode(Root(found).encode())


def test_a_newer_root_is_refused_by_name():
    with pytest.raises(FormatError, match="newer Headwater"):
        Root.decode(msgspec.msgpack.encode(["headwater.root", 2, "whatever"]))


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=80).map(lambda b: Root((_page(),)).encode()[:20] + b)))
def test_arbitrary_bytes_are_no_root(data):
    try:
        root = Root.decode(data)
    except FormatError:
        return
    assert root.encode() == data


def test_every_bit_flip_of_a_root_is_refused_or_gives_another_digest():
    root = Root((_page(), _page(first="c", last="d")))
    data = root.encode()
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            assert Root.decode(bytes(flipped)).digest != root.digest
        except FormatError:
            continue


@pytest.mark.parametrize(
    ("pin", "strength"),
    [(Pin("v", "md5:0", "e", "t"), "version"), (Pin(None, "md5:0", "e", "t"), "checksum"),
     (Pin(None, None, "e", "t"), "etag"), (Pin(modified="t"), "stat"), (Pin(), "unverified")],
)  # fmt: skip
def test_a_pin_is_as_strong_as_the_strongest_thing_in_it(pin, strength):
    assert pin.strength == strength


@pytest.mark.slow
def test_one_change_in_a_million_entries_is_found_and_made_by_reading_single_pages():
    shelf = Shelf()
    root = shelf.build(iter(many(1_000_000)))
    path = "train/00500/image_00500123.jpg"
    before = time.process_time()
    new = edited(shelf, root, [(path, StoredEntry(path, 1, FILE))])
    (change,) = diff_roots(Root.decode(root.encode()), Root.decode(new.encode()), shelf.read_page)
    assert (change.kind, change.path, len(shelf.read)) == ("changed", path, 3)
    assert time.process_time() - before < 0.5  # 0.06 s where this was written
