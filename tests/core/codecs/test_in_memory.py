"""A value whose codec needs no folder is read from the packs into memory; nothing is placed on disk for it."""

from __future__ import annotations

import typing
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

import headwater as hw
from headwater.codecs import files, registry
from headwater.codecs.tables import IN_MEMORY
from headwater.download import memory
from headwater.errors import DigestMismatchError, FormatError, IntegrityError, NotFoundError
from headwater.model.chunker import chunk_list_name, decode_chunks, encode_chunks
from headwater.store.blobs import BlobStore
from headwater.store.cache import FileCache
from tests.core.codecs.samples import SAMPLES, Config, config, frame, write
from tests.core.codecs.test_round_trips import assert_same

BLOCK = np.random.default_rng(1).bytes(1 << 20)
LARGE = BLOCK + b"\0" * (4 << 20) + BLOCK + BLOCK
"""Many chunks, the same ones at several places."""


@pytest.fixture
def repo(tmp_path):
    with hw.connect(tmp_path / "repository", project="p") as opened:
        yield opened


def log(repo, value):
    with repo.start_run("values", capture=()) as run:
        return run.log_artifact(value, "value")


def trees(repo) -> list[Path]:
    return list((repo.home.folder / "trees").glob("*"))


@pytest.mark.parametrize("sample", SAMPLES)
def test_from_memory_and_from_a_folder_a_value_is_the_same(sample, tmp_path):
    record, tree = write(SAMPLES[sample](), tmp_path / "v")
    if not registry.reads_in_memory(record, 1):
        assert sample == "polars lazy"
        return
    assert_same(registry.decode_in_memory(record, files.in_memory(tree)), registry.decode(record, tree))


@pytest.mark.parametrize(
    ("value", "as_"),
    [
        ({"a": 1}, bytes), (config(), Config), (config(), bytes), ("x", bytes), (b"x", str), (b"x", bytearray),
        (b"x", memoryview), (np.arange(3), list), (np.arange(3), np.ndarray), (np.arange(3), bytes),
        (frame(), pl.DataFrame), (frame(), dict), (frame(), list), (frame(), bytes), (3, float | None),
    ],
)  # fmt: skip
def test_also_as_another_type(value, as_, repo, tmp_path):
    record, tree = write(value, tmp_path / "v")
    got = log(repo, value).load(as_)
    assert not trees(repo)
    assert_same(got, registry.decode(record, tree, as_))


@pytest.mark.parametrize("as_", [Path, Path | bytes, np.memmap])
def test_what_points_into_a_folder_gets_one(as_, repo):
    assert log(repo, np.arange(10_000)).load(as_) is not None
    assert trees(repo)


def test_a_lazy_frame_scans_a_file(repo):
    version = log(repo, pl.DataFrame({"a": [1]}))
    assert version.load()["a"].to_list() == [1]
    assert not trees(repo)
    assert version.load(pl.LazyFrame).collect()["a"].to_list() == [1]
    assert trees(repo)


def test_a_large_table_is_read_from_a_file():
    codec = registry.find_by_name("pandas")
    assert codec.in_memory(IN_MEMORY, {"kind": "pandas.DataFrame"}, None)
    assert not codec.in_memory(IN_MEMORY + 1, {"kind": "pandas.DataFrame"}, None)


@pytest.mark.parametrize("value", [LARGE, bytearray(LARGE), LARGE.hex(), [LARGE.hex(), "x"], b"", ""], ids=range(6))
def test_values_of_any_size(value, repo):
    got = log(repo, value).load()
    assert type(got) is type(value)
    assert got == value
    assert not trees(repo)


@pytest.mark.parametrize("shape", [(700, 500), (0, 3), ()])
@pytest.mark.parametrize("dtype", ["f8", "i2", "U5", "M8[s]", [("ä", "i4"), ("b", "f8")]])
def test_an_array_may_be_written_to(shape, dtype, repo):
    array = np.zeros(shape, dtype)
    got = log(repo, array).load(np.ndarray)
    assert (got.dtype, got.shape, got.flags.writeable) == (array.dtype, shape, True)
    got[...] = np.ones((), dtype)
    assert (repo.version("value").load(np.ndarray) == array).all()


