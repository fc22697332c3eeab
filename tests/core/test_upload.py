"""The journey down: what is sent, what is not, and what happens on bad days."""

from __future__ import annotations

import os
import random
import resource
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from headwater.artifact import Artifact
from headwater.backends.files import FileStore
from headwater.errors import (
    ConflictError,
    MissingBlobError,
    SourceChangedError,
    StorageError,
)
from headwater.model.chunker import MIN_FILE
from headwater.model.digest import Digest
from headwater.model.manifest import build_pages
from headwater.store import blobwriter
from headwater.upload import large
from headwater.upload.large import read_large
from tests.core.worlds import later, publication, team_world, world, write
from tests.faults import Fault

FILES = {"a.txt": b"one", "b/c.txt": b"two" * 100, "b/d/e.bin": bytes(range(256)) * 40, "empty/": b"", "zero": b""}


@pytest.fixture(params=["here", pytest.param("team", marks=pytest.mark.slow)])
def here(request, tmp_path, monkeypatch):
    if request.param == "here":
        yield world(tmp_path / "repository")
        return
    shared = team_world(tmp_path / "repository", monkeypatch)
    yield shared
    shared.catalog.close()


@pytest.fixture
def tree(tmp_path):
    return write(tmp_path / "tree", FILES)


def noise(size, seed=0):
    return random.Random(seed).randbytes(size)


def watch_opens(monkeypatch):
    """Every path that is opened from now on."""
    opened = []
    real = os.open

    def watched(path, *rest, **more):
        opened.append(Path(path))
        return real(path, *rest, **more)

    monkeypatch.setattr(os, "open", watched)
    return opened


def test_what_goes_down_is_what_the_store_gives_back(here, tree):
    uploaded = here.log(Artifact("t").add_dir(tree))
    assert here.content(uploaded) == FILES
    assert uploaded.n_entries == len(FILES)
    assert uploaded.stored_size == sum(map(len, FILES.values()))


def test_the_root_is_that_of_the_manifest_built_by_hand(here, tree):
    uploaded = here.log(Artifact("t").add_dir(tree))
    pages = [ref for ref, _ in build_pages(here.entries(uploaded))]
    assert here.blobs.read_root(uploaded.root).pages == tuple(pages)


def test_a_small_commit_is_one_put(here, tree):
    assert here.log(Artifact("t").add_dir(tree)).n_puts == 1
    assert here.store.counts()["put"] == 1


def test_an_unchanged_tree_sends_nothing_and_reads_nothing(here, tree, monkeypatch):
    later(here.statcache)
    first = here.log(Artifact("t").add_dir(tree))
    opened = watch_opens(monkeypatch)
    again = here.log(Artifact("t").add_dir(tree))
    assert (again.root, again.sent_bytes, again.n_puts) == (first.root, 0, 0)
    assert not [path for path in opened if path.is_file() and path.is_relative_to(tree)]


def test_an_unchanged_tree_with_other_things_beside_it_reads_nothing_either(here, tree, monkeypatch):
    later(here.statcache)
    here.log(Artifact("t").add_dir(tree))
    opened = watch_opens(monkeypatch)
    again = here.log(Artifact("t").add_dir(tree).add_bytes(b"new", "x"))
    assert here.content(again) == {**FILES, "x": b"new"}
    assert (again.sent_blobs, again.n_puts) == (3, 1)  # the bytes, a page, the root
    assert not [path for path in opened if path.is_file() and path.is_relative_to(tree)]


def test_one_changed_file_sends_one_blob_one_page_one_root_in_one_put(here, tree):
    here.log(Artifact("t").add_dir(tree))
    (tree / "b/c.txt").write_bytes(b"other")
    uploaded = here.log(Artifact("t").add_dir(tree))
    assert (uploaded.sent_blobs, uploaded.n_puts) == (3, 1)
    assert here.content(uploaded) == {**FILES, "b/c.txt": b"other"}


