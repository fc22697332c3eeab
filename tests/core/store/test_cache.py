from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from headwater.errors import DigestMismatchError, StorageError
from headwater.model.digest import Digest
from headwater.store.cache import INDEX_RESERVE, PER_FILE, FileCache

ROOM = INDEX_RESERVE + 10 * (1000 + PER_FILE)
"""Quota for ten files of 1000 bytes."""


@pytest.fixture
def cache(tmp_path: Path) -> FileCache:
    return FileCache(tmp_path / "cache", ROOM)


def add(cache: FileCache, n: int, size: int = 1000) -> Digest:
    data = (b"%06d" % n) * (size // 6 + 1)
    path = cache.root.parent / f"source-{n}-{os.getpid()}-{threading.get_ident()}"
    path.write_bytes(data[:size])
    digest = Digest.of(data[:size])
    cache.add(digest, path)
    path.unlink()
    return digest


def on_disk(root: Path) -> int:
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


def test_what_was_added_is_found_again_also_by_another_process(cache: FileCache) -> None:
    digest = add(cache, 1)
    assert digest in cache
    with FileCache(cache.root, ROOM).open(digest) as file:
        assert Digest.of(file.read()) == digest
    assert cache.open(Digest.of(b"unknown")) is None


def test_what_does_not_have_its_digest_is_not_taken(cache: FileCache, tmp_path: Path) -> None:
    path = tmp_path / "wrong"
    path.write_bytes(b"wrong")
    with pytest.raises(DigestMismatchError):
        cache.add(Digest.of(b"right"), path)
    assert Digest.of(b"right") not in cache
    assert cache.size == INDEX_RESERVE
    assert list((cache.root / "tmp").iterdir()) == []


def test_the_longest_unused_goes_first_and_the_quota_always_holds(cache: FileCache) -> None:
    digests = [add(cache, n) for n in range(10)]
    assert digests[0] in cache
    for n in range(10, 14):
        digests.append(add(cache, n))
        assert cache.size <= ROOM
        assert on_disk(cache.root) <= ROOM
    assert digests[0] in cache
    assert [digest in cache for digest in digests[1:5]] == [False] * 4
    assert all(digest in cache for digest in digests[5:])


def test_uses_count_not_access_times(cache: FileCache) -> None:
    digests = [add(cache, n) for n in range(10)]
    os.utime(cache._index.path(digests[0]), (time.time() + 999, cache._index.path(digests[0]).stat().st_mtime))
    assert digests[1] in cache
    add(cache, 10)
    assert digests[0] not in cache
    assert digests[1] in cache


def test_a_file_larger_than_the_quota_is_not_taken_and_evicts_nothing(cache: FileCache) -> None:
    small = add(cache, 1)
    large = add(cache, 2, size=ROOM)
    assert large not in cache
    assert small in cache


@pytest.mark.parametrize("keep_times", [True, False])
def test_a_flipped_bit_is_a_miss_and_the_file_goes(cache: FileCache, keep_times: bool) -> None:
    digest = add(cache, 1)
    path = cache._index.path(digest)
    before = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(b"X")
    if keep_times:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert cache.open(digest) is None
    assert not path.exists()
    assert cache.size == INDEX_RESERVE


def test_a_truncated_or_vanished_file_is_a_miss(cache: FileCache) -> None:
    digests = [add(cache, n) for n in range(2)]
    cache._index.path(digests[0]).chmod(0o644)
    os.truncate(cache._index.path(digests[0]), 10)
    cache._index.path(digests[1]).unlink()
    assert [digest in cache for digest in digests] == [False, False]


def test_a_hard_linked_file_is_hashed_again_each_time(cache: FileCache, tmp_path: Path) -> None:
    digest = add(cache, 1)
    path = cache._index.path(digest)
    os.link(path, tmp_path / "link")
    assert digest in cache
    with pytest.MonkeyPatch.context() as patch:
        hashed = []
        patch.setattr("headwater.store.cache._hash", lambda fd: hashed.append(fd) or bytes(digest))
        assert digest in cache
        assert digest in cache
    assert len(hashed) == 2


def test_an_open_file_stays_readable_after_it_was_evicted(cache: FileCache) -> None:
    digest = add(cache, 1)
    with cache.open(digest) as file:
        cache.prune(0)
        assert Digest.of(file.read()) == digest
    assert digest not in cache


def test_prune_removes_down_to_the_size_asked_for(cache: FileCache) -> None:
    digests = [add(cache, n) for n in range(10)]
    half = INDEX_RESERVE + 5 * (1000 + PER_FILE)
    assert cache.prune(half) == ROOM - half
    assert cache.size == half
    assert digests[9] in cache and digests[0] not in cache
    cache.prune(0)
    assert list((cache.root / "files").rglob("*/*")) == []


def test_leftovers_of_dead_processes_are_cleaned_and_counted_until_then(cache: FileCache) -> None:
    digest = add(cache, 1)
    old = time.time() - 100_000
    for path in (cache.root / "tmp" / "half", cache.root / "files" / "aa" / "stray"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * 500)
        os.utime(path, (old, old))
    stale = ("REPLACE INTO file VALUES (?, 5000, 0, x'', 0, 0)", (b"r" * 32,))
    cache._index.ask(lambda db: db.execute(*stale))
    again = FileCache(cache.root, ROOM)
    assert again.size > 5000
    add(again, 2)
    assert not (cache.root / "tmp" / "half").exists()
    assert not (cache.root / "files" / "aa" / "stray").exists()
    assert again.size == INDEX_RESERVE + 2 * (1000 + PER_FILE)
    assert digest in again


def test_a_damaged_index_costs_the_cache_and_nothing_else(cache: FileCache) -> None:
    digest = add(cache, 1)
    cache.close()
    (cache.root / "index.sqlite").write_bytes(b"not a database" * 1000)
    again = FileCache(cache.root, ROOM)
    assert digest not in again
    assert add(again, 2) in again
    assert on_disk(cache.root) <= ROOM


def test_a_full_disk_is_a_storage_error_and_leaves_nothing(cache: FileCache) -> None:
    add(cache, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    (cache.root.parent / "big").write_bytes(b"x" * 60_000)
    digest = Digest.of(b"x" * 60_000)
    large = FileCache(cache.root, 10 * ROOM)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(StorageError, match="no room"):
            large.add(digest, cache.root.parent / "big")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert digest not in large
    assert list((cache.root / "tmp").iterdir()) == []


def test_processes_and_threads_share_one_quota(cache: FileCache) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nsys.path[:0] = sys.argv[3:]\n"
        "from tests.core.store.test_cache import FileCache, ROOM, add, on_disk\n"
        "cache = FileCache(Path(sys.argv[1]), ROOM)\n"
        "for n in range(30):\n    d = add(cache, int(sys.argv[2]) * 7 + n % 17)\n    assert cache.size <= ROOM\n"
        "    file = cache.open(d)\n    assert file is None or len(file.read()) == 1000\n"
    )
    add(cache, 0)
    racing = [subprocess.Popen([sys.executable, "-c", script, str(cache.root), str(n), *sys.path]) for n in range(3)]
    threads = [threading.Thread(target=lambda k=k: [add(cache, k + n) for n in range(20)]) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [process.wait(60) for process in racing] == [0, 0, 0]
    assert on_disk(cache.root) <= ROOM
    assert FileCache(cache.root, ROOM).prune(0) > 0


def test_a_place_given_away_meanwhile_is_not_taken_back(cache: FileCache, monkeypatch) -> None:
    other, place = FileCache(cache.root, ROOM), cache._place

    def late(digest: bytes, fill) -> os.stat_result:
        monkeypatch.setattr(cache, "_place", place)
        # The same file by another writer that was quicker, and then so many that its place is given away.
        quicker = threading.Thread(target=lambda: [add(other, n) for n in range(1, 14)])
        quicker.start()
        quicker.join()
        return place(digest, fill)

    monkeypatch.setattr(cache, "_place", late)
    digest = add(cache, 1)
    assert digest not in cache
    assert cache.size <= ROOM
    assert on_disk(cache.root) <= ROOM


def steps_of(cache: FileCache, work) -> int:
    """How many instructions SQLite ran for it, in hundreds."""
    counted = []
    with cache._index._solo.use() as db:
        db.set_progress_handler(lambda: counted.append(1), 100)
    work()
    with cache._index._solo.use() as db:
        db.set_progress_handler(None, 100)
    return len(counted)


def test_a_place_costs_the_same_however_many_files_there_are(tmp_path: Path) -> None:
    cache = FileCache(tmp_path / "cache", 1 << 30)
    add(cache, 1)
    few = steps_of(cache, lambda: add(cache, 2))
    rows = [(b"%032d" % n, 1000, n, b"", 1, n) for n in range(20_000)]
    cache._index.ask(lambda db: db.executemany("INSERT INTO file VALUES (?, ?, ?, ?, ?, ?)", rows))
    assert cache.size == INDEX_RESERVE + 20_002 * (1000 + PER_FILE)
    assert steps_of(cache, lambda: add(cache, 3)) <= few + 5
    full = FileCache(cache.root, cache.size)
    add(full, 4)  # the first one looks for what dead processes left
    assert steps_of(full, lambda: add(full, 5)) <= few + 5
    assert full.size <= full.quota_bytes


def test_small_files_are_added_together(cache: FileCache, monkeypatch) -> None:
    contents = {bytes(Digest.of(text)): text for text in (b"%d" % n * 100 for n in range(10))}
    known = next(iter(contents))
    cache.add_some({known: contents[known]})
    asked, ask = [], cache._index.ask
    monkeypatch.setattr(cache._index, "ask", lambda action: asked.append(1) or ask(action))
    cache.add_some(contents)
    assert len(asked) <= 4
    found = cache.open_some([*contents, Digest.of(b"unknown")])
    assert {digest: file.read() for digest, file in found.items()} == contents
    for file in found.values():
        file.close()
    assert all(cache._index.path(digest).stat().st_mode & 0o777 == 0o444 for digest in contents)


def test_small_files_added_together_keep_the_quota(cache: FileCache) -> None:
    old = [add(cache, n) for n in range(10)]
    assert old[0] in cache
    contents = {bytes(Digest.of(text)): text for text in (b"s%03d" % n * 250 for n in range(4))}
    cache.add_some(contents)
    assert [digest in cache for digest in old] == [True] + [False] * 4 + [True] * 5
    assert all(digest in cache for digest in contents)
    more = {bytes(Digest.of(text)): text for text in (b"s%03d" % n * 250 for n in range(100, 120))}
    cache.add_some(more)
    assert cache.size <= ROOM
    assert on_disk(cache.root) <= ROOM
    assert sum(digest in cache for digest in more) == 10


def test_of_small_files_added_together_the_wrong_one_is_not_taken(cache: FileCache) -> None:
    good, wrong = bytes(Digest.of(b"good")), bytes(Digest.of(b"right"))
    with pytest.raises(DigestMismatchError):
        cache.add_some({good: b"good", wrong: b"wrong"})
    assert good in cache and wrong not in cache
    assert cache.size == INDEX_RESERVE + PER_FILE + 4
    assert list((cache.root / "tmp").iterdir()) == []


def test_the_cache_of_another_release_is_emptied(cache: FileCache) -> None:
    digest = add(cache, 1)
    cache._index.ask(lambda db: db.execute("PRAGMA user_version = 1"))
    cache.close()
    again = FileCache(cache.root, ROOM)
    assert digest not in again
    assert again.size == INDEX_RESERVE
    assert list((cache.root / "files").rglob("*")) == []
    assert add(again, 2) in again


def test_a_fork_uses_its_own_connection(cache: FileCache) -> None:
    digest = add(cache, 1)
    child = os.fork()
    if child == 0:
        os._exit(0 if digest in cache and add(cache, 2) in cache else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert digest in cache
