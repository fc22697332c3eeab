"""GCSStore and GCSSource against fake-gcs-server; where the real service does otherwise, answers are recorded.

fake-gcs-server 1.5x accepts any CRC32C, pages nothing, ignores preconditions on
downloads, and knows no rights: those are tried with answers in the form that the
JSON API documents.
"""

from __future__ import annotations

import base64
import itertools
import json
import multiprocessing
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.backends.gcs import GCSStore, crc32c
from headwater.backends.gcs_source import _GCS, GCSSource
from headwater.errors import (
    AccessError,
    ConflictError,
    CredentialsError,
    InvalidInputError,
    NotFoundError,
    ReferenceMissingError,
    StorageError,
)
from headwater.model.manifest import Pin
from headwater.model.naming import check_path
from tests.contracts.object_store_contract import ObjectStoreContract
from tests.contracts.source_contract import SourceContract, read
from tests.servers import fakegcs
from tests.servers.faults import FaultProxy

_NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def server() -> fakegcs.GCSServer:
    return fakegcs.running()


@pytest.fixture(autouse=True)
def environment(server: fakegcs.GCSServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.endpoint)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", "/nonexistent")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)


@pytest.fixture
def wire(server: fakegcs.GCSServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    with FaultProxy(server.port) as proxy:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.endpoint)
        yield proxy


class Bucket:
    """A bucket as others see it."""

    def __init__(self, server: fakegcs.GCSServer, *, versioned: bool = False, prefix: str = "") -> None:
        self.name = server.bucket(f"bucket-{os.getpid()}-{next(_NUMBERS)}", versioned=versioned)
        self.bucket = server.client().bucket(self.name)
        self.prefix = prefix

    def put(self, key: str, data: bytes) -> None:
        self.bucket.blob(self.prefix + key).upload_from_string(data)

    plant = put

    def peek(self, key: str) -> bytes | None:
        blob = self.bucket.blob(self.prefix + key)
        return blob.download_as_bytes() if blob.exists() else None

    def delete(self, key: str) -> None:
        self.bucket.delete_blob(self.prefix + key)

    def uri(self, key: str) -> str:
        return f"gs://{self.name}/{key}"


@pytest.fixture
def plain(server: fakegcs.GCSServer) -> Bucket:
    return Bucket(server)


@pytest.fixture
def versioned(server: fakegcs.GCSServer) -> Bucket:
    return Bucket(server, versioned=True)


class TestGCSStore(ObjectStoreContract):
    @pytest.fixture
    def raw(self, server: fakegcs.GCSServer) -> Bucket:
        return Bucket(server, prefix="some/prefix/")

    @pytest.fixture
    def store(self, raw: Bucket) -> GCSStore:
        return GCSStore(f"gs://{raw.name}/some/prefix")


