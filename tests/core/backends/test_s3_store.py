"""S3Store against SeaweedFS, whose listings are not in byte order and whose checksums are verified."""

from __future__ import annotations

import base64
import itertools
import multiprocessing
import os
import random
import zlib
from typing import Any

import pytest

from headwater.backends import retrying
from headwater.backends.s3 import S3Store
from headwater.backends.s3_body import STEP, body_of
from headwater.errors import (
    AccessError,
    ConflictError,
    CredentialsError,
    InvalidInputError,
    NotFoundError,
    StorageError,
)
from tests.contracts.object_store_contract import ObjectStoreContract
from tests.servers import seaweed
from tests.servers.faults import FaultProxy

_NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def server() -> seaweed.S3Server:
    return seaweed.running()


@pytest.fixture
def bucket(server: seaweed.S3Server) -> str:
    return server.bucket(f"store-{os.getpid()}-{next(_NUMBERS)}")


@pytest.fixture(autouse=True)
def environment(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, seaweed.OWNER)
    if request.node.get_closest_marker("slow"):  # what needs no server shall not wait for one
        monkeypatch.setenv("AWS_ENDPOINT_URL", seaweed.running().endpoint)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")


def use(monkeypatch: pytest.MonkeyPatch, credentials: tuple[str, str] | None) -> None:
    for name, value in zip(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), credentials or (None, None)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)


class RawS3:
    def __init__(self, client: Any, bucket: str, prefix: str) -> None:
        self._client, self._bucket, self._prefix = client, bucket, prefix

    def plant(self, key: str, data: bytes) -> None:
        self._client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=data)

    def peek(self, key: str) -> bytes | None:
        try:
            return self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)["Body"].read()
        except self._client.exceptions.NoSuchKey:
            return None


@pytest.mark.slow
class TestS3Store(ObjectStoreContract):
    @pytest.fixture
    def store(self, bucket: str) -> S3Store:
        return S3Store(f"s3://{bucket}/some/prefix")

    @pytest.fixture
    def raw(self, server: seaweed.S3Server, bucket: str) -> RawS3:
        return RawS3(server.client(), bucket, "some/prefix/")


def test_a_body_is_sent_as_it_lies_in_memory() -> None:
    data = memoryview(bytearray(os.urandom(3 * STEP + 5)))
    sent = body_of(data)
    body = sent["Body"]
    assert base64.b64decode(sent["ChecksumCRC32"]) == zlib.crc32(data).to_bytes(4, "big")
    assert len(body) == len(data)
    for _ in range(2):  # again, as after a redirect
        pieces = list(iter(lambda: body.read(16_384), b""))
        assert [piece.obj is data.obj for piece in pieces] == [True] * 4
        assert b"".join(pieces) == data
        assert body.tell() == len(data) and body.seek(0) == 0
    assert body.seek(-5, os.SEEK_END) == 3 * STEP
    assert body.seek(2, os.SEEK_CUR) == 3 * STEP + 2
    assert body.read() == data[-3:]
    assert body_of(memoryview(b"short"))["Body"] == b"short"