@pytest.mark.parametrize("change", ["content", "touch", "rename", "remove", "add", "swap"])
def test_no_change_of_a_known_tree_goes_unseen(here, tree, change):
    later(here.statcache)
    for _ in range(2):
        here.log(Artifact("t").add_dir(tree))
    want = dict(FILES)
    if change == "content":
        (tree / "a.txt").write_bytes(b"two")
        want["a.txt"] = b"two"
    elif change == "touch":
        os.utime(tree / "a.txt")
    elif change == "rename":
        (tree / "a.txt").rename(tree / "b/z")
        want["b/z"] = want.pop("a.txt")
    elif change == "remove":
        (tree / "b/d/e.bin").unlink()
        (tree / "b/d").rmdir()
        del want["b/d/e.bin"]
    elif change == "add":
        (tree / "empty/new").write_bytes(b"n")
        del want["empty/"]
        want["empty/new"] = b"n"
    else:
        write(tree, {"b/c.txt": FILES["a.txt"], "a.txt": FILES["b/c.txt"]})
        want |= {"b/c.txt": FILES["a.txt"], "a.txt": FILES["b/c.txt"]}
    assert here.content(here.log(Artifact("t").add_dir(tree))) == want


def test_the_same_content_is_sent_once(here):
    artifact = Artifact("t")
    for n in range(50):
        artifact.add_bytes(b"same", f"{n:02}")
    assert here.log(artifact).sent_blobs == 3
    assert here.log(Artifact("u").add_bytes(b"same", "elsewhere")).sent_blobs == 2


def test_a_large_file_is_cut_and_an_insertion_sends_only_what_is_around_it(here, tmp_path):
    data = noise(24 << 20)
    (tmp_path / "big").write_bytes(data)
    first = here.log(Artifact("t").add_file(tmp_path / "big"))
    assert here.content(first) == {"big": data}
    assert here.entries(first)[0].digest == Digest.of(data)
    changed = data[: 5 << 20] + b"12345" + data[5 << 20 :]
    (tmp_path / "big").write_bytes(changed)
    second = here.log(Artifact("t").add_file(tmp_path / "big"))
    assert second.sent_bytes < 2 << 20
    assert here.content(second) == {"big": changed}


def test_large_bytes_are_cut_only_where_the_store_does_not_have_them(here, monkeypatch):
    cut, real = [], large.cut_bytes
    monkeypatch.setattr("headwater.upload.cut_bytes", lambda content: cut.append(len(content)) or real(content))
    data = noise(9 << 20)
    first = here.log(Artifact("t").add_bytes(data, "x"))
    assert cut == [len(data)]
    again = here.log(Artifact("t").add_bytes(bytes(bytearray(data)), "x").add_bytes(data, "y"))
    assert cut == [len(data)]
    assert again.sent_bytes < 4096
    assert here.content(again) == {"x": data, "y": data}
    edited = data[: 4 << 20] + b"!" + data[4 << 20 :]
    changed = here.log(Artifact("t").add_bytes(edited, "x"))
    assert cut == [len(data), len(edited)]
    assert changed.sent_bytes < 2 << 20
    assert here.content(changed) == {"x": edited}
    assert here.content(first) == {"x": data}


def test_large_bytes_and_a_file_of_the_same_content_are_one(here, tmp_path):
    data = noise(3 << 20)
    (tmp_path / "f").write_bytes(data)
    both = here.log(Artifact("t").add_file(tmp_path / "f").add_bytes(data, "b"))
    assert both.sent_bytes < len(data) + (64 << 10)
    assert both.root == here.log(Artifact("t").add_bytes(data, "f").add_bytes(data, "b")).root
    assert here.content(both) == {"f": data, "b": data}


@pytest.mark.parametrize("size", [MIN_FILE - 1, MIN_FILE, MIN_FILE + 1])
def test_files_around_the_limit_of_cutting_come_back(here, tmp_path, size):
    (tmp_path / "f").write_bytes(noise(size))
    uploaded = here.log(Artifact("t").add_file(tmp_path / "f").add_bytes(noise(size, 1), "b"))
    assert here.content(uploaded) == {"f": noise(size), "b": noise(size, 1)}
    assert len(uploaded.chunk_lists) == (2 if size >= MIN_FILE else 0)


