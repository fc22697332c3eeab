from __future__ import annotations

import mmap
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from headwater.backends.files import FileStore
from headwater.errors import AccessError, InvalidInputError, StorageError
from tests.contracts.object_store_contract import ABC, ObjectStoreContract
from tests.faults import KILLED


class _RawFiles:
    def __init__(self, root: Path) -> None:
        self._root = root

    def plant(self, key: str, data: bytes) -> None:
        (self._root / key).parent.mkdir(parents=True, exist_ok=True)
        (self._root / key).write_bytes(data)

    def peek(self, key: str) -> bytes | None:
        path = self._root / key
        return path.read_bytes() if path.is_file() else None


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "objects"


@pytest.fixture
def store(root: Path) -> FileStore:
    root.mkdir()
    return FileStore(root)


class TestFileStore(ObjectStoreContract):
    files_beside_folders = False

    @pytest.fixture
    def store(self, root: Path) -> FileStore:
        root.mkdir()
        return FileStore(root)

    @pytest.fixture
    def raw(self, root: Path) -> _RawFiles:
        return _RawFiles(root)


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    seen: list[int] = []
    real = os.fsync

    def counted(fd: int) -> None:
        seen.append(fd)
        real(fd)

    monkeypatch.setattr(os, "fsync", counted)
    return seen


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def powerless(tmp_path: Path) -> Iterator[None]:
    """Not root for the length of the test: root may write to read-only directories."""
    if os.geteuid() != 0:
        yield
        return
    closed = {folder: folder.stat().st_mode for folder in tmp_path.parents if not folder.stat().st_mode & 0o001}
    for folder, mode in closed.items():
        folder.chmod(mode | 0o011)
    tmp_path.chmod(0o755)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        for folder, mode in closed.items():
            folder.chmod(mode)


def test_a_put_costs_exactly_two_fsyncs_also_into_a_new_directory(store: FileStore, syncs: list[int]) -> None:
    for key, size in (("packs/01/a", 1), ("packs/01/b", 2 << 20), ("packs/02/deep/a", 1), ("packs/01/a", 1)):
        syncs.clear()
        store.put(key, b"x" * size)
        assert len(syncs) == 2
        syncs.clear()
        FileStore(store._root).put(key, b"y")
        assert len(syncs) == 2


@pytest.mark.parametrize("size", [1 << 20, (1 << 20) + 1, (9 << 20) + 4095])
def test_page_aligned_buffers_and_odd_slices_of_them_are_written_exactly(store: FileStore, size: int) -> None:
    with mmap.mmap(-1, size) as buffer:
        buffer.write(os.urandom(4096))
        buffer[-3:] = b"end"
        with memoryview(buffer) as view:
            store.put("a", view)
            store.put("b", view[1:])
        assert store.get("a") == bytes(buffer)
        assert store.get("b") == bytes(buffer)[1:]


def test_the_first_put_creates_the_root(root: Path) -> None:
    FileStore(root / "deep").put(ABC, b"x")
    assert (root / "deep" / ABC).read_bytes() == b"x"


def test_leftover_temporary_files_and_strange_names_are_not_listed(store: FileStore, root: Path) -> None:
    store.put(ABC, b"x")
    (root / "~tmp" / "left").write_bytes(b"half")
    (root / "packs" / "Thumbs.DB").write_bytes(b"?")
    (root / "packs" / "01" / "~x").write_bytes(b"?")
    store.swap_marker("markers/epoch", b"1", None)
    assert [info.key for info in store.list()] == ["markers/epoch", ABC]


def test_a_dead_process_temporary_files_are_removed_after_a_day(store: FileStore, root: Path) -> None:
    (root / "~tmp").mkdir()
    old, new = root / "~tmp" / "old", root / "~tmp" / "new"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 90_000,) * 2)
    store.put(ABC, b"x")
    assert not old.exists() and new.exists()


def test_listing_a_root_that_is_not_there_is_an_error_not_an_empty_store(root: Path) -> None:
    store = FileStore(root)
    for ask in (lambda: list(store.list()), lambda: store.get(ABC), lambda: store.read_marker("a")):
        with pytest.raises(StorageError, match="not there"):
            ask()


def test_a_listing_that_cannot_read_a_directory_raises(store: FileStore, root: Path, powerless: None) -> None:
    closed = root / "packs"
    os.seteuid(0)
    store.put("a", b"x")
    store.put("packs/b", b"x")
    closed.chmod(0o000)
    root.chmod(0o755)
    os.seteuid(65534)
    found = store.list()
    assert next(found).key == "a"
    with pytest.raises(AccessError):
        list(found)
    os.seteuid(0)
    closed.chmod(0o755)


def test_a_read_only_directory_is_access_denied(store: FileStore, root: Path, powerless: None) -> None:
    with pytest.raises(AccessError, match="not allowed"):
        store.put(ABC, b"x")


@pytest.mark.parametrize("size", [300_000, 3 << 20])
def test_a_full_disk_is_a_storage_error_and_leaves_nothing(store: FileStore, root: Path, size: int) -> None:
    store.put(ABC, b"before")
    with largest_file(200_000), pytest.raises(StorageError, match="no room") as caught:
        store.put("packs/01/big", b"x" * size)
    assert not caught.value.retryable
    assert [info.key for info in store.list()] == [ABC]
    assert list((root / "~tmp").iterdir()) == []


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/../b", "a/.", "A", "a b", "~tmp/x", "a\n"])
def test_a_key_that_leaves_the_root_is_refused(store: FileStore, key: str) -> None:
    with pytest.raises(InvalidInputError):
        store.put(key, b"x")


def test_keys_may_begin_with_dots(store: FileStore) -> None:
    store.put("..a/...b/.c", b"x")
    assert [info.key for info in store.list()] == ["..a/...b/.c"]


def test_a_process_killed_in_mid_put_leaves_no_object(store: FileStore, root: Path) -> None:
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom headwater.backends.files import FileStore\n"
        f"Path.replace = lambda *a: os._exit({KILLED})\n"
        "FileStore(Path(sys.argv[1])).put('packs/01/abc', b'x' * 100_000)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script, str(root)], env=environment, timeout=30, check=False)
    assert done.returncode == KILLED
    assert list(store.list()) == []
    store.put("packs/01/abc", b"again")
    assert store.get("packs/01/abc") == b"again"


def test_processes_swapping_one_marker_count_without_a_gap(store: FileStore, root: Path) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom headwater.backends.files import FileStore\n"
        "from headwater.errors import ConflictError\nstore, done = FileStore(Path(sys.argv[1])), 0\n"
        "while done < 25:\n    data, token = store.read_marker('n')\n    try:\n"
        "        store.swap_marker('n', b'%d' % (int(data) + 1), token); done += 1\n    except ConflictError: pass\n"
    )
    store.swap_marker("n", b"0", None)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    racing = [subprocess.Popen([sys.executable, "-c", script, str(root)], env=environment) for _ in range(3)]
    assert [process.wait(60) for process in racing] == [0, 0, 0]
    found = store.read_marker("n")
    assert found is not None and found[0] == b"75"
