"""S3Source against SeaweedFS, with and without versioning; what AWS does otherwise is told by recorded answers."""

from __future__ import annotations

import base64
import itertools
import os
import zlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.backends.s3 import S3Client, Settings
from headwater.backends.s3_source import _S3, S3Source, _just_before
from headwater.errors import AccessError, CredentialsError, InvalidInputError, ReferenceMissingError, StorageError
from headwater.model.manifest import Pin
from tests.contracts.source_contract import SourceContract, read
from tests.core.backends.test_s3_store import environment, use
from tests.servers import seaweed
from tests.servers.faults import FaultProxy

__all__ = ["environment"]
_NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def server() -> seaweed.S3Server:
    return seaweed.running()


class Bucket:
    """A bucket as others see it."""

    def __init__(self, server: seaweed.S3Server, *, versioned: bool) -> None:
        self.name = server.bucket(f"source-{os.getpid()}-{next(_NUMBERS)}", versioned=versioned)
        self.client = server.client()

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=data)

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.name, Key=key)

    def uri(self, key: str) -> str:
        return f"s3://{self.name}/{key}"


@pytest.fixture
def plain(server: seaweed.S3Server) -> Bucket:
    return Bucket(server, versioned=False)


@pytest.fixture
def versioned(server: seaweed.S3Server) -> Bucket:
    return Bucket(server, versioned=True)


@pytest.fixture
def wire(server: seaweed.S3Server) -> Any:
    with FaultProxy(server.port) as proxy:
        yield proxy


def through(wire: FaultProxy) -> S3Source:
    return S3Source(Settings(endpoint=wire.endpoint))


@pytest.mark.slow
class TestUnversioned(SourceContract):
    @pytest.fixture
    def source(self) -> S3Source:
        return S3Source()

    @pytest.fixture
    def world(self, plain: Bucket) -> Bucket:
        return plain


@pytest.mark.slow
class TestVersioned(SourceContract):
    keeps_versions = True

    @pytest.fixture
    def source(self) -> S3Source:
        return S3Source()

    @pytest.fixture
    def world(self, versioned: Bucket) -> Bucket:
        return versioned