def test_large_and_small_files_in_one_directory_keep_their_order(here, tmp_path):
    files = {f"{n:03}": noise(MIN_FILE + n if n % 7 == 3 else n * 10, n) for n in range(40)}
    later(here.statcache)
    tree = write(tmp_path / "tree", files)
    for _ in range(2):
        assert here.content(here.log(Artifact("t").add_dir(tree))) == files
    (tree / "010").write_bytes(files["010"] + b"x")
    (tree / "020").unlink()
    want = {**files, "010": files["010"] + b"x"}
    del want["020"]
    assert here.content(here.log(Artifact("t").add_dir(tree))) == want


def test_pages_name_every_pack_below_them(here, tmp_path):
    """Otherwise collection would take bytes from under a version."""
    tree = write(tmp_path / "tree", {"small": b"x", "large": noise(3 << 20), "other": noise(100)})
    first = here.log(Artifact("t").add_dir(tree))
    (tree / "other").write_bytes(b"changed")
    second = here.log(Artifact("t").add_dir(tree))
    for uploaded in (first, second):
        packs = set().union(*(page.packs for page in uploaded.pages), uploaded.root_packs)
        names = [e.digest for e in here.entries(uploaded) if e.size < MIN_FILE]
        places = here.catalog.packs.locate([*names, *(page.name for page in uploaded.pages), uploaded.root])
        assert {place.pack_id for place in places.values()} <= packs
        for chunk_list in first.chunk_lists:
            assert chunk_list.packs <= packs
            assert here.catalog.packs.locate([chunk_list.name])[chunk_list.name].pack_id in packs


def test_many_packs_are_sealed_on_the_way_and_the_last_by_the_commit(here, tmp_path):
    tree = write(tmp_path / "tree", {f"{n}.bin": noise(900_000, n) for n in range(80)})
    uploaded = here.upload(Artifact("t").add_dir(tree))
    assert uploaded.n_puts == here.store.counts()["put"] >= 2
    live = {pack_id for pack_id, _, state, _ in here.catalog.packs.packs() if state == "live"}
    assert not live & {pack.pack_id for pack in uploaded.seals}
    here.catalog.versions.commit(publication(Artifact("t"), uploaded, here.lease))
    assert len(here.content(uploaded)) == 80


# --------------------------------------------------------------------- bad days
def test_a_put_that_fails_is_tried_again(tmp_path, tree, monkeypatch):
    monkeypatch.setattr(blobwriter, "_FIRST_PAUSE", 0.001)
    here = world(tmp_path / "repository", Fault("raise", on="put", times=3))
    assert here.content(here.log(Artifact("t").add_dir(tree))) == FILES
    assert here.store.counts()["put"] == 4


def test_a_put_whose_answer_is_lost_does_no_harm(tmp_path, tree, monkeypatch):
    monkeypatch.setattr(blobwriter, "_FIRST_PAUSE", 0.001)
    here = world(tmp_path / "repository", Fault("lose", on="put"))
    assert here.content(here.log(Artifact("t").add_dir(tree))) == FILES


def test_a_store_that_stays_away_is_given_up(tmp_path, tree, monkeypatch):
    monkeypatch.setattr(blobwriter, "_FIRST_PAUSE", 0.001)
    here = world(tmp_path / "repository", Fault("raise", on="put", times=99))
    with pytest.raises(StorageError):
        here.log(Artifact("t").add_dir(tree))
    assert here.store.counts()["put"] == blobwriter.ATTEMPTS


