"""Reading blobs: few requests, everything verified, one more look when a pack is gone."""

from __future__ import annotations

import os

import pytest

from headwater.artifact import Artifact
from headwater.errors import FormatError, IntegrityError, MissingBlobError, StorageError
from headwater.model.digest import Digest
from headwater.model.entries import EMPTY
from headwater.store.blobs import BlobStore
from headwater.store.packs import PackWriter
from headwater.store.ulids import new_ulid
from tests.core.worlds import world
from tests.faults import Fault


@pytest.fixture
def here(tmp_path):
    return world(tmp_path / "repository")


def stored(here, blobs, compress=False):
    """Put blobs into one pack, in order; return their names."""
    writer = PackWriter(new_ulid())
    names = [Digest.of(blob) for blob in blobs]
    for name, blob in zip(names, blobs):
        writer.add(name, blob, compress=compress)
    data, sealed = writer.finish()
    lease = here.catalog.packs.open_lease("tests")
    (key,) = here.catalog.packs.reserve([sealed.pack_id], lease)
    here.blobs.objects.put(key, data)
    here.catalog.packs.seal([sealed], lease)
    return names


def test_a_blob_comes_back(here):
    (name,) = stored(here, [b"hello"])
    assert here.blobs.read(name) == b"hello"


def test_no_bytes_need_no_request(here):
    assert here.blobs.read(EMPTY) == b""
    assert here.store.counts()["get"] == 0


def test_neighbours_are_read_together_and_distant_ones_apart(here):
    blobs = [os.urandom(100_000) for _ in range(40)]
    names = stored(here, blobs)
    assert dict(here.blobs.read_many(names)) == dict(zip(names, blobs))
    assert here.store.counts()["get"] == 1
    assert len(here.blobs.plan([names[0], names[3]])) == 1  # 200,000 bytes between them
    assert len(here.blobs.plan([names[0], names[4]])) == 2
    assert len(here.blobs.plan(names, most=1_000_000)) >= 4


def test_the_same_name_twice_is_given_once(here):
    names = stored(here, [b"a", b"b"])
    assert sorted(here.blobs.read_many([*names, *names])) == sorted(zip(names, [b"a", b"b"]))


def test_what_no_pack_holds_is_missing(here):
    with pytest.raises(MissingBlobError):
        here.blobs.read(Digest.of(b"nowhere"))


@pytest.mark.parametrize("kind", ["flip", "truncate"])
def test_damaged_bytes_are_never_given(here, kind):
    names = stored(here, [os.urandom(1_000), b"text" * 1_000], compress=True)
    here.store._fault = Fault(kind, on="get", times=99)
    with pytest.raises((IntegrityError, StorageError)):
        list(here.blobs.read_many(names))


def test_a_pack_that_is_gone_is_looked_up_once_more(here):
    """Compaction copied the blob and removed its old pack between look-up and read."""
    blob = os.urandom(500)
    (name,) = stored(here, [blob])
    (planned,) = here.blobs.plan([name])
    stored(here, [blob])
    here.blobs.objects.delete(planned.key)
    assert here.blobs.fetch(planned) == [(name, blob)]


def test_a_pack_that_stays_gone_means_a_lost_blob(here):
    (name,) = stored(here, [b"x"])
    here.blobs.objects.delete(here.blobs.plan([name])[0].key)
    with pytest.raises(MissingBlobError):
        here.blobs.read(name)


def test_roots_and_pages_are_read_once(here):
    uploaded = here.log(Artifact("t").add_bytes(b"x", "a"))
    here.store.calls.clear()
    for _ in range(3):
        root = here.blobs.read_root(uploaded.root)
        assert [e.path for e in here.blobs.read_page(root.pages[0])] == ["a"]
    assert here.store.counts()["get"] == 2


def test_something_else_under_a_roots_name_is_a_format_error(here):
    (name,) = stored(here, [b"no root"])
    with pytest.raises(FormatError, match="blake3"):
        here.blobs.read_root(name)


def test_what_was_read_last_is_kept_and_the_rest_forgotten(here):
    roots = [here.log(Artifact("t").add_bytes(bytes([n]), "a")).root for n in range(20)]
    store = BlobStore(here.store, here.catalog.packs)
    for root in roots:
        store.read_root(root)
    before = here.store.counts()["get"]
    store.read_root(roots[-1])
    assert here.store.counts()["get"] == before
    store.read_root(roots[0])
    assert here.store.counts()["get"] == before + 1