@pytest.mark.slow
class TestOnTheWire:
    @pytest.fixture
    def wire(self, server: seaweed.S3Server) -> Any:
        with FaultProxy(server.port) as proxy:
            yield proxy

    @pytest.fixture
    def store(self, bucket: str, wire: FaultProxy) -> S3Store:
        return S3Store(f"s3://{bucket}/p?endpoint={wire.endpoint}")

    def test_a_put_is_one_request_whose_bytes_the_service_verifies(self, store: S3Store, wire: FaultProxy) -> None:
        store.put("packs/a", b"x" * (9 << 20))
        (request,) = wire.requests
        assert request.method == "PUT"
        assert request.headers["x-amz-checksum-crc32"]
        assert request.headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"  # or the SDK hashes all of it, slowly
        assert "x-amz-checksum-crc32" in request.headers["authorization"]
        assert "expect" not in request.headers  # no waiting for leave to send
        assert store.get("packs/a") == b"x" * (9 << 20)

    @pytest.mark.parametrize("size", [1_000, 3_000_000], ids=["copied", "as it lies in memory"])
    def test_a_put_whose_answer_is_lost_is_sent_again_from_its_beginning(
        self, store: S3Store, wire: FaultProxy, monkeypatch: pytest.MonkeyPatch, size: int
    ) -> None:
        monkeypatch.setattr(retrying, "FIRST_PAUSE", 0.02)
        data = random.Random(size).randbytes(size)
        wire.lose(2, "PUT")
        store.put("k", data)
        assert len(wire.requests) == 3
        assert store.get("k") == data

    def test_a_get_is_one_request_and_its_connection_is_used_again(self, store: S3Store, wire: FaultProxy) -> None:
        store.put("packs/a", b"0123456789")
        wire.requests.clear()
        assert [store.get("packs/a", n, 2) for n in range(5)] == [b"01", b"12", b"23", b"34", b"45"]
        assert len(wire.requests) == 5

    def test_a_cut_body_is_read_again(self, store: S3Store, wire: FaultProxy) -> None:
        store.put("packs/a", bytes(range(256)) * 4000)
        wire.cut(after=100_000, times=2)
        assert store.get("packs/a") == bytes(range(256)) * 4000

    def test_a_storm_of_503_is_waited_out(self, store: S3Store, wire: FaultProxy) -> None:
        wire.answer("503 Slow Down", times=3, headers="Retry-After: 0\r\n")
        store.put("packs/a", b"x")
        assert [r.method for r in wire.requests] == ["PUT"] * 4

    def test_a_storm_without_end_is_a_retryable_error(
        self, store: S3Store, wire: FaultProxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("headwater.backends.retrying.FIRST_PAUSE", 0.001)
        wire.answer("503 Slow Down", times=99)
        with pytest.raises(StorageError) as caught:
            store.get("packs/a")
        assert caught.value.retryable
        assert len(wire.requests) == 6

    def test_who_asks_for_more_patience_than_a_minute_is_given_up_at_once(
        self, store: S3Store, wire: FaultProxy
    ) -> None:
        wire.answer("503 Slow Down", times=99, headers="Retry-After: 3600\r\n")
        with pytest.raises(StorageError):
            store.get("packs/a")
        assert len(wire.requests) == 1

    def test_a_listing_that_breaks_off_is_an_error_not_a_short_list(self, store: S3Store, wire: FaultProxy) -> None:
        store.put("packs/a", b"x")
        wire.answer("403 Forbidden", match="list-type=2")
        with pytest.raises(AccessError):
            list(store.list())

    def test_a_swap_whose_answer_got_lost_is_known_to_have_happened(self, store: S3Store, wire: FaultProxy) -> None:
        wire.lose(match="PUT")
        first = store.swap_marker("headwater.json", b"1", None)
        assert store.read_marker("headwater.json") == (b"1", first)
        wire.lose(match="PUT")
        second = store.swap_marker("headwater.json", b"2", first)
        assert store.read_marker("headwater.json") == (b"2", second)

    def test_a_lost_answer_hides_no_true_conflict(self, store: S3Store, wire: FaultProxy) -> None:
        token = store.swap_marker("headwater.json", b"1", None)
        store.swap_marker("headwater.json", b"theirs", token)
        wire.lose(match="PUT")
        with pytest.raises(ConflictError):
            store.swap_marker("headwater.json", b"mine", token)
        assert store.read_marker("headwater.json")[0] == b"theirs"  # type: ignore[index]

    def test_a_swap_that_never_arrived_is_tried_again(self, store: S3Store, wire: FaultProxy) -> None:
        wire.answer("500 Internal Server Error", times=2, match="PUT")
        assert store.swap_marker("headwater.json", b"1", None)

    def test_a_read_back_that_fails_leaves_it_open(
        self, store: S3Store, wire: FaultProxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("headwater.backends.retrying.FIRST_PAUSE", 0.001)
        wire.lose(match="PUT")
        wire.answer("500 Internal Server Error", times=99, match="HEAD")
        with pytest.raises(StorageError) as caught:
            store.swap_marker("headwater.json", b"1", None)
        assert not isinstance(caught.value, ConflictError)

    def test_more_than_64_mib_go_in_parts(
        self, store: S3Store, wire: FaultProxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("headwater.backends.s3.ONE_PUT", 5 << 20)
        data = os.urandom(11 << 20)
        store.put("packs/a", data)
        assert [r.method for r in wire.requests] == ["POST", "PUT", "PUT", "PUT", "POST"]
        assert store.get("packs/a") == data

    def test_a_lost_answer_to_the_end_of_an_upload_in_parts_is_no_failure(
        self, store: S3Store, wire: FaultProxy, bucket: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("headwater.backends.s3.ONE_PUT", 5 << 20)
        wire.lose(match=f"POST /{bucket}/p/packs/a?uploadId=")
        store.put("packs/a", b"y" * (6 << 20))
        assert len(store.get("packs/a")) == 6 << 20
        assert [r.method for r in wire.requests][:5] == ["POST", "PUT", "PUT", "POST", "POST"]


@pytest.mark.slow
class TestRights:
    def test_denied_and_no_credentials_are_told_apart(self, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
        use(monkeypatch, seaweed.READER)
        with pytest.raises(AccessError) as denied:
            S3Store(f"s3://{bucket}").put("a", b"x")
        assert not isinstance(denied.value, CredentialsError)
        use(monkeypatch, None)
        with pytest.raises(CredentialsError):
            S3Store(f"s3://{bucket}").put("a", b"x")
        use(monkeypatch, ("unknown", "secret"))
        with pytest.raises(AccessError) as refused:
            S3Store(f"s3://{bucket}").get("a")
        assert not isinstance(refused.value, CredentialsError)

    def test_an_absent_bucket_is_an_error_everywhere(self) -> None:
        store = S3Store("s3://no-such-bucket")
        with pytest.raises(NotFoundError):
            list(store.list())
        with pytest.raises(NotFoundError):
            store.get("a")
        with pytest.raises(NotFoundError):
            store.read_marker("a")
        with pytest.raises(NotFoundError):
            store.delete("a")

    def test_a_public_bucket_is_read_without_credentials(
        self, server: seaweed.S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server.client().put_object(Bucket=seaweed.PUBLIC, Key="open", Body=b"for all")
        use(monkeypatch, None)
        assert S3Store(f"s3://{seaweed.PUBLIC}").get("open") == b"for all"


@pytest.mark.slow
def test_a_store_survives_fork(bucket: str) -> None:
    store = S3Store(f"s3://{bucket}")
    store.put("parent", b"1")
    context = multiprocessing.get_context("fork")
    child = context.Process(target=lambda: store.put("child", b"2"))
    child.start()
    child.join(20)
    assert child.exitcode == 0
    assert store.get("child") == b"2"


def test_a_url_names_the_place_and_no_secret() -> None:
    store = S3Store("s3://bucket/some/prefix?endpoint=http://127.0.0.1:9&region=eu-central-1")
    assert store.url == "s3://bucket/some/prefix"
    for wrong in ("s3://", "https://bucket/x", "s3://bucket/p?secret=1"):
        with pytest.raises(InvalidInputError):
            S3Store(wrong)
