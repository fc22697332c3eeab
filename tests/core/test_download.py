"""The journey back: what is placed, what is left alone, and what happens on bad days."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import stat
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import disk
from headwater.artifact import Artifact
from headwater.backends.files import FileStore
from headwater.download import checkout, fetch, open_entry, shared_tree, verify_tree
from headwater.download import filling as filling_module
from headwater.download.selection import translate
from headwater.download.target import TEMPORARY, Folding, Target, check_entry_path, refuse_collisions
from headwater.errors import (
    ConflictError,
    DigestMismatchError,
    FormatError,
    HeadwaterError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    ReferenceChangedError,
    ReferenceMissingError,
    StorageError,
)
from headwater.model.digest import Digest
from headwater.model.manifest import Pin, ReferenceEntry, StoredEntry
from headwater.model.naming import check_path
from headwater.sources import SOURCES
from headwater.store.blobs import BlobStore
from headwater.store.cache import FileCache
from tests.core.worlds import World, team_world, world, write
from tests.faults import KILLED, Fault, Faulty

LARGE = random.Random(7).randbytes(3_500_000)
FILES = {
    "a.txt": b"one",
    "data/b.csv": b"two" * 1000,
    "data/deep/c.bin": bytes(range(256)) * 40,
    "data2/d": b"sibling",
    "empty/": b"",
    "large.bin": LARGE,
    "zero": b"",
}


@dataclass
class Here:
    """An open repository, as a download sees it."""

    world: World
    folder: Path
    cache: FileCache | None = None

    @property
    def copies(self) -> FileCache | None:
        return self.cache

    @property
    def blobs(self) -> BlobStore:
        return self.world.blobs

    @property
    def objects(self) -> object:
        return self.world.store

    def log(self, folder: Path, *references: tuple[str, str]) -> Digest:
        artifact = Artifact("t").add_dir(folder) if folder.is_dir() else Artifact("t")
        for uri, name in references:
            artifact.add_reference(uri, name=name)
        return Digest(self.world.log(artifact).root)

    def entry(self, root: Digest, path: str) -> object:
        pages = self.blobs.read_root(root).pages
        return next(e for page in pages for e in self.blobs.read_page(page) if e.path == path)


@pytest.fixture(params=["here", pytest.param("team", marks=pytest.mark.slow)])
def here(request, tmp_path: Path, monkeypatch):
    if request.param == "here":
        yield Here(world(tmp_path / "repository", store=FileStore(tmp_path / "objects")), tmp_path / "state")
        return
    shared = team_world(tmp_path / "repository", monkeypatch)
    yield Here(shared, tmp_path / "state")
    shared.catalog.close()


embedded = pytest.mark.parametrize("here", ["here"], indirect=True)
"""For tests that change the files of packs, or hand their folder to another process."""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = write(tmp_path / "tree", FILES)
    (top / "a.txt").chmod(0o755)
    return top


@pytest.fixture
def root(here: Here, tree: Path) -> Digest:
    return here.log(tree)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target"


def content(folder: Path) -> dict[str, bytes]:
    found = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    empty = {f"{p.relative_to(folder)}/": b"" for p in folder.rglob("*") if p.is_dir() and not list(p.iterdir())}
    return found | empty


def gets(here: Here) -> int:
    return here.world.store.counts()["get"]


def age(state: Path) -> None:
    """Let the records believe that they were made long after the files, as they are when time passes."""
    import sqlite3

    for path in (state / "placed").glob("*.sqlite"):
        with sqlite3.connect(path) as db:
            db.execute("UPDATE file SET at = at + 60000000000 WHERE at > 0")
        db.close()


# ------------------------------------------------------------------------- fetch
def test_fetch_makes_the_files_again_with_modes_and_empty_directories(here, root, target):
    result = fetch(here, root, target)
    assert result == (target, ())
    assert content(target) == FILES
    assert (target / "a.txt").stat().st_mode & 0o100
    assert not (target / "zero").stat().st_mode & 0o100
    assert verify_tree(here, root, target).ok


def test_fetching_again_reads_nothing_from_the_store(here, root, target):
    fetch(here, root, target)
    before = gets(here)
    inodes = {p: p.stat().st_ino for p in target.rglob("*")}
    fetch(here, root, target)
    assert gets(here) == before
    assert {p: p.stat().st_ino for p in target.rglob("*")} == inodes


def test_a_settled_tree_is_recognised_without_reading_it(here, root, target, monkeypatch):
    fetch(here, root, target)
    age(here.folder)
    monkeypatch.setattr("headwater.download.judging.hash_file", lambda *_: pytest.fail("read a file"))
    fetch(here, root, target)


def test_a_hard_linked_file_is_always_hashed_again(here, root, target, tmp_path, monkeypatch):
    fetch(here, root, target)
    os.link(target / "a.txt", tmp_path / "link")
    fetch(here, root, target)  # records the stat that the link changed
    age(here.folder)
    seen = []
    real = sys.modules["headwater.download.judging"].hash_file
    monkeypatch.setattr("headwater.download.judging.hash_file", lambda fd, where: seen.append(where) or real(fd, where))
    fetch(here, root, target)
    assert [path.name for path in seen] == ["a.txt"]


@pytest.mark.parametrize(
    ("how", "wanted"),
    [
        ({"prefix": "data"}, {"data/b.csv", "data/deep/c.bin"}),
        ({"prefix": "data/"}, {"data/b.csv", "data/deep/c.bin"}),
        ({"prefix": "data/b.csv"}, {"data/b.csv"}),
        ({"prefix": "empty"}, {"empty/"}),
        ({"glob": "*"}, {"a.txt", "empty/", "large.bin", "zero"}),
        ({"glob": "data/*"}, {"data/b.csv"}),
        ({"glob": "data/**"}, {"data/b.csv", "data/deep/c.bin"}),
        ({"glob": "**/*.bin"}, {"data/deep/c.bin", "large.bin"}),
        ({"glob": "data[0-9]/?"}, {"data2/d"}),
    ],
)
def test_prefix_and_glob_choose(here, root, target, how, wanted):
    fetch(here, root, target, **how)
    assert set(content(target)) == wanted


@pytest.mark.parametrize("how", [{"prefix": "dat"}, {"prefix": "a.txt/x"}, {"glob": "dat*/none"}])
def test_what_chooses_nothing_is_refused_before_anything_is_made(here, root, target, how):
    with pytest.raises(NotFoundError):
        fetch(here, root, target, **how)
    assert not target.exists()


def test_a_prefix_reads_only_its_own_packs_and_pages(here, root, target):
    here.world.blobs = BlobStore(here.world.store, here.world.catalog.packs)
    before = gets(here)
    fetch(here, root, target, prefix="data2")
    assert gets(here) - before <= 3  # root, page, the file


def test_prefix_and_glob_together_are_refused(here, root, target):
    with pytest.raises(InvalidInputError):
        fetch(here, root, target, prefix="a", glob="b")


def test_many_small_files_come_in_few_requests(here, tmp_path, target):
    root = here.log(write(tmp_path / "many", {f"d{n % 7}/{n}": b"%d" % n * 50 for n in range(1000)}))
    before = gets(here)
    fetch(here, root, target)
    assert gets(here) - before <= 12
    assert (target / "d3/10").read_bytes() == b"10" * 50


def test_progress_is_told_from_one_thread_and_ends_at_the_total(here, root, target):
    seen = []
    fetch(here, root, target, progress=lambda *step: seen.append(step))
    assert seen[-1] == ("download", sum(map(len, FILES.values())), sum(map(len, FILES.values())))
    assert seen == sorted(seen)


# --------------------------------------------------------------------- conflicts
@pytest.mark.parametrize("act", [fetch, checkout])
def test_a_file_of_somebody_else_stops_everything_before_the_first_change(here, root, target, act):
    write(target, {"data/b.csv": b"mine", "other": b"x"})
    with pytest.raises(ConflictError) as caught:
        act(here, root, target)
    assert caught.value.facts["paths"] == ["data/b.csv"]
    assert content(target) == {"data/b.csv": b"mine", "other": b"x"}


def test_a_strangers_file_with_the_right_content_is_taken_as_it_is_and_never_removed(here, root, target, tmp_path):
    write(target, {"data/b.csv": FILES["data/b.csv"]})
    checkout(here, root, target)
    other = here.log(write(tmp_path / "other", {"x": b"x"}))
    result = checkout(here, other, target)
    assert content(target) == {"x": b"x", "data/b.csv": FILES["data/b.csv"]}
    assert result.kept == ("data/b.csv",)


def test_a_file_of_ours_that_the_user_edited_is_a_conflict(here, root, target, tmp_path):
    checkout(here, root, target)
    (target / "data/b.csv").write_bytes(b"edited")
    for other in (root, here.log(write(tmp_path / "other", {"x": b"x"}))):
        with pytest.raises(ConflictError):
            checkout(here, other, target)
    assert (target / "data/b.csv").read_bytes() == b"edited"
    assert not (target / "x").exists()


def test_a_deleted_file_comes_back(here, root, target):
    fetch(here, root, target)
    (target / "large.bin").unlink()
    fetch(here, root, target)
    assert content(target) == FILES


def test_a_lost_executable_bit_of_ours_is_set_again(here, root, target):
    fetch(here, root, target)
    (target / "a.txt").chmod(0o644)
    assert verify_tree(here, root, target).mode == ("a.txt",)
    fetch(here, root, target)
    assert verify_tree(here, root, target).ok


@pytest.mark.parametrize("planted", ["data", "data/deep", "a.txt", "empty"])
def test_nothing_is_written_through_a_symlink_planted_in_the_target(here, root, target, tmp_path, planted):
    outside = tmp_path / "outside"
    outside.mkdir()
    (target / planted).parent.mkdir(parents=True)
    (target / planted).symlink_to(outside)
    with pytest.raises(ConflictError):
        fetch(here, root, target)
    assert list(outside.iterdir()) == []


def test_the_unfinished_directory_is_no_way_out_either(here, root, target, tmp_path):
    outside = write(tmp_path / "outside", {"precious": b"x"})
    target.mkdir()
    (target / TEMPORARY).symlink_to(outside)
    fetch(here, root, target)
    assert content(outside) == {"precious": b"x"}
    assert not (target / TEMPORARY).exists()


def test_a_link_planted_after_the_check_leads_nowhere(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    with Target(tmp_path / "target") as target:
        target.begin()
        name, fd = target.new_file()
        os.close(fd)
        (target.root / "a").symlink_to(outside)
        with pytest.raises(ConflictError):
            target.place(name, "a/b")
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "a//b", "./a", "", "a\0b", "a\nb", TEMPORARY + "/x"])
def test_a_hostile_manifest_is_refused(here, target, path):
    with pytest.raises(FormatError):
        check_entry_path(path)
    entry = StoredEntry(path, 0, Digest.of(b""))
    page = SimpleNamespace(first=path, last=path)
    fake_root = SimpleNamespace(pages=(page,))
    blobs = SimpleNamespace(read_root=lambda _: fake_root, read_page=lambda _: [entry])
    home = SimpleNamespace(blobs=blobs, objects=here.objects, cache=None, copies=None, folder=here.folder)
    with pytest.raises(FormatError):
        fetch(home, Digest.of(b""), target)
    assert not target.exists() or not list(target.iterdir())


@given(st.text(st.sampled_from("a.\u00e9/\0\n\x7f\ud800"), max_size=8))
def test_exactly_the_paths_that_may_be_logged_may_be_placed(path):
    try:
        check_path(path)
    except InvalidInputError:
        with pytest.raises(FormatError):
            check_entry_path(path)
    else:
        assert check_entry_path(path) == path


# -------------------------------------------------------------------- collisions
@pytest.mark.parametrize(
    ("paths", "case", "unicode", "collide"),
    [
        (["A", "a"], True, False, True),
        (["A", "a"], False, True, False),
        (["A/x", "a/y"], True, False, True),
        (["a/x", "a/y"], True, True, False),
        (["\u00e9", "e\u0301"], False, True, True),
        (["stra\u00dfe", "STRASSE"], True, True, True),
        (["a/", "A/b"], True, False, True),
    ],
)
def test_names_that_fall_together_are_found(paths, case, unicode, collide):
    fold = Folding(case=case, unicode=unicode)
    if collide:
        with pytest.raises(ConflictError):
            refuse_collisions(paths, fold)
    else:
        refuse_collisions(paths, fold)


def test_a_collision_is_found_before_the_first_byte(here, tmp_path, target, monkeypatch):
    root = here.log(write(tmp_path / "two", {"Read": b"1", "read": b"2"}))
    monkeypatch.setattr(filling_module, "probe_folding", lambda _: Folding(case=True, unicode=False))
    with pytest.raises(ConflictError, match="cannot hold both"):
        fetch(here, root, target)
    assert list(target.iterdir()) == []


names = st.text(st.sampled_from("aAbB\u00e9e\u0301/"), min_size=1, max_size=6).filter(lambda text: all(text.split("/")))


@given(st.lists(names, max_size=6), st.booleans(), st.booleans())
def test_a_collision_is_reported_exactly_if_two_prefixes_fold_to_one(paths, case, unicode):
    fold = Folding(case=case, unicode=unicode)
    prefixes = {"/".join(path.split("/")[: n + 1]) for path in paths for n in range(path.count("/") + 1)}
    collide = len({fold(prefix) for prefix in prefixes}) < len(prefixes)
    try:
        refuse_collisions(paths, fold)
    except ConflictError:
        assert collide
    else:
        assert not collide


@given(st.text(st.sampled_from("ab/*?[]!-."), max_size=8), st.text(st.sampled_from("ab/.-"), max_size=6))
def test_a_glob_never_fails_and_a_plain_one_matches_itself(glob, path):
    import re

    try:
        expression = re.compile(translate(glob), re.DOTALL)
    except re.error:
        assert "[" in glob
        return
    if not set(glob) & set("*?["):
        assert bool(expression.fullmatch(path)) == (glob == path)


# ---------------------------------------------------------------------- checkout
def test_checkout_makes_the_directory_exactly_the_version_and_keeps_what_is_not_ours(here, root, target, tmp_path):
    write(target, {"notes.txt": b"mine", "data/mine.txt": b"mine too"})
    first = checkout(here, root, target)
    assert first.kept == ("data/mine.txt", "notes.txt")
    second = here.log(write(tmp_path / "second", {"a.txt": b"other", "data/b.csv": FILES["data/b.csv"], "new/f": b"f"}))
    result = checkout(here, second, target)
    assert result.placed == ("a.txt", "new/f")
    assert set(result.removed) == {"data/deep/c.bin", "data2/d", "large.bin", "zero"}
    assert content(target) == {
        "a.txt": b"other", "data/b.csv": FILES["data/b.csv"], "new/f": b"f", "notes.txt": b"mine",
        "data/mine.txt": b"mine too",
    }  # fmt: skip
    assert not (target / "data/deep").exists() and not (target / "empty").exists()
    assert not (target / "a.txt").stat().st_mode & 0o100


def test_dry_run_says_what_checkout_would_do_and_does_nothing(here, root, target, tmp_path):
    assert set(checkout(here, root, target, dry_run=True).placed) == set(FILES)
    assert not target.exists()
    checkout(here, root, target)
    second = here.log(write(tmp_path / "second", {"a.txt": b"other"}))
    before = content(target)
    planned = checkout(here, second, target, dry_run=True)
    assert content(target) == before
    done = checkout(here, second, target)
    assert (planned.placed, planned.removed) == (done.placed, done.removed)


@pytest.mark.parametrize(
    ("before", "after"),
    [({"a": b"file"}, {"a/b": b"below"}), ({"a/b": b"below"}, {"a": b"file"}), ({"a": b"file"}, {"a/": b""}),
     ({"a/": b""}, {"a": b"file"}), ({"a/b/c": b"1", "a/d": b"2"}, {"a": b"file", "d": b"2"})],
)  # fmt: skip
def test_files_and_directories_may_change_places(here, target, tmp_path, before, after):
    checkout(here, here.log(write(tmp_path / "before", before)), target)
    checkout(here, here.log(write(tmp_path / "after", after)), target)
    assert content(target) == after


def test_a_directory_with_a_stranger_in_it_does_not_become_a_file(here, target, tmp_path):
    checkout(here, here.log(write(tmp_path / "before", {"a/b": b"below"})), target)
    write(target, {"a/mine": b"mine"})
    with pytest.raises(ConflictError):
        checkout(here, here.log(write(tmp_path / "after", {"a": b"file"})), target)
    assert content(target) == {"a/b": b"below", "a/mine": b"mine"}


def test_verify_tells_every_kind_of_difference(here, root, target):
    fetch(here, root, target)
    (target / "a.txt").write_bytes(b"two")
    (target / "zero").unlink()
    (target / "data2/d").chmod(0o755)
    write(target, {"extra/x": b""})
    report = verify_tree(here, root, target)
    assert not report.ok
    assert (report.changed, report.missing, report.mode) == (("a.txt",), ("zero",), ("data2/d",))
    assert report.extra == ("extra/x",)
    assert report.n_same == len(FILES) - 3
    assert verify_tree(here, root, target / "nowhere").missing == tuple(sorted(FILES))


# --------------------------------------------------------------------- bad days
def damage(here: Here, name: bytes) -> None:
    place = here.world.catalog.packs.locate([name])[name]
    path = Path(disk.path_of(here.objects.url)) / place.key
    data = bytearray(path.read_bytes())
    data[place.row.offset] ^= 1
    path.write_bytes(data)


@embedded
@pytest.mark.parametrize("path", ["data/b.csv", "data2/d"])
def test_a_flipped_bit_in_a_pack_never_becomes_a_file(here, root, target, path):
    damage(here, Digest.of(FILES[path]))
    with pytest.raises(IntegrityError):
        fetch(here, root, target)
    assert not (target / path).exists()
    assert not (target / TEMPORARY).exists()


def test_chunks_that_are_right_but_make_another_file_are_refused(here, root, target, monkeypatch):
    real = sys.modules["headwater.download.stored"].decode_chunks
    monkeypatch.setattr("headwater.download.stored.decode_chunks", lambda data: real(data)[::-1])
    with pytest.raises(DigestMismatchError):
        fetch(here, root, target, prefix="large.bin")
    assert content(target) == {}


def test_a_truncated_answer_is_an_error(here, root, target):
    store = Faulty(here.objects._inner, Fault("truncate", on="get", at=1))
    home = SimpleNamespace(
        blobs=SimpleNamespace(
            read_root=here.blobs.read_root, read_page=here.blobs.read_page, read_many=here.blobs.read_many,
            plan=here.blobs.plan, fetch=BlobStore(store, here.world.catalog.packs).fetch,
        ),
        objects=store, cache=None, copies=None, folder=here.folder,
    )  # fmt: skip
    with pytest.raises(HeadwaterError):
        fetch(home, root, target, prefix="data2")
    assert not (target / "data2/d").exists()


def test_a_full_disk_is_a_storage_error_and_the_next_call_goes_on(here, root, target):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(StorageError, match="no room"):
            fetch(here, root, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (target / "large.bin").exists()
    fetch(here, root, target)
    assert content(target) == FILES


def child(here: Here, root: Digest, target: Path, act: str = "fetch", **environment: str) -> subprocess.Popen:
    script = """