@pytest.mark.slow
class TestPins:
    def test_a_version_is_pinned_where_there_is_one(self, plain: Bucket, versioned: Bucket) -> None:
        for bucket, strength in ((plain, "etag"), (versioned, "version")):
            bucket.put("d/a", b"x")
            (below,) = S3Source().walk(bucket.uri("d/"))
            assert below.pin.strength == strength
            assert below.pin.etag is not None and below.pin.modified is not None
        assert below.pin.version != "null"

    def test_a_single_object_has_its_checksum_too(self, plain: Bucket) -> None:
        plain.put("a", b"hello")
        (found,) = S3Source().walk(plain.uri("a"))
        assert found.pin.checksum == "crc32:" + base64.b64encode(zlib.crc32(b"hello").to_bytes(4, "big")).decode()

    def test_an_asked_for_version_is_the_one_recorded(self, versioned: Bucket) -> None:
        versioned.put("a", b"old")
        old = versioned.client.head_object(Bucket=versioned.name, Key="a")["VersionId"]
        versioned.put("a", b"newer")
        uri = versioned.uri("a") + f"?versionId={old}"
        (found,) = S3Source().walk(uri)
        assert (found.path, found.uri, found.size, found.pin.version) == ("a", uri, 3, old)
        assert read(S3Source(), found) == b"old"
        with pytest.raises(ReferenceMissingError) as caught:
            list(S3Source().walk(versioned.uri("a") + "?versionId=" + "0" * 32))
        assert "version" in str(caught.value)

    def test_a_delete_marker_hides_the_object(self, versioned: Bucket) -> None:
        versioned.put("d/kept", b"x")
        versioned.put("d/gone", b"x")
        versioned.delete("d/gone")
        assert [f.path for f in S3Source().walk(versioned.uri("d"))] == ["kept"]

    def test_an_upload_in_parts_is_pinned_by_an_opaque_etag(self, plain: Bucket) -> None:
        ids = {"Bucket": plain.name, "Key": "parts"}
        upload = ids | {"UploadId": plain.client.create_multipart_upload(**ids)["UploadId"]}
        parts = []
        for number, size in ((1, 5 << 20), (2, 100)):
            answer = plain.client.upload_part(**upload, PartNumber=number, Body=b"p" * size)
            parts.append({"PartNumber": number, "ETag": answer["ETag"]})
        plain.client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
        (found,) = S3Source().walk(plain.uri("parts"))
        assert found.pin.etag is not None and "-2" in found.pin.etag
        assert len(read(S3Source(), found)) == (5 << 20) + 100

    def test_the_same_bytes_put_again_are_not_changed(self, plain: Bucket) -> None:
        plain.put("a", b"same")
        (found,) = S3Source().walk(plain.uri("a"))
        plain.put("a", b"same")
        assert read(S3Source(), found) == b"same"
        assert [c.outcome for c in S3Source().check([(found.uri, found.pin)])] == ["same"]

    def test_folder_markers_are_no_entries_but_empty_objects_are(self, plain: Bucket) -> None:
        for key, data in (("d/", b""), ("d/sub/", b""), ("d/sub/empty", b"")):
            plain.put(key, data)
        assert [f.path for f in S3Source().walk(plain.uri("d/"))] == ["sub/empty"]
        plain.put("only/", b"")
        with pytest.raises(ReferenceMissingError):
            list(S3Source().walk(plain.uri("only")))

    def test_a_whole_bucket_can_be_tracked(self, plain: Bucket) -> None:
        plain.put("a", b"1")
        plain.put("b/c", b"2")
        for uri in (f"s3://{plain.name}", f"s3://{plain.name}/"):
            assert [(f.path, f.uri) for f in S3Source().walk(uri)] == [("a", plain.uri("a")), ("b/c", plain.uri("b/c"))]

    def test_overwritten_in_a_versioned_bucket_is_same_and_says_so(self, versioned: Bucket) -> None:
        versioned.put("a", b"1")
        (found,) = S3Source().walk(versioned.uri("a"))
        versioned.put("a", b"2")
        (answer,) = S3Source().check([(found.uri, found.pin)])
        assert answer.outcome == "same" and answer.found is not None and "overwritten" in answer.found
        versioned.client.delete_object(Bucket=versioned.name, Key="a", VersionId=found.pin.version)
        (answer,) = S3Source().check([(found.uri, found.pin)])
        assert answer.outcome == "changed"


