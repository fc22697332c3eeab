"""Bad days, with real processes, files and signals: each is tried, none loses anything."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import headwater as hw
from headwater.upkeep import verify
from tests.stateful.worlds import assert_promises, files_of

ROOT = Path(__file__).parents[2]
NOBODY = 65534


def artifact(name: str, files: dict[str, bytes]) -> hw.Artifact:
    made = hw.Artifact(name)
    for path, data in files.items():
        made.add_bytes(data, path)
    return made


def child(code: str, *arguments: str, **options) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'core'}{os.pathsep}{ROOT}"}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *arguments], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )  # fmt: skip


WRITER = """
    import sys, random
    import headwater as hw
    url, seed = sys.argv[1], int(sys.argv[2])
    dice = random.Random(seed)
    with hw.connect(url, project="p") as repo:
        for i in range(1000):
            a = hw.Artifact("data")
            a.add_bytes(dice.randbytes(dice.randint(10, 3_000_000)), "x.bin")
            a.add_bytes(str((seed, i)).encode(), "id")
            with repo.start_run("w", key=f"writer-{seed}-{i}") as run:
                v = run.log_artifact(a)
            print(v.number, seed, i, flush=True)
"""


@pytest.mark.slow
def test_kill_9_at_random_moments_loses_no_version_that_was_reported(tmp_path):
    url = str(tmp_path / "repository")
    hw.connect(url, project="p").close()
    dice, reported = random.Random(1), {}
    for seed in range(12):
        process = child(WRITER, url, str(seed))
        time.sleep(0.6 + dice.random() * 0.7)
        process.send_signal(signal.SIGKILL)
        out, err = process.communicate(timeout=30)
        assert "Traceback" not in err
        reported |= {int(n): f"({s}, {i})".encode() for n, s, i in (line.split() for line in out.splitlines())}
    assert len(reported) >= 12
    with hw.connect(url, project="p") as repo:
        assert not verify(repo.home).findings
        versions = {v.number: v for v in repo.artifact("data").versions()}
        assert sorted(versions) == list(range(len(versions))), "dense, never repeated"
        for number, content in reported.items():
            assert versions[number].open("id").read() == content


READER = """
    import sys
    import headwater as hw
    with hw.connect(sys.argv[1], project="p") as repo:
        print("ready", flush=True)
        repo.version("data:v0").fetch(sys.argv[2])
