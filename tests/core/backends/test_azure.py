"""AzureStore and AzureSource against Azurite, which keeps no versions: those are tried with recorded answers."""

from __future__ import annotations

import itertools
import multiprocessing
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.backends.azure import AzureStore, default_account
from headwater.backends.azure_source import AzureSource, _Azure, _seen
from headwater.errors import (
    AccessError,
    ConflictError,
    CredentialsError,
    InvalidInputError,
    NotFoundError,
    ReferenceChangedError,
    ReferenceMissingError,
)
from headwater.model.manifest import Pin
from tests.contracts.object_store_contract import ObjectStoreContract
from tests.contracts.source_contract import SourceContract, read
from tests.servers import azurite
from tests.servers.faults import FaultProxy

_NUMBERS = itertools.count()
ROOT = "https://acc.blob.core.windows.net/c"
_VARIABLES = ("ACCOUNT", "ACCOUNT_NAME", "KEY", "ACCOUNT_KEY", "SAS_TOKEN")


@pytest.fixture(scope="module")
def server() -> azurite.AzureServer:
    return azurite.running()


@pytest.fixture
def environment(server: azurite.AzureServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _VARIABLES:
        monkeypatch.delenv(f"AZURE_STORAGE_{name}", raising=False)
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", server.connection_string)


@pytest.fixture
def wire(server: azurite.AzureServer, monkeypatch: pytest.MonkeyPatch, environment: None) -> Iterator[FaultProxy]:
    with FaultProxy(server.port) as proxy:
        string = server.connection_at(f"{proxy.endpoint}/{azurite.ACCOUNT}")
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", string)
        yield proxy


class Container:
    """A container as others see it."""

    def __init__(self, server: azurite.AzureServer, prefix: str = "", *, public: bool = False) -> None:
        self.name = server.container(f"c-{os.getpid()}-{next(_NUMBERS)}", public=public)
        self.client = server.client().get_container_client(self.name)
        self.prefix = prefix

    def put(self, key: str, data: bytes) -> None:
        self.client.upload_blob(self.prefix + key, data, overwrite=True)

    plant = put

    def peek(self, key: str) -> bytes | None:
        blob = self.client.get_blob_client(self.prefix + key)
        return blob.download_blob().readall() if blob.exists() else None

    def delete(self, key: str) -> None:
        self.client.delete_blob(self.prefix + key)

    def uri(self, key: str) -> str:
        return f"az://{self.name}/{key}"


@pytest.fixture
def container(server: azurite.AzureServer, environment: None) -> Container:
    return Container(server)


@pytest.mark.slow
class TestAzureStore(ObjectStoreContract):
    @pytest.fixture
    def raw(self, server: azurite.AzureServer, environment: None) -> Container:
        return Container(server, "some/prefix/")

    @pytest.fixture
    def store(self, raw: Container) -> AzureStore:
        return AzureStore(f"az://{raw.name}/some/prefix")


@pytest.mark.slow
class TestStoreOnTheWire:
    @pytest.fixture
    def store(self, server: azurite.AzureServer, wire: FaultProxy) -> AzureStore:
        return AzureStore(f"az://{Container(server).name}/p")

    def test_a_put_is_one_request_whose_bytes_the_service_verifies(self, store: AzureStore, wire: FaultProxy) -> None:
        store.put("packs/a", b"x" * (9 << 20))
        (request,) = wire.requests
        assert request.method == "PUT" and request.headers["content-md5"]

    def test_a_get_is_one_request(self, store: AzureStore, wire: FaultProxy) -> None:
        store.put("packs/a", b"y" * (9 << 20))
        wire.requests.clear()
        assert len(store.get("packs/a")) == 9 << 20
        assert store.get("packs/a", 5, 4) == b"yyyy"
        assert len(wire.requests) == 2

    def test_a_storm_of_503_is_waited_out(self, store: AzureStore, wire: FaultProxy) -> None:
        wire.answer("503 Busy", times=3, headers="Retry-After: 0\r\n")
        store.put("packs/a", b"x")
        assert len(wire.requests) == 4

    def test_a_cut_body_is_read_again(self, store: AzureStore, wire: FaultProxy) -> None:
        store.put("packs/a", b"y" * 500_000)
        wire.cut(after=100_000)
        assert store.get("packs/a") == b"y" * 500_000

    def test_a_swap_whose_answer_got_lost_is_known_to_have_happened(self, store: AzureStore, wire: FaultProxy) -> None:
        wire.lose(match="PUT")
        first = store.swap_marker("headwater.json", b"1", None)
        wire.lose(match="PUT")
        second = store.swap_marker("headwater.json", b"2", first)
        assert store.read_marker("headwater.json") == (b"2", second)
        wire.lose(match="PUT")
        with pytest.raises(ConflictError):
            store.swap_marker("headwater.json", b"3", first)

    def test_a_large_object_goes_in_blocks(self, server: azurite.AzureServer, environment: None) -> None:
        store = AzureStore(f"az://{Container(server).name}")
        data = os.urandom(1 << 20) * 65
        store.put("packs/a", data)
        assert store.get("packs/a") == data

    def test_an_absent_container_is_an_error(self, environment: None) -> None:
        store = AzureStore("az://no-such-container")
        for ask in (lambda: list(store.list()), lambda: store.get("a"), lambda: store.read_marker("a")):
            with pytest.raises(NotFoundError):
                ask()

    def test_a_false_key_is_denied(self, server: azurite.AzureServer, monkeypatch: pytest.MonkeyPatch) -> None:
        false = "x" * 86 + "=="
        string = server.connection_string.replace(azurite.KEY, false)
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", string)
        with pytest.raises(AccessError) as denied:
            AzureStore("az://container").get("a")
        assert not isinstance(denied.value, CredentialsError)


@pytest.mark.slow
def test_a_store_survives_fork(container: Container) -> None:
    store = AzureStore(f"az://{container.name}")
    store.put("parent", b"1")
    child = multiprocessing.get_context("fork").Process(target=lambda: store.put("child", b"2"))
    child.start()
    child.join(20)
    assert child.exitcode == 0 and store.get("child") == b"2"


@pytest.mark.slow
class TestUnversioned(SourceContract):
    @pytest.fixture
    def source(self) -> AzureSource:
        return AzureSource()

    @pytest.fixture
    def world(self, container: Container) -> Container:
        return container


@pytest.mark.slow
class TestAzureSource:
    def test_md5_and_etag_are_pinned(self, container: Container) -> None:
        container.put("d/a", b"hello")
        (below,) = AzureSource().walk(container.uri("d"))
        (alone,) = AzureSource().walk(container.uri("d/a"))
        assert below.pin == alone.pin
        assert below.pin.checksum == "md5:5d41402abc4b2a76b9719d911017c592"
        assert below.pin.etag is not None and below.pin.etag.startswith('"')

    def test_metadata_may_change_but_bytes_may_not(self, container: Container) -> None:
        container.put("a", b"same")
        (found,) = AzureSource().walk(container.uri("a"))
        container.client.get_blob_client("a").set_blob_metadata({"note": "new ETag, same bytes"})
        assert read(AzureSource(), found) == b"same"
        assert [c.outcome for c in AzureSource().check([(found.uri, found.pin)])] == ["same"]

    def test_folder_marks_of_data_lakes_are_no_entries(self, container: Container) -> None:
        container.client.upload_blob("d/sub", b"", metadata={"hdi_isfolder": "true"})
        container.put("d/sub/empty", b"")
        assert [f.path for f in AzureSource().walk(container.uri("d"))] == ["sub/empty"]
        assert [f.path for f in AzureSource().walk(container.uri("d/sub"))] == ["empty"]

    def test_pages_are_followed(self, container: Container, monkeypatch: pytest.MonkeyPatch) -> None:
        for n in range(7):
            container.put(f"d/{n}", b"x")
        container.put("d//x", b"double")
        found = list(AzureSource().walk(f"az://{container.name}"))
        assert [f.path for f in found] == ["d/%/x", *(f"d/{n}" for n in range(7))]
        assert read(AzureSource(), found[0]) == b"double"

    def test_large_blobs_come_in_pieces_of_one_version(
        self, server: azurite.AzureServer, wire: FaultProxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("headwater.backends.azure_source.PIECE", 100_000)
        container = Container(server)
        data = os.urandom(350_000)
        container.put("a", data)
        (found,) = AzureSource().walk(container.uri("a"))
        wire.requests.clear()
        wire.cut(after=50_000)
        assert read(AzureSource(), found) == data
        assert len(wire.requests) == 5
        assert all("if-match" in r.headers for r in wire.requests)
        pieces = AzureSource().read(container.uri("a"), Pin())
        next(pieces)
        container.put("a", data[::-1])
        with pytest.raises(ReferenceChangedError):
            b"".join(pieces)

    def test_a_public_container_needs_no_credentials(
        self, server: azurite.AzureServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        container, private = Container(server, public=True), Container(server)
        container.put("d/a", b"for all")
        anonymous = f"AccountName={azurite.ACCOUNT};BlobEndpoint={server.endpoint}"
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", anonymous)
        (found,) = AzureSource().walk(container.uri("d"))
        assert read(AzureSource(), found) == b"for all"
        with pytest.raises(CredentialsError):
            list(AzureSource().walk(private.uri("d")))

    def test_an_absent_container_is_missing(self, environment: None) -> None:
        with pytest.raises(ReferenceMissingError):
            list(AzureSource().walk("az://no-such-container"))


# ------------------------------------------------------------------ without servers
class TestUris:
    @pytest.mark.parametrize(
        ("uri", "bucket", "key", "version"),
        [
            (f"{ROOT}/a%20b%23%3F%2541+x", ROOT, "a b#?%41+x", None),
            (ROOT, ROOT, "", None),
            ("https://acc.blob.core.usgovcloudapi.net/c/d/", "https://acc.blob.core.usgovcloudapi.net/c", "d/", None),
            ("https://acc.z01.blob.storage.azure.net/c/a", None, "", None),
            ("https://acc.blob.core.windows.net/c/a?versionid=2026-01-01T00:00:00.0000000Z",
             ROOT, "a", "2026-01-01T00:00:00.0000000Z"),
            ("abfss://c@acc.dfs.core.windows.net/a b#?%41", ROOT, "a b#?%41", None),
        ],
    )  # fmt: skip
    def test_every_form_is_understood(self, uri: str, bucket: str | None, key: str, version: str | None) -> None:
        if bucket is None:
            with pytest.raises(InvalidInputError):
                _Azure().parse(uri)
            return
        found = _Azure().parse(uri)
        assert (found.bucket, found.key, found.version) == (bucket, key, version)

    def test_signed_urls_are_refused_and_not_repeated(self) -> None:
        uri = "https://acc.blob.core.windows.net/c/a?sv=2024-01-01&sig=SECRET&se=2027"
        with pytest.raises(InvalidInputError) as refused:
            list(AzureSource().walk(uri))
        assert "SECRET" not in str(refused.value)

    @given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
    @settings(max_examples=300, deadline=None)
    def test_any_name_is_written_and_read_as_itself(self, key: str) -> None:
        cloud = _Azure()
        for root in ("https://acc.blob.core.windows.net/c/x", "abfs://c@acc.dfs.core.windows.net/x"):
            if "sig" in key.lower() or "x-" in key.lower() or "id=" in key.lower():
                continue
            again = cloud.parse(cloud.uri(cloud.parse(root), key))
            assert (again.key, again.version) == (key, None)

    def test_no_account_is_an_error_that_names_the_setting(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("CONNECTION_STRING", *_VARIABLES):
            monkeypatch.delenv(f"AZURE_STORAGE_{name}", raising=False)
        with pytest.raises(CredentialsError, match="AZURE_STORAGE_ACCOUNT"):
            default_account()

    def test_a_store_is_named_by_its_url(self) -> None:
        assert AzureStore("az://c/p/?account=acc").url == "az://c/p"
        for wrong in ("az://", "https://c/p", "az://c?sig=x"):
            with pytest.raises(InvalidInputError):
                AzureStore(wrong)


class TestVersions:
    """As Azure lists them for an account that keeps versions (List Blobs, include=versions)."""

    @staticmethod
    def blob(
        name: str, version: str | None, *, current: bool | None, md5: bytes = b"m", kind: str = "BlockBlob"
    ) -> Any:
        return SimpleNamespace(
            name=name, size=3, etag="0x1", version_id=version, is_current_version=current, metadata=None,
            blob_type=kind, last_modified=datetime(2026, 1, 1, tzinfo=UTC),
            content_settings=SimpleNamespace(content_md5=bytearray(md5)),
        )  # fmt: skip

    def listed(self, monkeypatch: pytest.MonkeyPatch, blobs: list[Any]) -> AzureSource:
        monkeypatch.setattr(_Azure, "_page", lambda self, address, prefix, token: (blobs, None))
        return AzureSource()

    def test_the_current_version_is_the_entry(self, monkeypatch: pytest.MonkeyPatch) -> None:
        blobs = [self.blob("d/a", "v1", current=None), self.blob("d/a", "v2", current=True)]
        blobs += [self.blob("d/gone", "v1", current=None)]
        found = list(self.listed(monkeypatch, blobs).walk("https://acc.blob.core.windows.net/c/d/"))
        assert [(f.path, f.pin.version) for f in found] == [("a", "v2")]

    def test_check_knows_older_versions(self, monkeypatch: pytest.MonkeyPatch) -> None:
        blobs = [self.blob("d/a", "v1", current=None, md5=b"1"), self.blob("d/a", "v2", current=True, md5=b"2")]
        blobs += [self.blob("d/gone", "v1", current=None)]
        root = ROOT + "/d"
        asked = [(f"{root}/a", Pin(version="v1", checksum="md5:31")),
                 (f"{root}/a", Pin(version="v0", checksum="md5:30")),
                 (f"{root}/gone", Pin(version="v1")), (f"{root}/never", Pin(version="v1"))]  # fmt: skip
        answers = list(self.listed(monkeypatch, blobs).check(asked))
        assert [a.outcome for a in answers] == ["same", "changed", "same", "missing"]

    def test_an_append_blob_s_md5_proves_nothing(self) -> None:
        assert _seen(self.blob("a", None, current=None, kind="AppendBlob")).pin.checksum is None
