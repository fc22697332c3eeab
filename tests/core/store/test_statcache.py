"""The stat cache: what is believed, what is not, and that losing it never matters."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

import pytest

from headwater.model.digest import Digest
from headwater.model.patterns import Ignore
from headwater.store import statcache
from headwater.store.listing import keep
from headwater.store.statcache import Record, StatCache
from headwater.store.walk import Walk
from tests.core.worlds import later, write


@pytest.fixture
def cache(tmp_path):
    return StatCache(tmp_path / "cache.sqlite", sample=0)


def hashed(cache, top):
    """Walk, hash what is not known, keep it; return which files were hashed."""
    read = []
    for segment in Walk(str(top), "", Ignore(), cache):
        listing = segment.listing
        for at in segment.unread():
            read.append(listing.names[at])
            digest = Digest.of(Path(listing.file(at)).read_bytes())
            info = listing.stats[at]
            listing.learn(at, digest, info, settled=cache.settled(info[3], info[4], info[0]))
        keep(listing, cache)
    cache.flush()
    return read


def test_a_file_is_hashed_once(cache, tmp_path):
    write(tmp_path / "t", {"a": b"1", "b": b"2"})
    later(cache)
    assert hashed(cache, tmp_path / "t") == ["a", "b"]
    assert hashed(cache, tmp_path / "t") == []
    assert hashed(StatCache(cache.path, sample=0), tmp_path / "t") == []


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.write_bytes(b"other"),
        os.utime,
        lambda p: p.chmod(0o755),
        lambda p: (p.rename(p.with_name("z")), p.write_bytes(b"1")),
    ],
)
def test_a_file_that_looks_different_is_hashed_again_and_its_neighbours_are_not(cache, tmp_path, change):
    write(tmp_path / "t", {"a": b"1", "b": b"2"})
    later(cache)
    hashed(cache, tmp_path / "t")
    change(tmp_path / "t/a")
    assert set(hashed(cache, tmp_path / "t")) - {"z"} == {"a"}


def test_equal_size_and_restored_mtime_do_not_deceive(cache, tmp_path):
    write(tmp_path / "t", {"a": b"1"})
    later(cache)
    hashed(cache, tmp_path / "t")
    info = (tmp_path / "t/a").stat()
    (tmp_path / "t/a").write_bytes(b"2")
    os.utime(tmp_path / "t/a", ns=(info.st_atime_ns, info.st_mtime_ns))
    assert hashed(cache, tmp_path / "t") == ["a"]


def test_a_young_file_is_not_believed_until_it_was_hashed_when_old(cache, tmp_path):
    write(tmp_path / "t", {"a": b"1"})
    assert hashed(cache, tmp_path / "t") == ["a"]
    assert hashed(cache, tmp_path / "t") == ["a"]
    later(cache)
    assert hashed(cache, tmp_path / "t") == ["a"]
    assert hashed(cache, tmp_path / "t") == []


def test_a_clock_that_jumps_back_only_costs_time(cache, tmp_path):
    write(tmp_path / "t", {"a": b"1"})
    later(cache, -3600)
    assert hashed(cache, tmp_path / "t") == ["a"]
    assert hashed(cache, tmp_path / "t") == ["a"]


def test_the_racy_window_is_three_seconds_here_and_ten_on_a_network(cache, monkeypatch):
    now = 10**18
    cache.clock = lambda: now
    second = 10**9
    assert cache.settled(now - 3 * second, now - 3 * second, 1)
    assert not cache.settled(now - 2 * second, now - 9 * second, 1)
    assert not cache.settled(now - 9 * second, now - 2 * second, 1)
    monkeypatch.setitem(statcache._mounts, 1, True)
    assert cache.settled(now - 10 * second, now, 1)
    assert not cache.settled(now - 9 * second, 0, 1)


def test_on_a_network_mount_ctime_is_not_compared(cache, tmp_path, monkeypatch):
    write(tmp_path / "t", {"a": b"1"})
    monkeypatch.setitem(statcache._mounts, tmp_path.stat().st_dev, True)
    later(cache)
    hashed(cache, tmp_path / "t")
    os.link(tmp_path / "t/a", tmp_path / "elsewhere")  # changes the ctime alone
    assert hashed(cache, tmp_path / "t") == []


def test_mounts_are_told_apart_by_their_kind():
    lines = [
        "22 27 0:21 / /proc rw - proc proc rw",
        "36 35 0:40 / /data rw,relatime shared:1 - nfs4 server:/x rw",
        "37 35 0:41 / /fuse rw - fuse.sshfs host: rw",
    ]
    assert statcache._read_mounts(lines) == {os.makedev(0, 21): False, os.makedev(0, 40): True, os.makedev(0, 41): True}


def test_a_sample_is_hashed_again_and_a_lie_switches_the_cache_off_loudly(tmp_path):
    cache = StatCache(tmp_path / "cache", sample=1.0)
    write(tmp_path / "t", {"a": b"1"})
    later(cache)
    hashed(cache, tmp_path / "t")
    assert hashed(cache, tmp_path / "t") == ["a"]
    with pytest.warns(RuntimeWarning, match="changed although"):
        cache.distrust("/x")
    assert cache.is_off
    assert StatCache(cache.path).is_off
    assert StatCache(cache.path).find(str(tmp_path / "t")) is None


def test_samples_are_about_as_many_as_asked_for(tmp_path):
    cache = StatCache(tmp_path / "cache", sample=0.001)
    assert 10 < sum(len(cache.doubted(100)) for _ in range(500)) < 120
    picked = cache.doubted(100_000)
    assert len(picked) in (100, 101)
    assert picked == sorted(set(picked))


def damage(path, how):
    if how == "noise":
        path.write_bytes(os.urandom(5_000))
    elif how == "truncated":
        path.write_bytes(path.read_bytes()[:5_000])
    elif how == "zeros":
        data = bytearray(path.read_bytes())
        data[1_000:] = bytes(len(data) - 1_000)
        path.write_bytes(data)
    elif how == "other-schema":
        path.unlink()
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE listing (x)")
            db.execute("PRAGMA user_version = 99")
    else:
        path.unlink()
        path.mkdir()


@pytest.mark.parametrize("how", ["noise", "truncated", "zeros", "other-schema", "directory"])
def test_a_damaged_cache_is_dropped_and_never_an_error(cache, tmp_path, how):
    write(tmp_path / "t", {f"{n}": b"1" * n for n in range(500)})
    later(cache)
    hashed(cache, tmp_path / "t")
    cache.close()
    for leftover in ("-wal", "-shm"):
        (tmp_path / f"cache.sqlite{leftover}").unlink(missing_ok=True)
    damage(cache.path, how)
    again = StatCache(cache.path, sample=0)
    later(again)
    hashed(again, tmp_path / "t")
    if how != "directory":
        assert hashed(again, tmp_path / "t") == []


def test_a_cache_with_no_place_to_live_is_no_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    cache = StatCache(tmp_path / "file" / "cache", sample=0)
    write(tmp_path / "t", {"a": b"1"})
    later(cache)
    assert hashed(cache, tmp_path / "t") == ["a"]
    assert hashed(cache, tmp_path / "t") == ["a"]


def test_another_process_that_writes_for_long_is_not_waited_for_nor_dropped(cache, monkeypatch):
    monkeypatch.setattr(statcache, "_PATIENCE", 0.05)
    cache.remember("k", Record(b"s", b"d"))
    cache.close()
    with sqlite3.connect(cache.path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        cache.remember("l", Record(b"s", b"d"))
        start = time.monotonic()
        cache.flush()
        assert time.monotonic() - start < 2
        other.execute("COMMIT")
    assert cache.find("k") == Record(b"s", b"d")
    assert not cache.is_off


def test_of_two_that_make_the_cache_at_once_the_later_keeps_what_the_other_wrote(tmp_path, monkeypatch):
    real, asked = statcache._version, []

    def late(db):
        found = real(db)
        asked.append(found)
        if len(asked) == 1:
            other = StatCache(tmp_path / "stat.sqlite")
            other.remember("k", Record(b"s", b"d"))
            other.close()
        return found

    monkeypatch.setattr(statcache, "_version", late)
    assert StatCache(tmp_path / "stat.sqlite").find("k") == Record(b"s", b"d")
    assert asked[0] == 0


def test_a_forked_child_has_a_connection_of_its_own(cache):
    cache.remember("k", Record(b"s", b"d"))
    cache.flush()
    child = os.fork()
    if child == 0:
        ok = cache.find("k") == Record(b"s", b"d")
        cache.remember("child", Record(b"1", b"2"))
        cache.flush()
        os._exit(0 if ok else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert cache.find("child") == Record(b"1", b"2")


def test_whole_trees_are_remembered(cache):
    assert cache.find_tree(b"k") is None
    cache.remember_tree(b"k", b"print", b"root")
    assert tuple(StatCache(cache.path).find_tree(b"k")) == (b"print", b"root")