def test_an_interrupted_log_sends_only_the_rest(tmp_path):
    files = {f"{n:03}.bin": noise(900_000, n) for n in range(110)}
    tree = write(tmp_path / "tree", files)
    fatal = StorageError(what="gone", retryable=False)
    here = world(tmp_path / "repository", Fault("raise", on="put", at=3, times=99, error=fatal))
    with pytest.raises(StorageError):
        here.log(Artifact("t").add_dir(tree))
    sealed = sum(size or 0 for _, _, state, size in here.catalog.packs.packs() if state == "live")
    assert sealed > 30 << 20
    here.store._fault = None
    uploaded = here.log(Artifact("t").add_dir(tree))
    assert uploaded.sent_bytes < 110 * 900_000 - sealed + (1 << 20)
    assert here.content(uploaded) == files


@pytest.mark.parametrize("size", [1_000, 3 << 20])
def test_a_file_that_grows_while_it_is_read_is_an_error_that_names_it(here, tmp_path, monkeypatch, size):
    path = tmp_path / "growing"
    path.write_bytes(noise(size))
    artifact = Artifact("t").add_file(path)
    real = os.read

    def read(fd, n):
        data = real(fd, n)
        with path.open("ab") as file:
            file.write(b"more")
        return data

    monkeypatch.setattr(os, "read", read)
    with pytest.raises(SourceChangedError) as caught:
        here.log(artifact)
    assert str(path) in str(caught.value)
    monkeypatch.setattr(os, "read", real)
    assert here.log(artifact).stored_size == path.stat().st_size


def test_a_file_that_really_grows_is_never_logged_torn(here, tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"")
    stop = threading.Event()

    def grow():
        with path.open("ab", buffering=0) as file:
            while not stop.wait(0.001):
                file.write(b"line\n" * 1_000)

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        for _ in range(5):
            try:
                uploaded = here.log(Artifact("t").add_file(path))
            except SourceChangedError:
                continue
            assert here.content(uploaded)["log"] == path.read_bytes()[: uploaded.stored_size]
    finally:
        stop.set()
        writer.join()


def test_a_file_that_vanishes_after_it_was_added_is_named(here, tmp_path):
    (tmp_path / "f").write_bytes(b"x")
    artifact = Artifact("t").add_file(tmp_path / "f")
    (tmp_path / "f").unlink()
    with pytest.raises(SourceChangedError, match="f"):
        here.log(artifact)


def test_a_file_replaced_by_a_pipe_does_not_hang(here, tmp_path, monkeypatch):
    tree = write(tmp_path / "tree", {"f": b"x"})
    items = list(Artifact("t").add_dir(tree).items(None))
    (tree / "f").unlink()
    os.mkfifo(tree / "f")
    artifact = Artifact("t").add_dir(tree)
    monkeypatch.setattr(artifact, "items", lambda cache: iter(items))
    with pytest.raises(SourceChangedError):
        here.log(artifact)


def test_bytes_the_store_has_lost_are_read_and_sent_again(here, tree):
    """A stat-cache hit is no proof that the store still has the bytes."""
    later(here.statcache)
    write(tree, {"large": noise(2 << 20)})
    first = here.log(Artifact("t").add_dir(tree))
    other = world(here.statcache.path.parent / "other")
    other.statcache = here.statcache
    second = other.log(Artifact("t").add_dir(tree))
    assert second.root == first.root
    assert other.content(second) == {**FILES, "large": noise(2 << 20)}


def test_packs_that_collection_took_are_sent_again(here, tree):
    later(here.statcache)
    write(tree, {"large": noise(2 << 20)})
    for _ in range(2):
        first = here.log(Artifact("t").add_dir(tree))
    for info in list(here.store.list()):
        here.store.delete(info.key)
    here.catalog.database.write(lambda tx: tx.run("UPDATE packs SET state = 'deleting'"))
    second = here.log(Artifact("t").add_dir(tree))
    assert second.root == first.root
    assert here.content(second) == {**FILES, "large": noise(2 << 20)}