"""


@pytest.mark.slow
def test_kill_9_in_a_download_leaves_whole_files_and_the_next_one_completes_it(tmp_path):
    files = {f"{i:04}.bin": random.Random(i).randbytes(20_000) for i in range(1500)}
    with hw.connect(tmp_path / "repository", project="p") as repo:
        version = repo.log_artifact(artifact("data", files))
        for n in range(6):
            target = tmp_path / f"copy-{n}"
            process = child(READER, str(tmp_path / "repository"), str(target))
            assert process.stdout.readline() == "ready\n"
            time.sleep(0.02 + 0.06 * n)
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=30)
            for path in target.rglob("*.bin"):
                if path.name in files and path.parent == target:
                    assert path.read_bytes() == files[path.name], "a final name is a whole file"
            version.fetch(target)
            assert {p.relative_to(target).as_posix(): p.read_bytes() for p in target.rglob("*") if p.is_file()} == files


@pytest.mark.slow
def test_sixteen_processes_log_to_one_artifact_and_to_their_own(tmp_path):
    url = str(tmp_path / "repository")
    hw.connect(url, project="p").close()
    code = """
        import sys
        import headwater as hw
        with hw.connect(sys.argv[1], project="p") as repo:
            for i in range(4):
                with repo.start_run("w") as run:
                    for name in ("shared", f"own-{sys.argv[2]}"):
                        a = hw.Artifact(name)
                        a.add_bytes(f"{sys.argv[2]} {i}".encode(), "who")
                        a.add_bytes(b"the same for all" * 5000, "common")
                        print(name, run.log_artifact(a, aliases=["prod"]).number)
    """
    processes = [child(code, url, str(n)) for n in range(16)]
    lines = []
    for process in processes:
        out, err = process.communicate(timeout=110)
        assert process.returncode == 0, err
        lines += [line.split() for line in out.splitlines()]
    assert sorted(int(n) for name, n in lines if name == "shared") == list(range(64))
    with hw.connect(url, project="p") as repo:
        assert [v.number for v in repo.artifact("shared").versions()] == list(range(63, -1, -1))
        assert len(repo.artifacts()) == 17
        assert len(repo.versions("shared", where=["alias=prod"])) == 1
        assert not verify(repo.home).findings
        assert all(run.state == "finished" and len(run.logs()) == 2 for run in repo.runs())


@pytest.mark.linux
@pytest.mark.skipif(os.name != "posix" or not hasattr(os, "fork"), reason="fork is a POSIX word")
def test_a_forked_child_logs_and_its_parent_goes_on(folder_repo):
    folder_repo.log_artifact(artifact("before", {"x": b"1"}))
    run = folder_repo.start_run("parent")

    def work(pipe) -> None:
        try:
            with folder_repo.start_run("child") as mine:
                version = mine.log_artifact(artifact("forked", {"x": b"2" * 2_000_000}))
            pipe.send((str(version), files_of(version)["x"][:1]))
        except BaseException as error:
            pipe.send(repr(error))

    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=work, args=(theirs,))
    process.start()
    assert ours.poll(20), "the child hangs"
    assert ours.recv() == ("vision/forked:v0", b"2")
    process.join(20)
    run.log_artifact(artifact("after", {"x": b"3"}))
    run.finish()
    assert {a.name for a in folder_repo.artifacts()} == {"vision/before", "vision/forked", "vision/after"}


FULL = """
    import resource, sys
    import headwater as hw
    with hw.connect(sys.argv[1], project="p") as repo:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))
        import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        a = hw.Artifact("data")
        import os
        for i in range(10): a.add_bytes(os.urandom(900_000), str(i))
        try:
            repo.log_artifact(a)
        except hw.StorageError as error:
            print("told:", error)
