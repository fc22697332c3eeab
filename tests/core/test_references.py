"""References as a user meets them, on the web and by a third party's scheme; the clouds have a file of their own."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import os
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

import headwater as hw
from headwater.cli.root import headwater as root
from headwater.errors import (
    AccessError,
    CredentialsError,
    InvalidInputError,
    ReferenceChangedError,
    ReferenceMissingError,
    StorageError,
)
from headwater.model.manifest import Pin
from headwater.ports import Checked, Found
from headwater.sources import SOURCES
from headwater.testing import SourceContract
from tests.servers import web
from tests.servers.web import Page

_NUMBERS = itertools.count()
WHEN = 1_790_000_000.0


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setattr("headwater.backends.retrying.FIRST_PAUSE", 0.001)
    SOURCES._made.clear()
    yield
    SOURCES._made.clear()


@pytest.fixture
def repo(folder_repo):
    return folder_repo


@pytest.fixture
def site():
    server = web.running()
    server.requests.clear()
    return server


def page(site, body=b"0123456789", name="file.bin", **manners):
    return site.put(f"/{next(_NUMBERS)}/{name}", Page(body, **manners))


def track(repo, *uris, name="data", **options):
    artifact = hw.Artifact(name)
    for uri in uris:
        artifact.add_reference(uri, **options)
    return repo.log_artifact(artifact)


def only(version):
    (entry,) = version.entries()
    return entry


def content(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


# ------------------------------------------------------------------- the web
def test_a_file_without_validators_is_held_to_what_it_was_at_its_first_read(folder_repo, site, tmp_path):
    version = track(folder_repo, page(site, b"first", length=False))
    assert (only(version).size, only(version).pin.strength) == (None, "unverified")
    version.fetch(tmp_path / "a")
    version.fetch(tmp_path / "b")
    assert content(tmp_path / "b") == {"file.bin": b"first"}
    folder_repo.home.copies.prune()
    site.pages[only(version).uri.removeprefix(site.url)].body = b"other"
    with hw.connect(folder_repo.home.url, project="vision") as again, pytest.raises(ReferenceChangedError):
        again.version("data").fetch(tmp_path / "c")
    assert content(tmp_path / "c") == {}


def test_a_digest_taken_when_it_was_tracked_proves_it_from_the_start(repo, site, tmp_path):
    version = track(repo, page(site, b"first", length=False), pin="digest")
    assert (only(version).size, only(version).pin.strength) == (5, "checksum")
    site.pages[only(version).uri.removeprefix(site.url)].body = b"other"
    with pytest.raises(ReferenceChangedError):
        version.fetch(tmp_path / "a")


def test_a_digest_holds_what_is_opened_even_within_one_second_of_the_server_s_clock(repo, site):
    version = track(repo, page(site, b"first", modified=WHEN), pin="digest")
    site.pages[only(version).uri.removeprefix(site.url)].body = b"other"
    with pytest.raises(ReferenceChangedError), version.open("file.bin") as file:
        file.read()


@pytest.mark.parametrize("manners", [{"modified": WHEN}, {}, {"etag": 'W/"weak"'}])
def test_another_size_is_a_change_whatever_else_is_the_same(repo, site, manners):
    version = track(repo, page(site, b"first", **manners))
    site.pages[only(version).uri.removeprefix(site.url)].body = b"longer than it was"
    report = repo.check(version)
    assert not report
    assert (report.drifts[0].outcome, report.drifts[0].found) == ("changed", "18 bytes instead of 5")


def test_the_same_size_and_time_are_the_same_and_nothing_else_is_promised(repo, site):
    version = track(repo, page(site, b"first", modified=WHEN))
    assert only(version).pin.strength == "stat"
    assert repo.check(version).counts == {"same": 1}


def test_a_redirect_is_followed_and_the_uri_asked_for_is_recorded(repo, site, tmp_path):
    there = page(site, b"bytes", etag='"1"', name="there.bin?signature=secret")
    version = track(repo, site.put("/asked/here.bin", Page(redirect=there)))
    assert only(version).uri == f"{site.url}/asked/here.bin"
    assert content(version.fetch(tmp_path / "t").path) == {"here.bin": b"bytes"}


def test_a_password_from_netrc_serves_and_is_written_nowhere(folder_repo, site, tmp_path):
    uri = page(site, b"bytes", user=("ann", "hunter2"), etag='"1"')
    with pytest.raises(CredentialsError):
        track(folder_repo, uri)
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login ann password hunter2\n")
    version = track(folder_repo, uri)
    assert content(version.fetch(tmp_path / "t").path) == {"file.bin": b"bytes"}
    assert_nowhere("hunter2", Path(folder_repo.home.url), pickle.dumps(version), repr(version))


def test_a_proxy_from_the_environment_is_used(repo, site, monkeypatch, tmp_path):
    monkeypatch.setenv("HTTP_PROXY", site.url)
    monkeypatch.setenv("http_proxy", site.url)
    site.pages["http://far.invalid/x.bin"] = Page(b"by proxy", etag='"p"')
    version = track(repo, "http://far.invalid/x.bin")
    assert content(version.fetch(tmp_path / "t").path) == {"x.bin": b"by proxy"}


def test_a_server_that_asks_for_patience_is_given_it(repo, site):
    assert only(track(repo, page(site, b"x", failures=2, retry_after="0", etag='"1"'))).size == 1
    assert len(site.requests) == 3
    with pytest.raises(StorageError):
        track(repo, page(site, b"x", failures=99, retry_after="600"))
    assert len(site.requests) == 4, "ten minutes are not waited for"


# -------------------------------------------------------------- large objects
@pytest.fixture
def parts(monkeypatch):
    monkeypatch.setattr("headwater.download.ranged.LARGE", 1 << 20)
    monkeypatch.setattr("headwater.download.ranged.PART", 256 << 10)


def ranges(site):
    return [headers["range"] for _, _, headers in site.requests if headers.get("range") not in (None, "bytes=0-0")]


def test_a_large_file_comes_in_ranges_and_a_cut_one_goes_on_in_its_middle(repo, site, parts, tmp_path):
    body = os.urandom((1 << 20) + 12_345)
    version = track(repo, page(site, body, etag='"1"'))
    served = site.pages[only(version).uri.removeprefix(site.url)]
    served.cut_after, served.cuts = 100_000, 2
    site.requests.clear()
    told = []
    version.fetch(tmp_path / "t", progress=lambda *said: told.append(said))
    assert content(tmp_path / "t") == {"file.bin": body}
    assert len(ranges(site)) == 5 + 2
    assert sum(not int(r[6:].split("-")[0]) % (256 << 10) for r in ranges(site)) == 5, (
        "only what was cut is asked again"
    )
    assert told[-1] == ("download", len(body), len(body))
    assert not list((repo.home.folder / "unfinished").iterdir())


def test_what_failed_in_its_middle_goes_on_there_in_the_next_attempt(repo, site, parts, tmp_path):
    body = os.urandom(2 << 20)
    version = track(repo, page(site, body, etag='"1"'))
    served = site.pages[only(version).uri.removeprefix(site.url)]
    served.cut_after, served.cuts = 0, 10**6
    with pytest.raises(StorageError):
        version.fetch(tmp_path / "t")
    assert content(tmp_path / "t") == {}
    served.cuts = 0
    first = next((repo.home.folder / "unfinished").glob("*.part"))
    journal = first.with_suffix(".done")
    with first.open("r+b") as file:  # as if two parts had come
        file.write(body[: 512 << 10])
    journal.write_bytes(b"++")
    site.requests.clear()
    version.fetch(tmp_path / "t")
    assert content(tmp_path / "t") == {"file.bin": body}
    assert len(ranges(site)) == 6, "eight parts, two of which were there"


def test_a_part_that_was_damaged_on_disk_does_not_end_well(repo, site, parts, tmp_path):
    body = os.urandom(1 << 20)
    version = track(repo, page(site, body, etag='"1"'), pin="digest")
    served = site.pages[only(version).uri.removeprefix(site.url)]
    served.cut_after, served.cuts = 0, 10**6
    with pytest.raises(StorageError):
        version.fetch(tmp_path / "t")
    served.cuts = 0
    next((repo.home.folder / "unfinished").glob("*.part")).with_suffix(".done").write_bytes(b"++++")
    with pytest.raises(ReferenceChangedError):
        version.fetch(tmp_path / "t")
    version.fetch(tmp_path / "t")  # what was damaged is gone: all of it is asked for again
    assert content(tmp_path / "t") == {"file.bin": body}


def test_a_large_file_that_changed_is_one_outcome_and_leaves_nothing(repo, site, parts, tmp_path):
    version = track(repo, page(site, os.urandom(1 << 20), etag='"1"'))
    served = site.pages[only(version).uri.removeprefix(site.url)]
    served.body, served.etag = os.urandom(1 << 20), '"2"'
    skipped = version.fetch(tmp_path / "t", allow_missing_references=True).skipped
    assert [(s.path, s.reason) for s in skipped] == [("file.bin", "changed")]
    assert content(tmp_path / "t") == {}
    assert not list((repo.home.folder / "unfinished").iterdir())


def test_a_server_without_ranges_sends_a_large_file_once(repo, site, parts, tmp_path):
    body = os.urandom(1 << 20)
    version = track(repo, page(site, body, etag='"1"', ranges=False))
    site.requests.clear()
    assert content(version.fetch(tmp_path / "t").path) == {"file.bin": body}
    assert len(site.requests) == 2


def test_many_readers_of_one_large_file_all_get_it(repo, site, parts, tmp_path):
    body = os.urandom(1 << 20)
    version = track(repo, page(site, body, etag='"1"', delay=0.002))
    threads = [threading.Thread(target=version.fetch, args=(tmp_path / str(n),)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(content(tmp_path / str(n)) == {"file.bin": body} for n in range(3))


# ----------------------------------------------------------------- local copies
def test_copies_of_references_are_cached_for_every_repository(repo, site, tmp_path):
    version = track(repo, page(site, b"x" * 5000, etag='"1"'))
    version.fetch(tmp_path / "a")
    site.requests.clear()
    version.fetch(tmp_path / "b")
    assert content(tmp_path / "b") == {"file.bin": b"x" * 5000}
    assert site.requests == []
    assert repo.home.copies.size > 5000


def test_the_quota_holds_and_a_cache_that_cannot_be_written_costs_only_time(repo, site, tmp_path, monkeypatch):
    version = track(repo, page(site, b"x" * 500_000, etag='"1"'), page(site, b"y" * 500_000, "other", etag='"1"'))
    monkeypatch.setattr(repo.home.copies, "quota_bytes", 700_000)
    version.fetch(tmp_path / "a")
    assert repo.home.copies.size <= 700_000
    monkeypatch.setenv("HEADWATER_CACHE", str(tmp_path / "a" / "file.bin" / "no folder"))
    with hw.connect(repo.home.url, project="vision") as again:
        again.version("data").fetch(tmp_path / "b")
    assert content(tmp_path / "b") == content(tmp_path / "a")


# ----------------------------------------------------------------- unavailable
def test_what_cannot_be_asked_is_recorded_only_on_request_and_with_a_warning(repo, site):
    for uri, error in ((page(site, status=403), AccessError), (page(site, status=404), ReferenceMissingError)):
        artifact = hw.Artifact("data")
        with pytest.raises(error):
            artifact.add_reference(uri)
        assert list(artifact.entries()) == []
        with pytest.warns(UserWarning, match="recorded unverified"):
            artifact.add_reference(uri, on_unavailable="record")
        version = repo.log_artifact(artifact)
        assert (only(version).uri, only(version).size, only(version).pin) == (uri, None, Pin())


def test_signs_that_stand_for_themselves_in_a_key_are_part_of_its_path(repo, register):
    register("third", Third)
    Third.objects["folder#1/x"] = b"1"
    artifact = hw.Artifact("data").add_reference("third://folder#1", name="d")
    with pytest.warns(UserWarning, match="recorded unverified"):
        artifact.add_reference("third://gone/a#b?c.csv", on_unavailable="record")
    assert [(e.path, e.uri) for e in repo.log_artifact(artifact).entries()] == [
        ("a#b?c.csv", "third://gone/a#b?c.csv"), ("d/x", "third://folder#1/x"),
    ]  # fmt: skip


def test_a_source_that_fails_half_way_is_recorded_bare_and_whole(repo, register):
    class Failing(Third):
        def walk(self, uri, *, pin=True):
            yield from super().walk(uri, pin=pin)
            if pin:
                yield from (Found(f"x{n}", f"{uri}/x{n}", 1, Pin(etag='"1"')) for n in range(3))
                raise AccessError(what="denied", where=uri)

    register("third", Failing)
    Third.objects["a/1"] = b"1"
    artifact = hw.Artifact("data")
    with pytest.raises(AccessError):
        artifact.add_reference("third://a")
    assert list(artifact.entries()) == []
    with pytest.warns(UserWarning, match="denied"):
        artifact.add_reference("third://a", on_unavailable="record")
    assert [p.path for p in artifact.entries()] == ["a"]


# ------------------------------------------------------------ a scheme of others
class Third:
    """A third party's source: bytes in a dictionary, whose ETag is their own text."""

    objects: dict[str, bytes] = {}

    def walk(self, uri, *, pin=True):
        key = uri.partition("://")[2]
        if not uri.startswith("third://"):
            raise InvalidInputError(what=f"{uri} is not of this scheme")
        if pin is False:
            yield Found(key.rstrip("/").rpartition("/")[2], uri, None, Pin())
            return
        if key in self.objects:
            yield self._found(key.rpartition("/")[2], key, pin)
            return
        prefix = key.rstrip("/") + "/" if key else ""
        found = [k for k in sorted(self.objects, key=str.encode) if k.startswith(prefix)]
        if not found:
            raise ReferenceMissingError(uri=uri)
        for one in found:
            yield self._found(one[len(prefix) :], one, pin)

    def _found(self, path, key, pin):
        from blake3 import blake3

        data = self.objects[key]
        checksum = f"blake3:{blake3(data).hexdigest()}" if pin == "digest" else None
        return Found(path, f"third://{key}", len(data), Pin(etag=f'"{data[:40]!r}"', checksum=checksum))

    def read(self, uri, pin, start=0, length=None):
        data = self.objects.get(uri.partition("://")[2])
        if data is None:
            raise ReferenceMissingError(uri=uri)
        now = self._found("", uri.partition("://")[2], "digest").pin
        if (pin.etag or now.etag, pin.checksum or now.checksum) != (now.etag, now.checksum):
            raise ReferenceChangedError(uri=uri, pinned=pin.etag, found=now.etag)
        yield data[start : None if length is None else start + length]

    def check(self, references):
        for uri, pin in references:
            data = self.objects.get(uri.partition("://")[2])
            if data is None:
                yield Checked(uri, "missing", None)
            elif pin.etag is None:
                yield Checked(uri, "unverified", None)
            else:
                now = self._found("", uri.partition("://")[2], pin).pin.etag
                yield Checked(uri, "same" if now == pin.etag else "changed", now)