import sys
from pathlib import Path
from types import SimpleNamespace
from headwater import download
from headwater.backends.files import FileStore
from headwater.catalog.sql import open_catalog
from headwater.model.digest import Digest
from headwater.store.blobs import BlobStore
from tests.faults import Fault, Faulty
state, catalog, objects, root, target, act = sys.argv[1:7]
packs = open_catalog(catalog).packs
store = Faulty(FileStore(Path(objects)), Fault.from_environment())
home = SimpleNamespace(blobs=BlobStore(store, packs), objects=store, cache=None, copies=None, folder=Path(state))
arguments = (home, Digest.parse(root)) + ((Path(target),) if act != "shared_tree" else ())
print("ready", flush=True)
getattr(download, act)(*arguments)
"""
    catalog = f"sqlite:///{here.folder.parent}/repository/catalog.sqlite"
    objects = disk.path_of(here.objects.url)
    command = [sys.executable, "-c", script, str(here.folder), catalog, objects, str(root), str(target), act]
    paths = os.pathsep.join(sys.path)
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths, **environment}, stdout=subprocess.PIPE)


@embedded
@pytest.mark.parametrize("at", [3, 4, 5])
def test_a_process_that_dies_in_mid_checkout_is_gone_on_with(here, root, target, tmp_path, at):
    changed = {path: data[::-1] for path, data in FILES.items()} | {"new": b"new"}
    second = here.log(write(tmp_path / "second", changed))
    checkout(here, root, target)
    dying = child(here, second, target, "checkout", HEADWATER_TEST_FAULT=f"exit:get:{at}")
    assert dying.wait(30) == KILLED
    third = here.log(write(tmp_path / "third", {"a.txt": b"third"}))
    checkout(here, third, target)  # everything that lies there is still known to be ours
    assert content(target) == {"a.txt": b"third"}


@embedded
@pytest.mark.slow
def test_a_process_killed_at_any_time_leaves_only_whole_files_and_is_gone_on_with(here, tmp_path, target):
    root = here.log(write(tmp_path / "many", {f"d{n % 5}/{n}": b"%d" % n * 3000 for n in range(600)} | {"L": LARGE}))
    wanted = content(tmp_path / "many")
    for n in range(3):
        process = child(here, root, target)
        assert process.stdout.readline() == b"ready\n"
        time.sleep(0.01 + 0.03 * n)
        process.send_signal(signal.SIGKILL)
        assert process.wait(10) in (0, -signal.SIGKILL)
        found = {k: v for k, v in content(target).items() if not k.startswith(TEMPORARY)} if target.exists() else {}
        assert {k: v for k, v in found.items() if not k.endswith("/")}.items() <= wanted.items()
    fetch(here, root, target)
    assert content(target) == wanted


@embedded
@pytest.mark.slow
def test_two_processes_may_fill_one_target_and_one_shared_tree(here, root, target):
    for act in ("fetch", "shared_tree"):
        both = [child(here, root, target, act) for _ in range(2)]
        assert [process.wait(60) for process in both] == [0, 0]
    assert content(target) == FILES
    assert content(shared_tree(here, root)) == FILES


# ------------------------------------------------------------------- shared trees
def test_a_shared_tree_is_read_only_complete_and_found_again(here, root):
    tree = shared_tree(here, root)
    assert content(tree) == FILES
    assert {stat.S_IMODE(p.stat().st_mode) for p in tree.rglob("*")} == {0o444, 0o555}
    assert stat.S_IMODE((tree / "a.txt").stat().st_mode) == 0o555
    assert stat.S_IMODE(tree.stat().st_mode) == 0o555
    before = gets(here)
    assert shared_tree(here, root) == tree
    assert gets(here) == before
    assert not list((here.folder / "placed").iterdir())


@pytest.mark.parametrize("how", ["flip", "remove", "add", "mode", "link"])
def test_a_damaged_shared_tree_is_repaired_by_fetching_only_what_is_wrong(here, root, how, tmp_path):
    tree = shared_tree(here, root)
    for folder in (tree, tree / "data"):
        folder.chmod(0o755)
    victim = tree / "data/b.csv"
    if how == "flip":
        info = victim.stat()
        victim.chmod(0o644)
        victim.write_bytes(b"TWO" * 1000)
        victim.chmod(0o444)
        os.utime(victim, ns=(info.st_atime_ns, info.st_mtime_ns))
    elif how == "remove":
        victim.unlink()
    elif how == "add":
        (tree / "data/stranger").write_bytes(b"x")
    elif how == "mode":
        victim.chmod(0o644)
    else:
        victim.unlink()
        victim.symlink_to(tmp_path)
    before = gets(here)
    assert content(shared_tree(here, root)) == FILES
    assert gets(here) - before <= 1
    assert stat.S_IMODE((tree / "data").stat().st_mode) == 0o555


def test_a_lost_record_of_a_shared_tree_costs_a_hash_and_no_fetch(here, root):
    tree = shared_tree(here, root)
    next((here.folder / "trees").glob("*.stats")).unlink()
    before = gets(here)
    assert shared_tree(here, root) == tree
    assert gets(here) == before


def test_a_hard_linked_file_of_a_shared_tree_is_always_hashed_again(here, root, tmp_path, monkeypatch):
    tree = shared_tree(here, root)
    os.link(tree / "a.txt", tmp_path / "link")
    shared_tree(here, root)
    stats = next((here.folder / "trees").glob("*.stats"))
    known = msgspec.msgpack.decode(stats.read_bytes())
    stats.write_bytes(msgspec.msgpack.encode({path: [*row[:5], row[5] + 60 * 10**9] for path, row in known.items()}))
    seen = []
    shared = sys.modules["headwater.download.shared"]
    real = shared.hash_file
    monkeypatch.setattr(shared, "hash_file", lambda fd, where: seen.append(where.name) or real(fd, where))
    shared_tree(here, root)
    assert seen == ["a.txt"]


@embedded
def test_a_shared_tree_that_cannot_be_finished_is_absent(here, root):
    damage(here, Digest.of(FILES["data2/d"]))
    with pytest.raises(IntegrityError):
        shared_tree(here, root)
    assert not (here.folder / "trees" / root.hex()).exists()


# --------------------------------------------------------------------- the cache
def test_what_the_file_cache_holds_is_not_fetched_again(here, root, target, tmp_path):
    here.cache = FileCache(tmp_path / "cache", 100 << 20)
    fetch(here, root, target)
    before = gets(here)
    fetch(here, root, tmp_path / "again")
    assert gets(here) == before
    assert content(tmp_path / "again") == FILES


def test_a_flipped_bit_in_the_file_cache_costs_a_fetch(here, root, target, tmp_path):
    here.cache = FileCache(tmp_path / "cache", 100 << 20)
    fetch(here, root, target)
    path = here.cache._index.path(Digest.of(LARGE))
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(b"!")
    fetch(here, root, tmp_path / "again")
    assert content(tmp_path / "again") == FILES


def test_many_small_files_cost_few_requests_few_questions_of_the_cache_and_no_fsync(here, tmp_path, monkeypatch):
    many = 3000
    root = here.log(write(tmp_path / "many", {f"{n % 7}/{n:05}": b"%d" % n * 50 for n in range(many)}))
    here.cache = FileCache(tmp_path / "cache", 100 << 20)
    asked, synced, ask = [], [], here.cache._index.ask
    monkeypatch.setattr(here.cache._index, "ask", lambda action: asked.append(1) or ask(action))
    monkeypatch.setattr(os, "fsync", synced.append)
    before = gets(here)
    fetch(here, root, tmp_path / "first")
    assert gets(here) - before <= 8  # the root, pages, and one range of each pack
    assert len(asked) <= many / 20  # one question for 32 files and a few for each range; not three for each file
    assert content(tmp_path / "first") == content(tmp_path / "many")
    before = gets(here)
    asked.clear()
    fetch(here, root, tmp_path / "again")
    assert gets(here) == before
    assert len(asked) <= many / 20
    assert content(tmp_path / "again") == content(tmp_path / "many")
    assert not synced


def test_a_cache_that_fails_costs_time_only(here, root, target, tmp_path, monkeypatch):
    here.cache = FileCache(tmp_path / "cache", 100 << 20)

    def full(*_: object) -> None:
        raise StorageError(what="no room to write", where="the cache")

    for name in ("open_some", "add_some", "add"):
        monkeypatch.setattr(here.cache, name, full)
    fetch(here, root, target)
    assert content(target) == FILES


def test_hard_links_are_made_when_asked(here, root, target, tmp_path):
    here.cache = FileCache(tmp_path / "cache", 100 << 20)
    fetch(here, root, target)
    fetch(here, root, tmp_path / "again", link=True)
    assert content(tmp_path / "again") == FILES
    assert (tmp_path / "again/large.bin").stat().st_nlink == 2
    assert not (tmp_path / "again/large.bin").stat().st_mode & 0o222


# -------------------------------------------------------------------- references
@pytest.fixture
def share(tmp_path: Path) -> Path:
    return write(tmp_path / "share", {"x.csv": b"far away", "sub/y #1?.csv": b"also"})


def test_references_are_copied_and_proved(here, share, target):
    root = here.log(share / "none", (share.as_uri(), "data"))
    assert fetch(here, root, target).skipped == ()
    assert content(target) == {"data/x.csv": b"far away", "data/sub/y #1?.csv": b"also"}
    assert verify_tree(here, root, target).ok


@pytest.mark.parametrize(
    ("harm", "error", "reason"),
    [
        (lambda p: p.write_bytes(b"changed!"), ReferenceChangedError, "changed"),
        (lambda p: p.unlink(), ReferenceMissingError, "missing"),
    ],
)
@pytest.mark.parametrize("references", ["copy", "in-place"])
def test_a_reference_that_is_missing_or_changed_is_an_error_or_skipped_with_the_reason(  # noqa: PLR0917
    here, share, target, harm, error, reason, references
):
    root = here.log(share / "none", (share.as_uri(), "data"))
    info = (share / "x.csv").stat()
    harm(share / "x.csv")
    if (share / "x.csv").exists():  # the same size at the same time: only the digest tells
        os.utime(share / "x.csv", ns=(info.st_atime_ns, info.st_mtime_ns + (references == "in-place")))
    with pytest.raises(error):
        fetch(here, root, target, references=references)
    assert not (target / "data/x.csv").exists()
    result = fetch(here, root, target, references=references, allow_missing_references=True)
    assert [(s.path, s.reason) for s in result.skipped] == [("data/x.csv", reason)]
    assert set(content(target)) == {"data/sub/y #1?.csv"}


def test_references_may_be_left_in_place_as_links(here, share, target):
    root = here.log(share / "none", (share.as_uri(), "data"))
    fetch(here, root, target, references="in-place")
    assert (target / "data/x.csv").readlink() == share / "x.csv"
    assert verify_tree(here, root, target).ok
    fetch(here, root, target, references="in-place")
    fetch(here, root, target)  # copies replace our own links
    assert not (target / "data/x.csv").is_symlink()
    assert (target / "data/x.csv").read_bytes() == b"far away"


def test_references_may_be_skipped(here, share, target):
    root = here.log(share / "none", (share.as_uri(), "data"))
    result = fetch(here, root, target, references="skip")
    assert {(s.path, s.reason) for s in result.skipped} == {("data/x.csv", "asked"), ("data/sub/y #1?.csv", "asked")}
    assert content(target) == {}


def test_what_no_source_can_read_is_unverified(here, tmp_path, target):
    root = here.log(tmp_path / "none", ("warehouse:table/7", "table"))
    for references in ("copy", "in-place"):
        with pytest.raises(InvalidInputError):
            fetch(here, root, target, references=references)
        skipped = fetch(here, root, target, references=references, allow_missing_references=True).skipped
        assert [(s.uri, s.reason) for s in skipped] == [("warehouse:table/7", "unverified")]


class Whatever:
    """A source whose pins prove nothing."""

    data = b"first"
    reads = 0

    def walk(self, uri, *, pin=True):
        from headwater.ports import Found

        return iter([Found("w", uri, None, Pin())])

    def read(self, uri, pin, start=0, length=None):
        type(self).reads += 1
        yield self.data[start : None if length is None else start + length]

    def check(self, references):
        return iter(())


@pytest.fixture
def whatever(monkeypatch):
    monkeypatch.setitem(SOURCES._registered, "whatever", Whatever)
    SOURCES._made.pop("whatever", None)
    Whatever.data, Whatever.reads = b"first", 0
    return Whatever


def test_where_a_pin_proves_nothing_the_first_read_is_held_to_ever_after(here, whatever, tmp_path, target):
    root = here.log(tmp_path / "none", ("whatever://x", "w"))
    assert verify_tree(here, root, write(target, {"w": b"unknown"})).unverified == ("w",)
    shutil.rmtree(target)
    fetch(here, root, target)
    assert verify_tree(here, root, target).ok
    fetch(here, root, target)
    assert whatever.reads == 1
    whatever.data = b"other"
    with pytest.raises(ReferenceChangedError):
        fetch(here, root, tmp_path / "second")
    with pytest.raises(ReferenceChangedError):
        open_entry(here, here.entry(root, "w"))
    whatever.data = b"first"
    with open_entry(here, here.entry(root, "w")) as file:
        assert file.read() == b"first"


def test_references_go_through_the_file_cache(here, whatever, tmp_path, target):
    here.cache = FileCache(tmp_path / "cache", 100 << 20)
    root = here.log(tmp_path / "none", ("whatever://x", "w"))
    fetch(here, root, target)
    fetch(here, root, tmp_path / "second")
    assert whatever.reads == 1


def test_a_full_disk_is_not_taken_for_a_missing_reference(here, tmp_path, target):
    big = write(tmp_path / "share", {"big": b"x" * 2_000_000})
    root = here.log(tmp_path / "none", (big.as_uri(), "data"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(StorageError, match="no room"):
            fetch(here, root, target, allow_missing_references=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# -------------------------------------------------------------------- open_entry
def test_an_entry_opens_as_a_seekable_file(here, root):
    with open_entry(here, here.entry(root, "large.bin")) as file:
        assert file.seek(-10, os.SEEK_END) == len(LARGE) - 10
        assert file.read() == LARGE[-10:]
        file.seek(1_234_567)
        assert file.read(1000) == LARGE[1_234_567:1_235_567]
        file.seek(0)
        assert file.read() == LARGE
        assert file.read() == b""
    with open_entry(here, here.entry(root, "zero")) as file:
        assert file.read() == b""
    with pytest.raises(InvalidInputError):
        open_entry(here, here.entry(root, "empty/"))


def test_a_range_costs_its_own_chunks(here, root):
    entry = here.entry(root, "large.bin")
    before = gets(here)
    with open_entry(here, entry) as file:
        file.seek(2_000_000)
        file.read(10)
    assert gets(here) - before <= 2


@embedded
def test_a_damaged_chunk_is_an_error_when_it_is_read(here, root):
    from headwater.model.chunker import chunk_list_name, decode_chunks

    entry = here.entry(root, "large.bin")
    chunks = decode_chunks(here.blobs.read(chunk_list_name(entry.digest)))
    damage(here, chunks[-1][0])
    with open_entry(here, entry) as file:
        assert file.read(10) == LARGE[:10]
        file.seek(-5, os.SEEK_END)
        with pytest.raises(IntegrityError):
            file.read()


def test_a_reference_opens_in_ranges(here, share):
    root = here.log(share / "none", (share.as_uri(), "data"))
    entry = here.entry(root, "data/x.csv")
    assert isinstance(entry, ReferenceEntry)
    with open_entry(here, entry) as file:
        file.seek(4)
        assert file.read() == b"away"
    (share / "x.csv").write_bytes(b"gone off")
    with open_entry(here, entry) as file, pytest.raises(ReferenceChangedError):
        file.read()
