"""What every object store must do. Subclass it, give it a store and a way to look behind it.

    class TestMyStore(ObjectStoreContract):
        @pytest.fixture
        def store(self): return MyStore(...)
        @pytest.fixture
        def raw(self, store): return MyRaw(...)

`raw` reaches the bytes past the store (the service's own client, the file
system), so that put and get are proved apart: two mistakes that cancel each
other out fail here.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pytest

from headwater.errors import ConflictError, FormatError, HeadwaterError, NotFoundError
from headwater.ports import ObjectStore

ABC = "packs/01/abc.pack"


class Raw(Protocol):
    """The same objects, without the store under test."""

    def plant(self, key: str, data: bytes) -> None:
        """Put an object there by other means."""

    def peek(self, key: str) -> bytes | None:
        """What is really there."""


class ObjectStoreContract:
    """The contract; needs the fixtures `store` and `raw`."""

    def test_put_stores_exactly_these_bytes(self, store: ObjectStore, raw: Raw) -> None:
        data = bytes(range(256)) * 700
        store.put(ABC, data)
        assert raw.peek(ABC) == data

    @pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, (1 << 20) - 1, 1 << 20, (1 << 20) + 4096, (9 << 20) + 5])
    def test_any_length_survives(self, store: ObjectStore, raw: Raw, size: int) -> None:
        data = (b"0123456789abcdef!" * (size // 17 + 1))[:size]
        store.put(ABC, data)
        assert raw.peek(ABC) == data
        assert store.get(ABC) == data

    @pytest.mark.parametrize("wrap", [bytearray, memoryview])
    def test_any_buffer_may_be_put(self, store: ObjectStore, raw: Raw, wrap: type) -> None:
        store.put(ABC, wrap(b"x" * 5000))
        assert raw.peek(ABC) == b"x" * 5000

    def test_get_returns_what_is_there(self, store: ObjectStore, raw: Raw) -> None:
        raw.plant(ABC, b"planted")
        assert store.get(ABC) == b"planted"

    @pytest.mark.parametrize(("start", "length"), [(0, 3), (4, 2), (9, 1), (10, 0), (3, None), (10, None), (0, None)])
    def test_get_returns_a_range(self, store: ObjectStore, raw: Raw, start: int, length: int | None) -> None:
        raw.plant(ABC, b"0123456789")
        end = None if length is None else start + length
        assert store.get(ABC, start, length) == b"0123456789"[start:end]

    @pytest.mark.parametrize(("start", "length"), [(0, 11), (9, 2), (11, 1), (11, None)])
    def test_a_range_past_the_end_is_an_error_not_short_bytes(
        self, store: ObjectStore, raw: Raw, start: int, length: int | None
    ) -> None:
        raw.plant(ABC, b"0123456789")
        with pytest.raises(FormatError):
            store.get(ABC, start, length)

    def test_an_absent_key_is_not_found(self, store: ObjectStore) -> None:
        store.put("packs/01/other.pack", b"x")
        for absent in (ABC, "packs/01", "nothing/like/this"):
            with pytest.raises(NotFoundError):
                store.get(absent)

    def test_putting_the_same_again_is_fine(self, store: ObjectStore, raw: Raw) -> None:
        store.put(ABC, b"same")
        store.put(ABC, b"same")
        assert raw.peek(ABC) == b"same"
        assert [info.key for info in store.list()] == [ABC]

    def test_delete_removes_and_may_be_repeated(self, store: ObjectStore, raw: Raw) -> None:
        raw.plant(ABC, b"x")
        store.delete(ABC)
        assert raw.peek(ABC) is None
        store.delete(ABC)
        store.delete("never/was/here")

    def test_an_empty_store_lists_nothing(self, store: ObjectStore) -> None:
        store.put(ABC, b"x")
        store.delete(ABC)
        assert list(store.list()) == []

    def test_list_gives_keys_in_order_with_size_and_time(self, store: ObjectStore, raw: Raw) -> None:
        keys = ["a/b", "a-b", "a.b", "a/b-c", "a/b.c", "a0", "a/b/c" if self.files_beside_folders else "a/bb/c", "z"]
        for n, key in enumerate(keys):
            raw.plant(key, b"x" * n)
        found = list(store.list())
        assert [(info.key, info.size) for info in found] == sorted((key, n) for n, key in enumerate(keys))
        now = datetime.now(UTC)
        assert all(abs(info.modified_at - now) < timedelta(minutes=5) for info in found)

    files_beside_folders = True
    """Whether `a/b` and `a/b/c` may both exist; a directory cannot do that and Headwater never asks for it."""

    @pytest.mark.parametrize(
        "prefix", ["", "p", "packs", "packs/", "packs/01", "packs/01/", "packs/01/a", "q", "packs/01/abc/"]
    )
    def test_list_takes_any_prefix(self, store: ObjectStore, raw: Raw, prefix: str) -> None:
        keys = ["packs/01/abc", "packs/01/b", "packs/011", "packs/02/a", "packs2/a", "markers/a"]
        for key in keys:
            raw.plant(key, b"x")
        assert [info.key for info in store.list(prefix)] == sorted(key for key in keys if key.startswith(prefix))

    def test_a_marker_is_swapped_only_by_who_knows_its_token(self, store: ObjectStore, raw: Raw) -> None:
        assert store.read_marker("markers/epoch") is None
        first = store.swap_marker("markers/epoch", b"1", None)
        assert store.read_marker("markers/epoch") == (b"1", first)
        assert raw.peek("markers/epoch") == b"1"
        second = store.swap_marker("markers/epoch", b"2", first)
        for stale in (None, first):
            with pytest.raises(ConflictError):
                store.swap_marker("markers/epoch", b"3", stale)
        assert store.read_marker("markers/epoch") == (b"2", second)

    def test_an_absent_marker_is_not_swapped_by_an_old_token(self, store: ObjectStore) -> None:
        token = store.swap_marker("markers/epoch", b"1", None)
        store.delete("markers/epoch")
        with pytest.raises(ConflictError):
            store.swap_marker("markers/epoch", b"2", token)

    def test_of_many_swaps_at_once_exactly_one_wins(self, store: ObjectStore) -> None:
        token = store.swap_marker("markers/epoch", b"start", None)
        won: list[bytes] = []

        def try_it(mine: bytes) -> None:
            try:
                store.swap_marker("markers/epoch", mine, token)
            except ConflictError:
                return
            won.append(mine)

        _at_once([lambda n=n: try_it(b"writer %d" % n) for n in range(8)])
        assert len(won) == 1
        found = store.read_marker("markers/epoch")
        assert found is not None and found[0] == won[0]

    def test_threads_may_put_and_get_at_once(self, store: ObjectStore) -> None:
        def work(n: int) -> None:
            store.put(f"packs/{n % 3}/{n}", b"%d" % n * 1000)
            assert store.get(f"packs/{n % 3}/{n}") == b"%d" % n * 1000

        _at_once([lambda n=n: work(n) for n in range(16)])
        assert len(list(store.list("packs/"))) == 16

    def test_the_url_carries_no_credentials(self, store: ObjectStore) -> None:
        assert "://" in store.url
        assert "@" not in store.url and "?" not in store.url

    def test_every_error_is_ours(self, store: ObjectStore) -> None:
        with pytest.raises(HeadwaterError):
            store.get("../outside")
        with pytest.raises(HeadwaterError):
            store.get(ABC, 5, 5)


def _at_once(jobs: list) -> None:  # type: ignore[type-arg]
    failures: list[BaseException] = []

    def run(job) -> None:  # type: ignore[no-untyped-def]
        try:
            job()
        except BaseException as error:  # a thread's failure must reach the test
            failures.append(error)

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not failures, failures