@pytest.mark.slow
class TestStoreOnTheWire:
    @pytest.fixture
    def store(self, plain: Bucket, wire: FaultProxy) -> GCSStore:
        return GCSStore(f"gs://{plain.name}/p")

    def test_a_put_is_one_request(self, store: GCSStore, wire: FaultProxy) -> None:
        store.put("packs/a", b"x" * (9 << 20))
        assert [r.method for r in wire.requests] == ["POST"]

    def test_the_service_is_told_the_checksum(self, plain: Bucket, store: GCSStore) -> None:
        store.put("packs/a", b"hello")
        assert plain.bucket.get_blob("p/packs/a").crc32c == crc32c(b"hello") == "mnG7TA=="

    def test_a_large_object_goes_in_parts(
        self, plain: Bucket, store: GCSStore, wire: FaultProxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("headwater.backends.gcs.ONE_PUT", 1 << 20)
        data = os.urandom(5 << 19)
        store.put("packs/a", data)
        assert plain.peek("p/packs/a") == data
        # whether the parts pass the proxy depends on the address that the emulator gives for them
        assert "uploadType=resumable" in wire.requests[0].target

    def test_a_cut_body_is_read_again(self, store: GCSStore, wire: FaultProxy) -> None:
        store.put("packs/a", b"y" * 500_000)
        wire.cut(after=100_000, times=2)
        assert store.get("packs/a") == b"y" * 500_000

    def test_a_storm_of_503_is_waited_out(self, store: GCSStore, wire: FaultProxy) -> None:
        wire.answer("503 Unavailable", times=3, headers="Retry-After: 0\r\n")
        store.put("packs/a", b"x")
        assert len(wire.requests) == 4

    def test_a_swap_whose_answer_got_lost_is_known_to_have_happened(self, store: GCSStore, wire: FaultProxy) -> None:
        wire.lose(match="POST")
        first = store.swap_marker("headwater.json", b"1", None)
        wire.lose(match="POST")
        second = store.swap_marker("headwater.json", b"2", first)
        assert store.read_marker("headwater.json") == (b"2", second)
        wire.lose(match="POST")
        with pytest.raises(ConflictError):
            store.swap_marker("headwater.json", b"3", first)

    def test_refusals_are_told_apart(self, store: GCSStore, wire: FaultProxy) -> None:
        wire.answer("403 Forbidden", body=b'{"error": {"message": "no storage.objects.get access"}}')
        with pytest.raises(CredentialsError):  # the emulator is asked anonymously
            store.get("a")
        connection = store._client.connection._replace(anonymous=False)
        store._client._made._made[os.getpid()] = connection
        wire.answer("403 Forbidden", body=b'{"error": {"message": "no storage.objects.get access"}}')
        with pytest.raises(AccessError) as denied:
            store.get("a")
        assert not isinstance(denied.value, CredentialsError) and "storage.objects.get" in str(denied.value)
        wire.answer(
            "400 Bad Request", body=b'{"error": {"message": "Bucket is requester pays bucket but no user project"}}'
        )
        with pytest.raises(AccessError, match="HEADWATER_REQUESTER_PAYS"):
            store.get("a")

    def test_a_wrong_checksum_is_refused_by_the_real_service(self, store: GCSStore, wire: FaultProxy) -> None:
        wire.answer("400 Bad Request", match="POST", body=b'{"error": {"message": "Provided CRC32C does not match"}}')
        with pytest.raises(StorageError) as caught:
            store.put("packs/a", b"x")
        assert not caught.value.retryable

    def test_an_absent_bucket_is_an_error(self) -> None:
        with pytest.raises(NotFoundError):
            list(GCSStore("gs://no-such-bucket").list())


@pytest.mark.slow
def test_a_store_survives_fork(plain: Bucket) -> None:
    store = GCSStore(f"gs://{plain.name}")
    store.put("parent", b"1")
    child = multiprocessing.get_context("fork").Process(target=lambda: store.put("child", b"2"))
    child.start()
    child.join(20)
    assert child.exitcode == 0 and store.get("child") == b"2"


@pytest.mark.slow
class TestUnversioned(SourceContract):
    @pytest.fixture
    def source(self) -> GCSSource:
        return GCSSource()

    @pytest.fixture
    def world(self, plain: Bucket) -> Bucket:
        return plain


@pytest.mark.slow
class TestVersioned(SourceContract):
    keeps_versions = True

    @pytest.fixture
    def source(self) -> GCSSource:
        return GCSSource()

    @pytest.fixture
    def world(self, versioned: Bucket) -> Bucket:
        return versioned


@pytest.mark.slow
class TestGCSSource:
    def test_generations_and_checksums_are_pinned(self, plain: Bucket) -> None:
        plain.put("d/a", b"hello")
        (found,) = GCSSource().walk(plain.uri("d"))
        assert found.pin == Pin(
            version=str(plain.bucket.get_blob("d/a").generation),
            checksum="md5:5d41402abc4b2a76b9719d911017c592",
            modified=found.pin.modified,
        )

    def test_an_asked_for_generation_is_the_one_recorded(self, versioned: Bucket) -> None:
        versioned.put("a", b"old")
        old = versioned.bucket.get_blob("a").generation
        versioned.put("a", b"newer")
        (found,) = GCSSource().walk(versioned.uri("a") + f"#{old}")
        assert (found.path, found.uri, found.pin.version) == ("a", versioned.uri("a") + f"#{old}", str(old))
        assert read(GCSSource(), found) == b"old"
        with pytest.raises(ReferenceMissingError):
            list(GCSSource().walk(versioned.uri("a") + "#12345"))

    def test_the_same_bytes_put_again_are_not_changed(self, plain: Bucket) -> None:
        plain.put("a", b"same")
        (found,) = GCSSource().walk(plain.uri("a"))
        plain.put("a", b"same")
        assert read(GCSSource(), found) == b"same"
        assert [c.outcome for c in GCSSource().check([(found.uri, found.pin)])] == ["same"]

    def test_folder_markers_are_no_entries(self, plain: Bucket) -> None:
        for key in ("d/", "d/sub/", "d/empty"):
            plain.put(key, b"")
        assert [f.path for f in GCSSource().walk(plain.uri("d/"))] == ["empty"]

    def test_double_slashes_stay(self, plain: Bucket) -> None:
        plain.put("d//a", b"1")
        plain.put("d/a", b"2")
        found = list(GCSSource().walk(plain.uri("d/")))
        assert [(f.path, read(GCSSource(), f)) for f in found] == [("%/a", b"1"), ("a", b"2")]

    def test_the_scheme_stays_as_it_was_asked_for(self, plain: Bucket) -> None:
        plain.put("d/a", b"1")
        (found,) = GCSSource().walk(f"gcs://{plain.name}/d")
        assert found.uri == f"gcs://{plain.name}/d/a"

    def test_reading_goes_on_where_the_connection_broke(self, plain: Bucket, wire: FaultProxy) -> None:
        data = os.urandom(3 << 20)
        plain.put("a", data)
        (found,) = GCSSource().walk(plain.uri("a"))
        wire.requests.clear()
        wire.cut(after=(1 << 20) + 1000, times=2)
        assert read(GCSSource(), found) == data
        assert len(wire.requests) == 3
        assert all(f"generation={found.pin.version}" in r.target for r in wire.requests)

    def test_a_prefix_is_listed_page_by_page(self, plain: Bucket, wire: FaultProxy) -> None:
        """The emulator has no pages, so two are recorded; a lookup of the object comes first."""
        item = {
            "generation": "7",
            "size": "1",
            "md5Hash": "XUFAKrxLKna5cZ2REBfFkg==",
            "timeCreated": "2026-01-01T00:00:00.5Z",
        }
        first = {"items": [{"name": "d/a", **item}], "nextPageToken": "more"}
        composed = {k: v for k, v in item.items() if k != "md5Hash"} | {"crc32c": "mnG7TA=="}
        wire.answer("404 Not Found")
        wire.answer("200 OK", body=json.dumps(first).encode())
        wire.answer(
            "200 OK", match="pageToken=more", body=json.dumps({"items": [{"name": "d/b", **composed}]}).encode()
        )
        found = list(GCSSource().walk(plain.uri("d")))
        assert [(f.path, f.pin.checksum) for f in found] == [
            ("a", "md5:" + base64.b64decode("XUFAKrxLKna5cZ2REBfFkg==").hex()), ("b", "crc32c:mnG7TA=="),
        ]  # fmt: skip
        assert len(wire.requests) == 3 and "maxResults=1000" in wire.requests[1].target

    def test_a_page_that_fails_is_no_short_list(self, plain: Bucket, wire: FaultProxy) -> None:
        plain.put("d/a", b"x")
        wire.answer("403 Forbidden", match="prefix=")
        with pytest.raises(AccessError):
            list(GCSSource().walk(plain.uri("d/")))

    def test_a_missing_bucket_is_missing(self) -> None:
        with pytest.raises(ReferenceMissingError):
            list(GCSSource().walk("gs://no-such-bucket"))


@pytest.mark.slow
@given(
    st.sets(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30), min_size=1, max_size=8)
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_objects_are_called_all_of_them_are_found_and_read(plain: Bucket, names: set[str]) -> None:
    folder = f"d{next(_NUMBERS)}/"
    keys = {folder + name for name in names if not name.endswith("/")}
    for key in keys:
        plain.put(key, key.encode())
    if not keys:
        return
    source = GCSSource()
    found = list(source.walk(plain.uri(folder)))
    assert sorted(read(source, f).decode() for f in found) == sorted(keys)
    assert len({check_path(f.path) for f in found}) == len(keys)
    assert [f.path.encode() for f in found] == sorted(f.path.encode() for f in found)
    assert {a.outcome for a in source.check([(f.uri, f.pin) for f in found])} == {"same"}


@given(st.text(min_size=1))
@settings(max_examples=300, deadline=None)
def test_any_name_is_written_and_read_as_itself(name: str) -> None:
    cloud = _GCS()
    for key in (name, name + "#", name + "#12"):
        if "x-goog-" in key.lower() or "sig" in key.lower():
            continue
        again = cloud.parse(cloud.uri(cloud.parse("gs://bucket/x"), key))
        assert (again.bucket, again.key, again.version) == ("bucket", key, None)


def test_a_url_names_the_place_of_a_store() -> None:
    assert GCSStore("gs://bucket/a/b/").url == "gs://bucket/a/b"
    for wrong in ("gs://", "s3://bucket", "gs://user@bucket/x", "gs://bucket?x=1"):
        with pytest.raises(InvalidInputError):
            GCSStore(wrong)
