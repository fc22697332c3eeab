"""References into S3, GCS and Azure through the public face, against real servers on loopback."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import headwater as hw
from headwater.cli.root import headwater as root
from headwater.errors import (
    AccessError,
    CredentialsError,
    InvalidInputError,
    ReferenceChangedError,
    ReferenceMissingError,
)
from headwater.sources import SOURCES
from tests.core.backends.test_azure import Container
from tests.core.backends.test_gcs import Bucket as GCSBucket
from tests.core.backends.test_s3_source import Bucket as S3Bucket
from tests.servers import azurite, fakegcs, seaweed
from tests.servers.faults import FaultProxy

pytestmark = pytest.mark.slow
_NUMBERS = itertools.count()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in list(os.environ):
        if name.startswith(("AWS_", "AZURE_", "GOOGLE_", "STORAGE_")):
            monkeypatch.delenv(name)
    monkeypatch.setattr("headwater.backends.retrying.FIRST_PAUSE", 0.001)
    SOURCES._made.clear()
    yield
    SOURCES._made.clear()


@pytest.fixture
def repo(folder_repo: Any) -> Any:
    return folder_repo


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> seaweed.S3Server:
    server = seaweed.running()
    _use_s3(monkeypatch, server.endpoint)
    return server


def _use_s3(
    monkeypatch: pytest.MonkeyPatch, endpoint: str, credentials: tuple[str, str] | None = seaweed.OWNER
) -> None:
    for name, value in {"ENDPOINT_URL": endpoint, "REGION": "us-east-1", "EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    for name, value in zip(("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"), credentials or ()):
        monkeypatch.setenv(f"AWS_{name}", value)
    if credentials is None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
        monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    SOURCES._made.clear()


class Cloud:
    """A bucket, and whether it keeps what was overwritten."""

    def __init__(self, world: Any, *, keeps: bool) -> None:
        self.world, self.keeps = world, keeps


@pytest.fixture(params=["s3", "s3-versioned", "gcs", "gcs-versioned", "azure"])
def cloud(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    kind, _, versioned = request.param.partition("-")
    if kind == "s3":
        return Cloud(S3Bucket(request.getfixturevalue("s3"), versioned=bool(versioned)), keeps=bool(versioned))
    if kind == "gcs":
        gcs = fakegcs.running()
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs.endpoint)
        monkeypatch.setenv("NO_GCE_CHECK", "true")
        monkeypatch.setenv("CLOUDSDK_CONFIG", "/nonexistent")
        return Cloud(GCSBucket(gcs, versioned=bool(versioned)), keeps=bool(versioned))
    azure = azurite.running()
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azure.connection_string)
    return Cloud(Container(azure), keeps=False)


def draft(*uris: str, name: str = "data", **options: Any) -> hw.Artifact:
    artifact = hw.Artifact(name)
    for uri in uris:
        artifact.add_reference(uri, **options)
    return artifact


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_prefix_is_tracked_used_checked_overwritten_and_told_about(repo: Any, cloud: Cloud, tmp_path: Path) -> None:
    world = cloud.world
    for key, data in {"train/a": b"1", "train/b/c": b"22", "train/empty": b"", "train2/x": b"no"}.items():
        world.put(key, data)
    with repo.start_run("first") as run:
        version = run.use_artifact(draft(world.uri("train")))
        assert [v.id for v in run.used_artifacts()] == [version.id]
        assert run.logged_artifacts() == []
    with repo.start_run("second") as run:
        again = run.use_artifact(draft(world.uri("train")))
        assert (again.id, again.number) == (version.id, 0)
        assert [v.id for v in run.used_artifacts()] == [version.id]
    assert [(e.path, e.size) for e in version.entries()] == [("a", 1), ("b/c", 2), ("empty", 0)]
    assert [e.uri for e in version.entries()] == [world.uri(f"train/{path}") for path in ("a", "b/c", "empty")]
    assert version.record.stored_size == 0 and version.record.referenced_size == 3
    assert repo.check(version).ok
    assert content(version.fetch(tmp_path / "a").path) == {"a": b"1", "b/c": b"22", "empty": b""}
    repo.home.copies.prune()
    world.put("train/a", b"other")
    world.delete("train/b/c")
    report = repo.check("data")
    fetched = version.fetch(tmp_path / "b", allow_missing_references=True)
    if cloud.keeps:
        assert report.ok
        assert fetched.skipped == ()
        assert content(tmp_path / "b") == {"a": b"1", "b/c": b"22", "empty": b""}
    else:
        assert [(d.path, d.outcome) for d in report.drifts] == [("a", "changed"), ("b/c", "missing")]
        assert [(s.path, s.reason) for s in fetched.skipped] == [("a", "changed"), ("b/c", "missing")]
        assert all(s.detail for s in fetched.skipped)
        with pytest.raises((ReferenceChangedError, ReferenceMissingError)):
            version.fetch(tmp_path / "c")
    with repo.start_run("third") as run:
        newer = run.use_artifact(draft(world.uri("train")))
        assert newer.number == 1
        assert [v.id for v in run.used_artifacts()] == [newer.id]
    assert content(newer.fetch(tmp_path / "d").path) == {"a": b"other", "empty": b""}


def test_errors_are_told_apart_and_nothing_is_added(repo: Any, cloud: Cloud) -> None:
    for n in range(4):
        cloud.world.put(f"p/{n}", b"x")
    artifact = hw.Artifact("data")
    with pytest.raises(ReferenceMissingError):
        artifact.add_reference(cloud.world.uri("absent"))
    with pytest.raises(ReferenceMissingError):
        artifact.add_reference(cloud.world.uri("absent/"))
    with pytest.raises(InvalidInputError, match="max_objects=3"):
        artifact.add_reference(cloud.world.uri("p"), max_objects=3)
    assert list(artifact.entries()) == []
    assert len(list(artifact.add_reference(cloud.world.uri("p"), max_objects=4).entries())) == 4
    with pytest.warns(UserWarning, match="recorded unverified"):
        artifact.add_reference(cloud.world.uri("absent"), on_unavailable="record")
    artifact.add_reference(cloud.world.uri("bare"), pin=False)
    entries = {e.path: e for e in repo.log_artifact(artifact).entries()}
    assert [(entries[n].size, entries[n].pin.strength) for n in ("absent", "bare")] == [(None, "unverified")] * 2
    assert repo.check("data").counts == {"missing": 2, "same": 4}


def test_a_digest_is_read_once_and_proved(repo: Any, cloud: Cloud, tmp_path: Path) -> None:
    from blake3 import blake3

    cloud.world.put("d/a", b"some bytes")
    version = repo.log_artifact(draft(cloud.world.uri("d"), pin="digest"))
    (entry,) = version.entries()
    assert entry.pin.checksum == f"blake3:{blake3(b'some bytes').hexdigest()}"
    assert content(version.fetch(tmp_path / "t").path) == {"a": b"some bytes"}


def test_equal_bytes_at_a_new_place_are_a_new_version(repo: Any, cloud: Cloud) -> None:
    cloud.world.put("one/a", b"x")
    cloud.world.put("two/a", b"x")
    first = repo.log_artifact(draft(cloud.world.uri("one")))
    second = repo.log_artifact(draft(cloud.world.uri("two")))
    assert (first.number, second.number) == (0, 1)


def test_the_command_puts_by_reference_and_by_copy(repo: Any, cloud: Cloud, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("HEADWATER_URL", str(repo.home.url))
    monkeypatch.setenv("HEADWATER_PROJECT", "vision")
    for n in range(3):
        cloud.world.put(f"p/{n}", b"%d" % n)

    def run(*words: Any, code: int = 0) -> Any:
        done = CliRunner().invoke(root, ["artifact", *map(str, words)])
        assert done.exit_code == code, done.output
        return done

    uri = cloud.world.uri("p")
    for name, how in (("pointed", "--reference"), ("kept", "--copy")):
        run("put", name, uri, how)
        run("get", name, tmp_path / name)
        assert content(tmp_path / name) == {"0": b"0", "1": b"1", "2": b"2"}
        assert "max-objects" in run("put", "over", uri, how, "--max-objects", 2, code=2).stderr
        run("put", "none", cloud.world.uri("absent"), how, code=3)
    assert json.loads(run("show", "kept", "--json").stdout)["stored_size"] == 3
    assert json.loads(run("show", "pointed", "--json").stdout)["stored_size"] == 0
    assert run("check", "pointed").exit_code == 0
    cloud.world.put("p/0", b"other")
    assert run("check", "pointed", code=0 if cloud.keeps else 1).stdout


# -------------------------------------------------------------------------- S3
def test_denied_no_credentials_and_anonymous(repo: Any, s3: seaweed.S3Server, monkeypatch: Any, tmp_path: Path) -> None:
    bucket = S3Bucket(s3, versioned=False)
    bucket.put("p/a", b"x")
    s3.client().put_object(Bucket=seaweed.PUBLIC, Key="refs/a", Body=b"public")
    version = repo.log_artifact(draft(bucket.uri("p")))
    for credentials, error, word in (
        (seaweed.READER, AccessError, "denied"),
        (None, CredentialsError, "no-credentials"),
    ):
        _use_s3(monkeypatch, s3.endpoint, credentials)
        with pytest.raises(AccessError) as caught:
            draft(bucket.uri("p"))
        assert type(caught.value) is error
        assert repo.check(version).counts == {word: 1}
        skipped = version.fetch(tmp_path / word, allow_missing_references=True).skipped
        assert [s.reason for s in skipped] == [word]
    public = repo.log_artifact(draft(f"s3://{seaweed.PUBLIC}/refs", name="public"))
    assert content(public.fetch(tmp_path / "public").path) == {"a": b"public"}


def test_an_endpoint_of_s3_alone_goes_before_that_of_all_services(
    repo: Any, s3: seaweed.S3Server, monkeypatch: Any
) -> None:
    bucket = S3Bucket(s3, versioned=False)
    bucket.put("p/a", b"x")
    _use_s3(monkeypatch, "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.endpoint)
    assert repo.check(repo.log_artifact(draft(bucket.uri("p")))).ok


def test_a_large_object_comes_in_ranges_and_goes_on_where_it_was_cut(
    repo: Any, s3: seaweed.S3Server, monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.setattr("headwater.download.ranged.LARGE", 1 << 20)
    monkeypatch.setattr("headwater.download.ranged.PART", 1 << 20)
    bucket, data = S3Bucket(s3, versioned=False), os.urandom((5 << 20) + 1)
    bucket.put("big", data)
    with FaultProxy(s3.port) as wire:
        _use_s3(monkeypatch, wire.endpoint)
        version = repo.log_artifact(draft(bucket.uri("big")))
        wire.requests.clear()
        wire.cut(after=300_000, times=2)
        version.fetch(tmp_path / "t")
        assert content(tmp_path / "t") == {"big": data}
        assert len(wire.requests) == 6 + 2
        assert all(r.headers.get("range") and r.headers.get("if-match") for r in wire.requests)


def test_an_upload_in_parts_and_a_sha256_are_brought(repo: Any, s3: seaweed.S3Server, tmp_path: Path) -> None:
    bucket = S3Bucket(s3, versioned=False)
    s3.client().put_object(Bucket=bucket.name, Key="sum", Body=b"proved", ChecksumAlgorithm="SHA256")
    upload = s3.client().create_multipart_upload(Bucket=bucket.name, Key="parts")["UploadId"]
    pieces = [b"a" * (5 << 20), b"b"]
    parts = []
    for number, piece in enumerate(pieces, 1):
        made = s3.client().upload_part(Bucket=bucket.name, Key="parts", UploadId=upload, PartNumber=number, Body=piece)
        parts.append({"ETag": made["ETag"], "PartNumber": number})
    s3.client().complete_multipart_upload(
        Bucket=bucket.name, Key="parts", UploadId=upload, MultipartUpload={"Parts": parts}
    )
    version = repo.log_artifact(draft(bucket.uri("sum"), bucket.uri("parts")))
    assert content(version.fetch(tmp_path / "t").path) == {"sum": b"proved", "parts": b"".join(pieces)}


def test_requests_on_the_wire(repo: Any, s3: seaweed.S3Server, monkeypatch: Any, tmp_path: Path) -> None:
    """SeaweedFS needs every page twice where it has versions (docs/references.md), so the bucket here has none."""
    bucket = S3Bucket(s3, versioned=False)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: bucket.put(f"d/{n:04}", b"x"), range(2100)))
    with FaultProxy(s3.port) as wire:
        _use_s3(monkeypatch, wire.endpoint)
        told: list[tuple[str, int, int | None]] = []
        artifact = draft(bucket.uri("d"), progress=lambda *said: told.append(said))
        assert told[-1] == ("references", 2100, None)
        assert len(wire.requests) <= 2 * 3 + 5
        wire.requests.clear()
        version = repo.log_artifact(artifact)
        assert wire.requests == []
        assert repo.check(version).counts == {"same": 2100}
        assert len(wire.requests) <= 2 * 3 + 5
        wire.requests.clear()
        version.fetch(tmp_path / "t", prefix="0000")
        assert len(wire.requests) == 1


def test_a_page_that_is_refused_half_way_adds_nothing(repo: Any, s3: seaweed.S3Server, monkeypatch: Any) -> None:
    bucket = S3Bucket(s3, versioned=False)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: bucket.put(f"d/{n:04}", b"x"), range(1001)))
    with FaultProxy(s3.port) as wire:
        _use_s3(monkeypatch, wire.endpoint)
        wire.answer("403 Forbidden", match="continuation-token")
        artifact = hw.Artifact("data")
        with pytest.raises(AccessError):
            artifact.add_reference(bucket.uri("d"))
        assert list(artifact.entries()) == []
        wire.answer("503 Slow Down", match="list-type=2", headers="Retry-After: 0\r\n")
        assert len(list(artifact.add_reference(bucket.uri("d")).entries())) == 1001


def test_a_delete_marker_hides_and_the_pinned_version_stays(repo: Any, s3: seaweed.S3Server, tmp_path: Path) -> None:
    bucket = S3Bucket(s3, versioned=True)
    bucket.put("p/a", b"first")
    bucket.put("p/b", b"kept")
    version = repo.log_artifact(draft(bucket.uri("p")))
    old = next(e for e in version.entries() if e.path == "a").pin.version
    bucket.put("p/a", b"second")
    bucket.delete("p/a")
    assert [p.path for p in draft(bucket.uri("p")).entries()] == ["b"]
    assert content(version.fetch(tmp_path / "t").path) == {"a": b"first", "b": b"kept"}
    explicit = repo.log_artifact(draft(f"{bucket.uri('p/a')}?versionId={old}", name="explicit"))
    assert content(explicit.fetch(tmp_path / "e").path) == {"a": b"first"}
    with pytest.raises(ReferenceMissingError):
        draft(f"{bucket.uri('p/b')}?versionId=nonsense")


@given(
    st.sets(
        # SeaweedFS takes a backslash for a slash
        st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/\\"), min_size=1, max_size=8)
        .map(str.strip)
        .filter(lambda n: n not in ("", ".", "..")),
        min_size=1,
        max_size=4,
    )
)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_keys_are_called_they_come_back_inside_the_target(
    repo: Any, s3: seaweed.S3Server, tmp_path: Path, names: set[str]
) -> None:
    bucket, number = S3Bucket(s3, versioned=False), next(_NUMBERS)
    for name in names:
        bucket.put(f"k/{name}", name.encode())
    version = repo.log_artifact(draft(bucket.uri("k"), name=f"n{number}"))
    target = tmp_path / f"inner-{number}" / "t"
    version.fetch(target)
    assert sorted(content(target).values()) == sorted(name.encode() for name in names)
    assert [p.name for p in target.parent.iterdir()] == ["t"]


# ------------------------------------------------------- what no emulator can show
_MILLION = """
import sys, time
import headwater as hw
from datetime import UTC, datetime
from headwater.sources import SOURCES
from tests.core.backends.test_s3_source import a_million_versions, recorded, refusal
n = int(sys.argv[2])
source, client = recorded(head_object=refusal("404", 404), list_object_versions=a_million_versions(n))
SOURCES._registered["s3"] = lambda: source
repo = hw.connect(sys.argv[1], project="p")
artifact = hw.Artifact("huge")
artifact.add_reference("s3://bucket/data", max_objects=n)
version = repo.log_artifact(artifact)
assert version.record.n_entries == n, version.record.n_entries
# VmHWM: on Linux ru_maxrss also counts what the process that started this one held
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(len(client.calls), int(peak.split()[1]) // 1024)
"""


@pytest.mark.timeout(400)
def test_a_million_objects_are_tracked_and_logged_in_flat_memory(tmp_path: Path) -> None:
    """Answers as AWS documents them: 1,000 versions a page."""
    here = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", _MILLION, str(tmp_path / "repository"), "1000000"],
        env={**os.environ, "PYTHONPATH": f"{here}{os.pathsep}{here / 'core'}"},
        capture_output=True, text=True, timeout=380, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    requests, megabytes = map(int, done.stdout.split())
    assert requests <= 1000 + 5
    assert megabytes < 300