def test_a_known_digest_that_is_wrong_is_never_sent_under_its_name(here, tree):
    later(here.statcache)
    here.log(Artifact("t").add_dir(tree))
    info = (tree / "a.txt").stat()
    (tree / "a.txt").write_bytes(b"two")
    os.utime(tree / "a.txt", ns=(info.st_atime_ns, info.st_mtime_ns))
    uploaded = here.log(Artifact("t").add_dir(tree))  # ctime gives it away
    assert here.content(uploaded)["a.txt"] == b"two"


def test_a_believed_digest_that_turns_out_wrong_is_corrected_and_said_loudly(tmp_path, tree):
    here = world(tmp_path / "repository", sample=1.0)
    later(here.statcache)
    here.log(Artifact("t").add_dir(tree))
    here.statcache.close()
    with sqlite3.connect(here.statcache.path) as db:
        db.execute("UPDATE listing SET digests = randomblob(length(digests))")
    with pytest.warns(RuntimeWarning, match="stat cache"):
        uploaded = here.log(Artifact("t").add_dir(tree))
    assert here.content(uploaded) == FILES
    assert here.statcache.is_off
    assert here.content(here.log(Artifact("t").add_dir(tree))) == FILES


def test_two_contents_for_one_path_are_refused(here, tree):
    with pytest.raises(ConflictError, match=r"a\.txt"):
        here.log(Artifact("t").add_dir(tree).add_bytes(b"other", "a.txt"))
    uploaded = here.log(Artifact("t").add_dir(tree).add_bytes(b"other", "a.txt", overwrite=True))
    assert here.content(uploaded) == {**FILES, "a.txt": b"other"}
    same = here.log(Artifact("t").add_dir(tree).add_bytes(b"one", "a.txt"))
    assert here.content(same) == FILES


def test_an_entry_whose_bytes_are_elsewhere_is_refused(here, tmp_path):
    other = world(tmp_path / "other")
    entry = other.entries(other.log(Artifact("t").add_bytes(b"x" * 10, "a")))[0]
    with pytest.raises(MissingBlobError):
        here.log(Artifact("t").add_reference(entry, "b"))


def test_a_full_disk_is_an_error_of_ours_and_leaves_no_version(tmp_path):
    mount = tmp_path / "small"
    mount.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", mount], capture_output=True)
    mounted = done.returncode == 0
    if not mounted:
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, limit[1]))
    try:
        here = world(tmp_path / "repository", store=FileStore(mount / "store"))
        large = Artifact("t")
        for n in range(3):
            large.add_bytes(noise(900_000, n), f"{n}")
        with pytest.raises(StorageError, match="room"):
            here.log(large)
        assert here.log(Artifact("t").add_bytes(b"small", "a")).n_puts == 1
    finally:
        if mounted:
            subprocess.run(["umount", mount])
        else:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)