"""


def test_a_full_disk_is_told_and_nothing_half_done_stays(tmp_path):
    with hw.connect(tmp_path / "repository", project="p") as repo:
        repo.log_artifact(artifact("old", {"x": b"old"}))
    process = child(FULL, str(tmp_path / "repository"))
    out, err = process.communicate(timeout=60)
    assert out.startswith("told:"), err
    with hw.connect(tmp_path / "repository", project="p") as repo:
        assert not repo.exists("data")
        assert_promises(repo, {"old": {0: {"x": b"old"}}})


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
def test_a_read_only_repository_is_read_and_refuses_writing_with_a_reason(tmp_path):
    """Root may write everywhere, so it becomes somebody else for this."""
    is_root = os.getuid() == 0
    for folder in (tmp_path, *tmp_path.parents) if is_root else ():
        if folder.stat().st_mode & 0o005 != 0o005:  # pytest's own folders, of which there are more under xdist
            folder.chmod(0o755)
    folder = tmp_path / "repository"
    with hw.connect(folder, project="p") as repo:
        repo.log_artifact(artifact("data", {"x": b"1"}))
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    code = """
        import os, sys
        os.environ["HEADWATER_CACHE"] = sys.argv[2]
        import headwater as hw
        a = hw.Artifact("warm"); a.add_bytes(b"2", "x")  # loads what the interpreter's folder may hide from nobody
        hw.connect(sys.argv[3]).log_artifact(a).open("x").read()
        if os.getuid() == 0:
            os.setuid(65534)
        try:
            repo = hw.connect(sys.argv[1], project="p")
            print(repo.version("data").open("x").read())
        except hw.HeadwaterError as error:
            print(type(error).__name__, error)
        try:
            a = hw.Artifact("data"); a.add_bytes(b"2", "x")
            repo.log_artifact(a)
        except (hw.AccessError, hw.StorageError) as error:
            print("refused:", type(error).__name__)
    """
    cache = tmp_path / "cache"
    cache.mkdir()
    if is_root:
        os.chown(cache, NOBODY, NOBODY)
    process = child(code, str(folder), str(cache), str(tmp_path / "warm"))
    out, err = process.communicate(timeout=60)
    read, refused, *_ = [*out.splitlines(), "", ""]
    assert (read, refused[:8]) == ("b'1'", "refused:"), out + err


def test_a_flipped_bit_in_a_pack_is_noticed_when_read_and_by_verify(folder_repo):
    version = folder_repo.log_artifact(artifact("data", {"x": os.urandom(100_000)}))
    [pack] = list(Path(folder_repo.home.url, "objects").rglob("*.pack"))
    pack.chmod(0o644)
    data = bytearray(pack.read_bytes())
    data[5000] ^= 4
    pack.write_bytes(data)
    with pytest.raises(hw.IntegrityError):
        version.open("x").read()
    assert any(f.kind == "damaged-blob" for f in verify(folder_repo.home).findings)


def test_a_lost_pack_is_named_and_verify_lists_it(folder_repo):
    version = folder_repo.log_artifact(artifact("data", {"x": os.urandom(100_000)}))
    [pack] = list(Path(folder_repo.home.url, "objects").rglob("*.pack"))
    pack.unlink()
    fresh = hw.connect(folder_repo.home.url, project="vision")
    with pytest.raises(hw.IntegrityError):
        fresh.version_by_id(version.id).open("x").read()
    assert "missing-pack" in {f.kind for f in verify(fresh.home).findings}


def test_a_damaged_catalog_row_is_an_error_of_ours_and_never_other_bytes(folder_repo):
    version = folder_repo.log_artifact(artifact("data", {"x": b"1" * 5000, "y": b"2" * 5000}))
    folder_repo.close()
    db = sqlite3.connect(Path(folder_repo.home.url, "catalog.sqlite"))
    (first, a), (second, b) = db.execute("SELECT name, offset_ FROM blobs ORDER BY raw DESC LIMIT 2")
    db.execute("UPDATE blobs SET offset_ = ? WHERE name = ?", (b, first))
    db.execute("UPDATE blobs SET offset_ = ? WHERE name = ?", (a, second))
    db.commit()
    db.close()
    with hw.connect(folder_repo.home.url, project="vision") as fresh:
        for path in ("x", "y"):
            with pytest.raises(hw.IntegrityError):
                fresh.version_by_id(version.id).open(path).read()


def test_a_catalog_that_is_no_database_is_an_error_of_ours(tmp_path):
    hw.connect(tmp_path / "r").close()
    (tmp_path / "r" / "catalog.sqlite").write_bytes(b"this is not a database at all" * 200)
    with pytest.raises((hw.FormatError, hw.StorageError)):
        hw.connect(tmp_path / "r").artifacts()


def test_a_store_of_a_newer_format_is_refused_clearly(tmp_path):
    hw.connect(tmp_path / "r").close()
    marker = tmp_path / "r" / "objects" / "headwater.json"
    marker.chmod(0o644)
    marker.write_text(marker.read_text().replace('"format":1', '"format":99'))
    with pytest.raises(hw.FormatError, match="upgrade"):
        hw.connect(tmp_path / "r")


def test_a_version_deleted_by_another_process_is_still_read_to_its_end(folder_repo):
    version = folder_repo.log_artifact(artifact("data", {"x": os.urandom(3_000_000)}))
    folder_repo.log_artifact(artifact("data", {"x": b"newer"}))
    with folder_repo.start_run("reader") as run:
        used = run.use_artifact("data:v0")
        with used.open("x") as file:
            head = file.read(1_000_000)
            with hw.connect(folder_repo.home.url, project="vision") as other:
                other.version("data:v0").delete()
            assert len(head + file.read()) == 3_000_000
    with pytest.raises(hw.StateError):
        hw.Version(folder_repo.home.catalog.versions.get(version.id), folder_repo.home).download()


def test_a_clock_that_jumps_back_keeps_numbers_and_order(folder_repo, monkeypatch):
    first = folder_repo.log_artifact(artifact("data", {"x": b"1"}))
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 86_400)
    monkeypatch.setattr(time, "time_ns", lambda: int((real() - 86_400) * 1e9))
    second = folder_repo.log_artifact(artifact("data", {"x": b"2"}))
    assert (first.number, second.number) == (0, 1)
    assert folder_repo.version("data") == second
    cursors = [e.cursor for e in folder_repo.events(after=0)]
    assert cursors == sorted(set(cursors))