class TestThirdParty(SourceContract):
    """The shipped suite tests what somebody else wrote, which is how its own tests are to be written."""

    @pytest.fixture
    def source(self):
        return Third()

    @pytest.fixture
    def world(self, monkeypatch):
        monkeypatch.setattr(Third, "objects", {})

        class World:
            put = staticmethod(Third.objects.__setitem__)
            delete = staticmethod(Third.objects.__delitem__)
            uri = staticmethod("third://{}".format)

        return World


@pytest.fixture
def register(monkeypatch):
    def add(scheme, make):
        monkeypatch.setitem(SOURCES._registered, scheme, make)
        SOURCES._made.pop(scheme, None)

    monkeypatch.setattr(Third, "objects", {})
    return add


def test_a_scheme_of_a_third_party_is_found_by_its_entry_point(tmp_path):
    """In an interpreter of its own, from a distribution that only has metadata and a module."""
    (tmp_path / "thirdparty.py").write_text(
        "from headwater.ports import Found\nfrom headwater.model.manifest import Pin\n"
        "class Source:\n"
        "    def walk(self, uri, *, pin=True): yield Found('x', uri, 2, Pin(etag='\"1\"'))\n"
        "    def read(self, uri, pin, start=0, length=None): yield b'hi'\n"
        "    def check(self, references): return iter(())\n"
    )
    info = tmp_path / "thirdparty-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: thirdparty\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[headwater.sources]\nmine = thirdparty:Source\n")
    code = (
        "import headwater as hw, sys; repo = hw.connect(sys.argv[1], project='p')\n"
        "a = hw.Artifact('d'); a.add_reference('mine://x')\n"
        "print((repo.log_artifact(a).download(sys.argv[2]) / 'x').read_text())"
    )
    paths = os.pathsep.join([str(tmp_path), str(Path(hw.__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "r"), str(tmp_path / "t")],
        env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.stdout.strip(), done.returncode) == ("hi", 0), done.stderr


@pytest.mark.parametrize("kind", ["md5", "sha1", "sha256"])
@pytest.mark.parametrize("write", ["hex", "base64"])
def test_checksums_are_proved_however_the_service_writes_them(repo, register, tmp_path, kind, write):
    raw = hashlib.new(kind, b"bytes").digest()
    told = raw.hex() if write == "hex" else base64.b64encode(raw).decode()

    class Summed(Third):
        body = b"bytes"

        def walk(self, uri, *, pin=True):
            return iter([Found("x", uri, 5, Pin(checksum=f"{kind}:{told}"))])

        def read(self, uri, pin, start=0, length=None):
            yield self.body

    register("third", Summed)
    version = track(repo, "third://x")
    assert content(version.fetch(tmp_path / "t").path) == {"x": b"bytes"}
    repo.home.copies.prune()
    Summed.body = b"other"
    with pytest.raises(ReferenceChangedError):
        version.fetch(tmp_path / "u")


# ------------------------------------------------------------- names that cannot be
def test_objects_that_cannot_be_files_beside_each_other_are_named_with_the_way_out(repo, register, tmp_path):
    register("third", Third)
    Third.objects.update({"p/a": b"1", "p/a-b": b"2", "p/a/b": b"3"})
    artifact = hw.Artifact("data")
    with pytest.raises(InvalidInputError, match="third://p/a and third://p/a/b cannot both be files") as caught:
        artifact.add_reference("third://p")
    assert "name=" in str(caught.value)
    assert list(artifact.entries()) == []
    artifact.add_reference("third://p/a", name="a.object").add_reference("third://p/a/", name="a")
    assert content(repo.log_artifact(artifact).fetch(tmp_path / "t").path) == {"a.object": b"1", "a/b": b"3"}


@pytest.mark.parametrize("path", ["../up", "/etc/passwd", "a/../../b", "nul\x00", "a//b", "line\nfeed", "."])
def test_a_path_that_leads_out_of_the_target_is_never_recorded(repo, register, path):
    class Hostile(Third):
        def walk(self, uri, *, pin=True):
            return iter([Found(path, "third://x", 1, Pin(etag='"1"')), Found("z", "third://z", 1, Pin(etag='"1"'))])

    register("third", Hostile)
    artifact = hw.Artifact("data")
    with pytest.raises(InvalidInputError):
        artifact.add_reference("third://all")
    assert list(artifact.entries()) == []


# --------------------------------------------------------------------- secrets
SECRETS = ("hunter2", "s3cr3tSIG", "t0k3n-value")


def assert_nowhere(secret, folder, *texts):
    for text in texts:
        assert secret.encode() not in (text if isinstance(text, bytes) else text.encode())
    for path in folder.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path


def test_no_secret_of_a_url_is_in_anything_written_shown_or_raised(folder_repo, site, tmp_path, private_home):
    query = f"?X-Amz-Signature={SECRETS[1]}&access_token={SECRETS[2]}&kept=1"
    clean = page(site, b"bytes", name="a.bin").removeprefix(site.url)
    site.pages[clean + query] = Page(b"bytes", etag='"1"', user=("ann", SECRETS[0]))
    uri = f"http://ann:{SECRETS[0]}@127.0.0.1:{site.port}{clean}{query}"
    artifact = hw.Artifact("data")
    with pytest.warns(UserWarning, match="not recorded") as warned:
        artifact.add_reference(uri)
    version = folder_repo.log_artifact(artifact)
    assert only(version).uri == f"{site.url}{clean}?kept=1"
    said = [str(w.message) for w in warned] + [repr(version), repr(artifact), repr(only(version))]
    with pytest.raises(ReferenceMissingError) as caught:
        version.fetch(tmp_path / "t")
    said += [str(caught.value), repr(caught.value), json.dumps(caught.value.to_json()), str(repo_check(folder_repo))]
    for command in (["artifact", "put", "cli", uri, "--reference"], ["artifact", "put", "c2", uri + "x", "--copy"],
                    ["artifact", "show", "data"], ["artifact", "check", "data", "--json"]):  # fmt: skip
        done = CliRunner().invoke(root, [*command, "--url", str(folder_repo.home.url), "--project", "vision"])
        said += [done.stdout, done.stderr]
    pages = [e.uri for e in folder_repo.version("cli").entries()]
    for secret in SECRETS:
        assert_nowhere(secret, Path(folder_repo.home.url), pickle.dumps(version), *said, *pages)
        assert_nowhere(secret, private_home)
        assert_nowhere(secret, tmp_path / "t")


def repo_check(repo):
    return repo.check("data")


@pytest.mark.parametrize(
    "uri",
    [f"s3://b/k?X-Amz-Signature={SECRETS[1]}", f"gs://b/k?X-Goog-Signature={SECRETS[1]}",
     f"https://acc.blob.core.windows.net/c/k?sv=1&sig={SECRETS[1]}", f"other://ann:{SECRETS[1]}@host/k",
     f"abfs://c@acc.dfs.core.windows.net/k?sig={SECRETS[1]}"],
)  # fmt: skip
def test_a_signed_uri_of_a_cloud_is_refused_without_showing_its_signature(uri):
    with pytest.raises(InvalidInputError) as caught:
        hw.Artifact("data").add_reference(uri, name="k", pin=False)
    assert SECRETS[1] not in str(caught.value) + repr(caught.value) + json.dumps(caught.value.to_json())


# ------------------------------------------------------------------- the command
def test_the_command_puts_references_and_copies_and_says_how_it_ended(folder_repo, site, tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_URL", str(folder_repo.home.url))
    monkeypatch.setenv("HEADWATER_PROJECT", "vision")

    def run(*words, code=0):
        done = CliRunner().invoke(root, ["artifact", *map(str, words)])
        assert done.exit_code == code, done.output
        return done

    uris = [page(site, n.encode(), name=n, etag=f'"{n}"') for n in ("a.csv", "b.csv")]
    run("put", "pointed", *uris, "--reference", "--as", "in")
    run("put", "kept", *uris, "--copy", "--as", "in")
    for name in ("pointed", "kept"):
        run("get", name, tmp_path / name)
        assert content(tmp_path / name) == {"in/a.csv": b"a.csv", "in/b.csv": b"b.csv"}
    assert run("check", "pointed").exit_code == 0
    run("put", "x", page(site, status=404), "--reference", code=3)
    run("put", "x", page(site, status=403), "--copy", code=5)
    run("put", "x", page(site, failures=99, retry_after="999"), "--reference", code=6)
    run("put", "x", uris[0], code=2)
    site.pages[uris[0].removeprefix(site.url)].etag = '"other"'
    assert "changed" in run("check", "pointed", code=1).stdout
    run("get", "pointed", tmp_path / "cached")
    folder_repo.home.copies.prune()
    run("get", "pointed", tmp_path / "again", code=7)
    told = json.loads(run("get", "pointed", tmp_path / "again", "--allow-missing-references", "--json").stdout)
    assert [(s["path"], s["reason"]) for s in told["skipped"]] == [("in/a.csv", "changed")]
    assert content(tmp_path / "again") == {"in/b.csv": b"b.csv"}
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "requests", None)
        SOURCES._made.clear()
        assert "headwater[http]" in run("put", "x", uris[0], "--reference", code=4).stderr


# ------------------------------------------------------------- killed in the middle
_FETCH = """
import sys
import headwater as hw
from headwater.download import ranged
ranged.LARGE, ranged.PART = 1 << 20, 256 << 10
hw.connect(sys.argv[1], project="vision").version("data").fetch(sys.argv[2])
"""


def test_a_process_that_is_killed_leaves_what_it_had_to_the_next(repo, site, parts, tmp_path):
    body = os.urandom(4 << 20)
    version = track(repo, page(site, body, etag='"1"', delay=0.01))
    served = site.pages[only(version).uri.removeprefix(site.url)]
    child = subprocess.Popen(
        [sys.executable, "-c", _FETCH, str(repo.home.url), str(tmp_path / "t")],
        env={**os.environ, "PYTHONPATH": str(Path(hw.__file__).parents[1])},
    )
    deadline = time.monotonic() + 30
    while not any(b"+" in p.read_bytes() for p in (repo.home.folder / "unfinished").glob("*.done")):
        assert time.monotonic() < deadline and child.poll() is None
        time.sleep(0.005)
    child.kill()
    child.wait(10)
    assert "file.bin" not in content(tmp_path / "t")
    came = sum(p.read_bytes().count(b"+") for p in (repo.home.folder / "unfinished").glob("*.done"))
    served.delay = 0
    site.requests.clear()
    version.fetch(tmp_path / "t")
    assert content(tmp_path / "t") == {"file.bin": body}
    assert len(set(ranges(site))) == 16 - came < 16, "one that the dead had sent may be told of late"