def test_a_child_forked_after_first_use_logs_too(tmp_path):
    script = f"""
import os, sys
from pathlib import Path
from headwater.artifact import Artifact
from tests.core.worlds import world, write
from headwater.backends.files import FileStore
here = world(Path({str(tmp_path)!r}) / "r", store=FileStore(Path({str(tmp_path)!r}) / "s"))
tree = write(Path({str(tmp_path)!r}) / "tree", {{f"{{n}}": os.urandom(2_000_000) for n in range(8)}})
here.log(Artifact("t").add_dir(tree))
child = os.fork()
here.log(Artifact("a" if child else "b").add_dir(tree).add_bytes(b"x" * 2_000_000, "x"))
os._exit(0) if child == 0 else sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr


def test_no_thread_outlives_an_upload_that_fails(here, tmp_path):
    tree = write(tmp_path / "tree", {f"{n:02}": noise(5 << 20, n) for n in range(4)})
    before = threading.active_count()
    here.store._fault = Fault("raise", on="put", error=StorageError(what="no"), times=99)
    with pytest.raises(StorageError):
        here.log(Artifact("t").add_dir(tree))
    assert threading.active_count() == before


def test_progress_rises_to_the_end(here, tree):
    write(tree, {"large": noise(9 << 20)})
    told = []
    uploaded = here.log(Artifact("t").add_dir(tree), progress=lambda *step: told.append(step))
    done = [n for _, n, _ in told]
    assert done == sorted(done)
    assert done[-1] == uploaded.stored_size


def test_pieces_of_a_large_file_are_named_by_their_own_bytes(tmp_path):
    (tmp_path / "f").write_bytes(noise(10 << 20))
    *pieces, end = read_large(str(tmp_path / "f"))
    chunks = [(name, bytes(chunk)) for piece in pieces for name, chunk in piece.chunks]
    assert all(Digest.of(chunk) == name for name, chunk in chunks)
    assert Digest.of(b"".join(chunk for _, chunk in chunks)) == end.digest


# ------------------------------------------------------------------------ drafts
class Version:
    """As much of a version as a draft starts from."""

    def __init__(self, here, uploaded, **facts):
        self.home, self.root = here, here.blobs.read_root(uploaded.root)
        self.description, self.metadata = facts.pop("description", ""), facts.pop("metadata", {})
        self.record = type("Record", (), {"project": "tests", "artifact": "t", "type": "dataset", "partition": "",
                                          "codec": None, **facts})  # fmt: skip


def test_a_draft_without_changes_is_the_same_manifest_and_sends_nothing(here, tree):
    first = here.log(Artifact("t").add_dir(tree))
    again = here.log(Artifact.from_version(Version(here, first)).described(name="u"))
    assert (again.root, again.sent_bytes) == (first.root, 0)


def test_a_draft_is_the_same_manifest_as_building_anew(here, tree, tmp_path):
    first = here.log(Artifact("t").add_dir(tree))
    draft = Artifact.from_version(Version(here, first)).described(name="u")
    draft.add_bytes(b"new", "new").add_bytes(b"changed", "a.txt", overwrite=True).remove("b").add_bytes(b"x", "empty/x")
    changed = here.log(draft)
    want = {"a.txt": b"changed", "empty/x": b"x", "new": b"new", "zero": b""}
    assert here.content(changed) == want
    assert changed.root == here.log(Artifact("v").add_dir(write(tmp_path / "w", want))).root


def test_a_draft_refuses_other_content_unless_told(here, tree):
    first = here.log(Artifact("t").add_dir(tree))
    draft = Artifact.from_version(Version(here, first)).described(name="u").add_bytes(b"changed", "a.txt")
    with pytest.raises(ConflictError):
        here.log(draft)
    draft = Artifact.from_version(Version(here, first)).described(name="u")
    draft.remove("a.txt").add_bytes(b"changed", "a.txt")
    assert here.content(here.log(draft))["a.txt"] == b"changed"


def test_entries_of_a_version_are_added_without_moving_bytes(here, tree):
    write(tree, {"large": noise(2 << 20)})
    first = here.log(Artifact("t").add_dir(tree))
    artifact = Artifact("u")
    for entry in here.entries(first):
        artifact.add_reference(entry, f"copy/{entry.path}")
    here.store.calls.clear()
    second = here.log(artifact)
    assert here.content(second) == {f"copy/{p}": d for p, d in {**FILES, "large": noise(2 << 20)}.items()}
    assert second.sent_blobs == 2  # a page and the root


@pytest.mark.slow
def test_a_gibibyte_stays_under_300_mb(tmp_path):
    script = f"""
import random
from pathlib import Path
from benchmarks.child import peak_mib
from headwater.artifact import Artifact
from headwater.backends.files import FileStore
from tests.core.worlds import world
here = world(Path({str(tmp_path)!r}) / "r", store=FileStore(Path({str(tmp_path)!r}) / "s"))
with open({str(tmp_path)!r} + "/big", "wb") as f:
    for n in range(64): f.write(random.Random(n).randbytes(16 << 20))
here.upload(Artifact("t").add_file({str(tmp_path)!r} + "/big"))
print(int(peak_mib()))
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120)
    assert int(done.stdout) < 300, done.stderr