def packs(repo) -> list[Path]:
    return sorted((Path(repo.home.objects.url.removeprefix("file://")) / "packs").rglob("*.pack"))


def test_a_flipped_bit_is_an_error(repo):
    version = log(repo, LARGE)
    pack = max(packs(repo), key=lambda path: path.stat().st_size)
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.write_bytes(data)
    with pytest.raises(IntegrityError):
        version.load()


def test_chunks_that_are_right_in_a_wrong_order_are_an_error(repo, monkeypatch):
    version = log(repo, LARGE)
    name = chunk_list_name(version.entry("value.bin").digest)
    blobs = repo.home.blobs
    read = type(blobs).read
    for wrong, error in (
        (lambda chunks: chunks[::-1], DigestMismatchError),
        (lambda chunks: chunks[1:], FormatError),
    ):

        def disordered(self, wanted, wrong=wrong):
            data = read(self, wanted)
            return encode_chunks(wrong(decode_chunks(data))) if wanted == name else data

        monkeypatch.setattr(type(blobs), "read", disordered)
        with pytest.raises(error):
            version.load()


def test_a_pack_that_was_compacted_meanwhile_is_looked_up_again(repo, monkeypatch):
    version = log(repo, LARGE)
    plan, asked = BlobStore.plan, []

    def stale(self, names, **options):
        asked.append(len(names))
        found = plan(self, names, **options)
        return [group._replace(key="packs/00/gone.pack") for group in found] if len(asked) == 2 else found

    monkeypatch.setattr(BlobStore, "plan", stale)  # the first call is for the list of chunks
    repo.home.blobs.read_page(version.root.pages[0])
    asked.clear()
    assert version.load() == LARGE
    assert len(asked) > 2


def test_a_machine_without_preadv_reads_the_same(repo, monkeypatch):
    version = log(repo, LARGE)
    monkeypatch.delattr("os.preadv")
    assert version.load() == LARGE


def test_buffers_are_filled_or_it_is_an_error(repo):
    log(repo, b"x")
    store, [pack] = repo.home.objects, packs(repo)
    key, size = str(pack.relative_to(pack.parents[2])), pack.stat().st_size
    buffer = memoryview(bytearray(8))
    store.read_into(key, [(0, buffer[:4]), (4, buffer[4:])])
    assert bytes(buffer) == pack.read_bytes()[:8]
    with pytest.raises(FormatError):
        store.read_into(key, [(size - 4, buffer)])
    with pytest.raises(NotFoundError):
        store.read_into("packs/00/gone.pack", [(0, buffer)])


def test_from_far_away_and_of_references_and_many_files_a_tree_is_made(repo, tmp_path):
    version = log(repo, {"a": 1})
    root = version.root.digest
    assert memory.files_in_memory(repo.home, root).keys() == {"value.json"}

    class Far(typing.NamedTuple):
        blobs: object
        cache: FileCache

    assert memory.files_in_memory(Far(repo.home.blobs, FileCache(tmp_path / "cache", 1 << 20)), root) is None
    (tmp_path / "x").write_text("x")
    referenced = hw.Artifact("value").add_reference(f"file://{tmp_path}/x", "x")
    assert memory.files_in_memory(repo.home, log(repo, referenced).root.digest) is None
    many = hw.Artifact("value")
    for number in range(memory.MOST_FILES + 1):
        many.add_bytes(b"", f"{number}")
    assert memory.files_in_memory(repo.home, log(repo, many).root.digest) is None


def test_a_frame_comes_back_whole(repo):
    assert log(repo, frame()).load().equals(pd.DataFrame(frame()))
    assert not trees(repo)