@pytest.mark.slow
class TestRights:
    def test_denied_no_credentials_and_missing_are_three_errors(
        self, plain: Bucket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plain.put("a", b"x")
        use(monkeypatch, seaweed.READER)
        for uri in (plain.uri("a"), plain.uri("d/")):
            with pytest.raises(AccessError) as denied:
                list(S3Source().walk(uri))
            assert not isinstance(denied.value, CredentialsError)
        assert [c.outcome for c in S3Source().check([(plain.uri("a"), Pin(etag='"x"'))])] == ["denied"]
        use(monkeypatch, None)
        with pytest.raises(CredentialsError):
            list(S3Source().walk(plain.uri("a")))
        assert [c.outcome for c in S3Source().check([(plain.uri("a"), Pin(etag='"x"'))])] == ["no-credentials"]
        use(monkeypatch, seaweed.OWNER)
        with pytest.raises(ReferenceMissingError) as missing:
            list(S3Source().walk("s3://no-such-bucket-at-all/a/"))
        assert "no-such-bucket-at-all" in str(missing.value)

    def test_a_public_bucket_needs_no_credentials(
        self, server: seaweed.S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server.client().put_object(Bucket=seaweed.PUBLIC, Key="p/x", Body=b"for all")
        use(monkeypatch, None)
        (found,) = S3Source().walk(f"s3://{seaweed.PUBLIC}/p")
        assert read(S3Source(), found) == b"for all"


@pytest.mark.slow
class TestOnTheWire:
    def test_a_prefix_costs_listing_requests_only(self, server: seaweed.S3Server, wire: FaultProxy) -> None:
        from concurrent.futures import ThreadPoolExecutor

        bucket = Bucket(server, versioned=True)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: bucket.put(f"d/{n:04}", b"x"), range(2100)))
        found = list(through(wire).walk(bucket.uri("d")))
        assert len(found) == 2100 and all(f.pin.version for f in found)
        # SeaweedFS needs every page twice (see `_pages_by_folder`): AWS's cost is counted in TestAws
        assert len(wire.requests) <= 2 * 3 + 5
        wire.requests.clear()
        answers = list(through(wire).check([(f.uri, f.pin) for f in found]))
        assert {a.outcome for a in answers} == {"same"}
        assert len(wire.requests) <= 2 * 3 + 5

    def test_nothing_is_lost_where_folders_and_pages_meet(self, server: seaweed.S3Server) -> None:
        """SeaweedFS 4.48 leaves `a-b` out of its pages of versions: 2,501 of these 2,503 are there."""
        from concurrent.futures import ThreadPoolExecutor

        bucket = Bucket(server, versioned=True)
        keys = [f"a/{n:04}" for n in range(1100)] + ["a-b", "a.c/d", "a0"]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: bucket.put(key, b"x"), keys))
        found = list(S3Source().walk(f"s3://{bucket.name}"))
        assert [f.path for f in found] == sorted(keys)
        assert all(f.pin.version for f in found)

    def test_reading_goes_on_where_the_connection_broke(self, plain: Bucket, wire: FaultProxy) -> None:
        data = os.urandom(3 << 20)
        plain.put("a", data)
        source = through(wire)
        (found,) = source.walk(plain.uri("a"))
        wire.requests.clear()
        wire.cut(after=(1 << 20) + 1000, times=2)
        assert read(source, found) == data
        ranges = [r.headers.get("range") for r in wire.requests]
        assert ranges[0] is None and len(ranges) == 3
        assert all(r is not None and r.startswith("bytes=") for r in ranges[1:])
        assert all(r.headers.get("if-match") for r in wire.requests)

    def test_an_object_overwritten_while_it_is_read_is_changed(self, plain: Bucket, wire: FaultProxy) -> None:
        plain.put("a", b"a" * (2 << 20))
        source = through(wire)
        wire.cut(after=1 << 20)
        pieces = source.read(plain.uri("a"), Pin())
        next(pieces)
        plain.put("a", b"b" * (2 << 20))
        with pytest.raises(Exception, match="changed"):
            b"".join(pieces)

    def test_a_connection_that_always_breaks_is_given_up(
        self, plain: Bucket, wire: FaultProxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("headwater.backends.retrying.FIRST_PAUSE", 0.001)
        plain.put("a", b"a" * (1 << 20))
        wire.cut(after=0, times=99)
        with pytest.raises(StorageError) as caught:
            b"".join(through(wire).read(plain.uri("a"), Pin()))
        assert caught.value.retryable
        assert len(wire.requests) <= 8

    def test_a_listing_that_fails_half_way_is_no_short_list(self, plain: Bucket, wire: FaultProxy) -> None:
        plain.put("d/a", b"x")
        wire.answer("403 Forbidden", match="list-type=2")
        with pytest.raises(AccessError):
            list(through(wire).walk(plain.uri("d/")))


# --------------------------------------------------------------------------- AWS
class Recorded:
    """Answers as AWS documents them, in the place of a client; counts requests."""

    class meta:  # noqa: N801
        endpoint_url = "https://s3.eu-central-1.amazonaws.com"

    def __init__(self, **answers: Any) -> None:
        self.answers, self.calls = answers, []

    def __getattr__(self, operation: str) -> Any:
        def call(**arguments: Any) -> Any:
            self.calls.append((operation, arguments))
            return self.answers[operation](**arguments)

        return call


def recorded(**answers: Any) -> tuple[S3Source, Recorded]:
    source, client = S3Source(), Recorded(**answers)
    source._cloud._client._made = type("Made", (), {"get": lambda self: (client, False)})()  # type: ignore[attr-defined]
    return source, client


def refusal(code: str, status: int) -> Any:
    from botocore.exceptions import ClientError

    def refuse(**arguments: Any) -> Any:
        answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
        raise ClientError(answer, "Operation")  # type: ignore[arg-type]

    return refuse


def a_million_versions(total: int) -> Any:
    from datetime import UTC, datetime

    moment = datetime(2026, 1, 1, tzinfo=UTC)

    def page(KeyMarker: str = "", **_: Any) -> dict[str, Any]:  # noqa: N803
        first = int(KeyMarker.rpartition("/")[2]) + 1 if KeyMarker else 0
        items = [
            {"Key": f"data/{n:09}", "VersionId": f"v{n}", "IsLatest": True, "Size": 5, "ETag": f'"{n}"',
             "LastModified": moment}
            for n in range(first, min(first + 1000, total))
        ]  # fmt: skip
        return {"Versions": items, "IsTruncated": first + 1000 < total, "NextKeyMarker": items[-1]["Key"],
                "NextVersionIdMarker": "x"}  # fmt: skip

    return page


class TestAws:
    def test_a_prefix_of_n_costs_a_thousandth_and_five(self) -> None:
        source, client = recorded(head_object=refusal("404", 404), list_object_versions=a_million_versions(12_345))
        assert sum(1 for _ in source.walk("s3://bucket/data")) == 12_345
        assert len(client.calls) <= 13 + 5

    @pytest.mark.slow
    def test_memory_is_flat_however_many_objects_there_are(self) -> None:
        import tracemalloc

        source, _ = recorded(list_object_versions=a_million_versions(1_000_000))
        tracemalloc.start()
        count = sum(1 for _ in itertools.islice(source.walk("s3://bucket/data/"), 60_000))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == 60_000
        assert peak < 60 << 20, "the look-ahead and one page, whatever the number"

    def test_denied_versions_fall_back_to_objects_once(self) -> None:
        from datetime import UTC, datetime

        item = {"Key": "d/a", "Size": 1, "ETag": '"e"', "LastModified": datetime(2026, 1, 1, tzinfo=UTC)}
        source, client = recorded(
            head_object=refusal("404", 404),
            list_object_versions=refusal("AccessDenied", 403),
            list_objects_v2=lambda **_: {"Contents": [item], "IsTruncated": False},
        )
        for _ in range(2):
            (found,) = source.walk("s3://bucket/d")
            assert found.pin.strength == "etag"
        assert [name for name, _ in client.calls].count("list_object_versions") == 1

    def test_rights_below_a_prefix_need_not_reach_the_key_named_like_it(self) -> None:
        source, _ = recorded(head_object=refusal("403", 403), list_object_versions=a_million_versions(3))
        assert sum(1 for _ in source.walk("s3://bucket/data")) == 3
        nothing = {"IsTruncated": False}
        source, _ = recorded(head_object=refusal("403", 403), list_object_versions=lambda **_: nothing)
        with pytest.raises(AccessError):
            list(source.walk("s3://bucket/data"))

    def test_checking_skips_what_nobody_asked_for(self) -> None:
        total = 50_000

        def page(KeyMarker: str = "", **_: Any) -> dict[str, Any]:  # noqa: N803
            from datetime import UTC, datetime

            names = [f"data/{n:09}" for n in range(total)]
            import bisect

            first = bisect.bisect_right(names, KeyMarker)
            items = [
                {"Key": name, "VersionId": "v", "IsLatest": True, "Size": 1, "ETag": '"e"',
                 "LastModified": datetime(2026, 1, 1, tzinfo=UTC)}
                for name in names[first : first + 1000]
            ]  # fmt: skip
            last = items[-1]["Key"] if items else ""
            return {
                "Versions": items,
                "IsTruncated": first + 1000 < total,
                "NextKeyMarker": last,
                "NextVersionIdMarker": "x",
            }

        source, client = recorded(list_object_versions=page)
        keys = [7, 8, 9, 30_000, 49_999]
        asked = [(f"s3://bucket/data/{n:09}", Pin(version="v")) for n in keys] + [
            ("s3://bucket/data/x", Pin(version="v"))
        ]
        assert [a.outcome for a in source.check(asked)] == ["same"] * 5 + ["missing"]
        assert len(client.calls) <= 4

    def test_a_checksum_composed_of_parts_proves_nothing(self) -> None:
        from datetime import UTC, datetime

        head = {"ContentLength": 9, "ETag": '"e-2"', "LastModified": datetime(2026, 1, 1, tzinfo=UTC)}
        source, _ = recorded(
            head_object=lambda **_: head | {"ChecksumCRC32": "AAAAAA==-2", "ChecksumType": "COMPOSITE"}
        )
        assert next(iter(source.walk("s3://b/k"))).pin.checksum is None
        source, _ = recorded(
            head_object=lambda **_: head | {"ChecksumCRC64NVME": "AAAA", "ChecksumType": "FULL_OBJECT"}
        )
        assert next(iter(source.walk("s3://b/k"))).pin.checksum == "crc64nvme:AAAA"

    def test_requester_pays_is_agreed_to_in_every_request(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HEADWATER_REQUESTER_PAYS", "1")
        source, client = recorded(head_object=refusal("404", 404), list_object_versions=a_million_versions(3))
        list(source.walk("s3://bucket/data"))
        assert all(arguments["RequestPayer"] == "requester" for _, arguments in client.calls)

    def test_double_slashes_and_dots_are_kept_apart(self) -> None:
        """SeaweedFS folds `a//b` into `a/b`; AWS does not."""
        from datetime import UTC, datetime

        keys = ["d//b", "d/../c", "d/./c", "d/a", "d/x//", "d/%"]
        items = [
            {"Key": k, "Size": 1, "ETag": f'"{k}"', "LastModified": datetime(2026, 1, 1, tzinfo=UTC)} for k in keys
        ]
        source, _ = recorded(list_object_versions=lambda **_: {"Versions": items, "IsTruncated": False})
        found = {f.uri: f.path for f in source.walk("s3://b/d/")}
        assert found == {
            "s3://b/d//b": "%/b", "s3://b/d/../c": "%2E%2E/c", "s3://b/d/./c": "%2E/c", "s3://b/d/a": "a",
            "s3://b/d/x//": "x/%/%", "s3://b/d/%": "%25",
        }  # fmt: skip


WHATEVER = S3Source()
"""One client for all examples: making one takes longer than all it does in one of them."""


@pytest.mark.slow
@given(
    st.sets(
        st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=20),
        max_size=5,
    )
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_objects_are_called_all_of_them_are_found_and_read(versioned: Bucket, names: set[str]) -> None:
    folder = f"d{next(_NUMBERS)}/"
    # SeaweedFS keeps names as files of a file system, where `.` and `..` cannot be
    keys = {folder + name for name in names if name not in (".", "..")}
    for key in keys:
        versioned.put(key, key.encode())
    if not keys:
        return
    found = list(WHATEVER.walk(versioned.uri(folder)))
    assert sorted(read(WHATEVER, f).decode() for f in found) == sorted(keys)
    assert {a.outcome for a in WHATEVER.check([(f.uri, f.pin) for f in found])} == {"same"}


@given(st.text(min_size=1).filter(lambda t: not t.startswith("/")))
@settings(max_examples=300, deadline=None)
def test_any_key_is_written_and_read_as_itself(key: str) -> None:
    cloud = _S3(Settings())
    address = cloud.parse("s3://bucket/x")
    if "X-Amz-" in key or "sig=" in key.lower() or "signature=" in key.lower():
        return
    again = cloud.parse(cloud.uri(address, key))
    assert (again.bucket, again.key, again.version) == ("bucket", key, None)
    again = cloud.parse(cloud.uri(address, key + "?versionId=abc"))
    assert (again.key, again.version) == (key + "?versionId=abc", None)


@given(st.text(min_size=1).filter(lambda t: t.isprintable()))
def test_the_key_before_is_before(key: str) -> None:
    try:
        assert _just_before(key).encode() < key.encode()
    except UnicodeEncodeError:
        assert any(0xD800 <= ord(c) < 0xE000 for c in key)


def test_a_signed_url_is_refused() -> None:
    with pytest.raises(InvalidInputError):
        list(S3Source().walk("s3://bucket/key?X-Amz-Signature=abc"))


def test_a_client_is_not_made_before_it_is_needed() -> None:
    assert S3Client()._made._made == {}
