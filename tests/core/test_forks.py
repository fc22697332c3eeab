"""Connections to SQLite files over forks: none is inherited, and a child never begins inside somebody's transaction."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from headwater import disk, forks
from headwater.download.placed import Placed
from headwater.errors import StateError
from headwater.forks import Solo
from headwater.model.digest import Digest
from headwater.store import statcache
from headwater.store.cache import FileCache
from headwater.store.statcache import Record, StatCache

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


class Stats:
    """The stat cache: remember a record, and see those there are."""

    def __init__(self, folder: Path) -> None:
        self.it = StatCache(folder / "stat.sqlite")

    def put(self, name: str) -> None:
        self.it.remember(name, Record(b"s", b"d"))
        self.it.flush()

    def has(self, name: str) -> bool:
        return self.it.find(name) is not None


class Files:
    """The file cache."""

    def __init__(self, folder: Path) -> None:
        self.it = FileCache(folder / "cache", 1 << 20)
        self.folder = folder

    def put(self, name: str) -> None:
        (self.folder / name).write_text(name)
        assert self.it.add(Digest.of(name.encode()), self.folder / name)

    def has(self, name: str) -> bool:
        return Digest.of(name.encode()) in self.it


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stat cache rather forgets than waits: not here, where what it forgets looks lost."""
    monkeypatch.setattr(statcache, "_PATIENCE", 20)


def solo_of(it: Any) -> Any:
    """The connection that a store of one of these kinds has."""
    return it._index._solo if isinstance(it, FileCache) else it._solo


class Records:
    """What a download placed."""

    def __init__(self, folder: Path) -> None:
        self.it = Placed(folder / "placed.sqlite")

    def put(self, name: str) -> None:
        self.it.made([name])

    def has(self, name: str) -> bool:
        return name in self.it.between(name, name)


KINDS = [Stats, Files, Records]


def in_child(body: Callable[[], object], seconds: int = 20) -> int:
    """Run `body` in a forked child; its exit code: 0 if it returned, negative if it hung."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(seconds)
        try:
            body()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@contextmanager
def transaction(solo: Solo, seconds: float) -> Iterator[None]:
    """Another thread is in the middle of a transaction that ends by itself after `seconds`, or with the block."""
    inside, end = threading.Event(), threading.Event()

    def write() -> None:
        with solo.use() as db:
            db.execute("BEGIN IMMEDIATE")
            inside.set()
            end.wait(seconds)
            db.execute("COMMIT")

    thread = threading.Thread(target=write)
    thread.start()
    assert inside.wait(10)
    try:
        yield
    finally:
        end.set()
        thread.join(20)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fork_waits_for_the_transaction_of_another_thread_and_both_sides_go_on(kind: Any, tmp_path: Path) -> None:
    store = kind(tmp_path)
    store.put("before")

    def child() -> None:
        assert store.has("before")
        store.put("child")

    with transaction(solo_of(store.it), seconds=0.3):
        assert in_child(child) == 0
    store.put("after")
    assert store.has("child") and store.has("after")
    store.it.close()


@pytest.mark.parametrize("kind", KINDS)
def test_children_forked_while_threads_write_never_hang(kind: Any, tmp_path: Path) -> None:
    store, stop = kind(tmp_path), threading.Event()

    def write(n: int) -> None:
        step = 0
        while not stop.is_set():
            store.put(f"thread{n}-{step}")
            step += 1

    threads = [threading.Thread(target=write, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    codes = [in_child(lambda n=n: store.put(f"child{n}")) for n in range(5)]  # type: ignore[misc]
    stop.set()
    for thread in threads:
        thread.join(20)
    assert codes == [0] * 5
    assert all(store.has(f"child{n}") for n in range(5))
    store.it.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_child_of_a_transaction_that_does_not_end_does_without(kind: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(forks, "PATIENCE", 0.1)
    store = kind(tmp_path)
    store.put("before")

    def child() -> None:
        if kind is Stats:  # a cache that is never an error
            assert store.it.is_off and not store.has("before")
            store.put("lost")
        else:
            with pytest.raises(StateError, match="forked in the middle"):
                store.has("before")

    with transaction(solo_of(store.it), seconds=20):
        assert in_child(child) == 0
    store.put("after")
    assert store.has("after")
    store.it.close()


def test_what_the_parent_has_not_written_yet_is_not_written_twice(tmp_path: Path) -> None:
    cache = StatCache(tmp_path / "stat.sqlite")
    cache.remember("k", Record(b"s", b"d"))
    assert in_child(lambda: (cache.flush(), cache.find("k") and os._exit(3))) == 0
    cache.flush()
    assert cache.find("k") == Record(b"s", b"d")


def test_a_lock_file_is_free_again_though_a_child_that_has_it_open_lives_on(tmp_path: Path) -> None:
    path, ends = tmp_path / "lock", os.pipe()
    with disk.locked(path):
        pid = os.fork()
        if pid == 0:
            os.close(ends[1])
            signal.alarm(20)
            os.read(ends[0], 1)  # until the parent is done
            os._exit(0)
    with disk.locked(path, patience=1):
        pass
    os.close(ends[1])
    os.waitpid(pid, 0)
