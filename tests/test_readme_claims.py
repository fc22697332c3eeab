"""Every cell of the README's table that speaks of Headwater, tried."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from blake3 import blake3

import headwater as hw
from headwater.demo.ledger import Ledger, Sent

MIB = 1 << 20


@pytest.fixture
def repo(tmp_path: Path) -> hw.Repository:
    return hw.connect(tmp_path / "repository", project="readme")


def log(repo: hw.Repository, name: str, **files: bytes) -> hw.Version:
    artifact = hw.Artifact(name)
    for path, content in files.items():
        artifact.add_bytes(content, name=path)
    return repo.log_artifact(artifact)


def kinds(repo: hw.Repository, known: set[str]) -> list[str]:
    packs = repo.home.catalog.packs
    new = [pack for pack, key, _, _ in packs.packs() if key not in known]
    return [row.kind for pack in new for row in packs.rows(pack)]


def test_a_file_is_named_by_the_blake3_of_all_its_bytes_whatever_it_is_cut_into(repo: hw.Repository) -> None:
    for size in (0, 1, MIB - 1, 5 * MIB):
        content = random.Random(size).randbytes(size)
        version = log(repo, f"file{size}", content=content)
        assert str(version.entry("content").digest) == f"blake3:{blake3(content).hexdigest()}"


def test_stored_once_is_a_chunk_so_an_insertion_sends_only_its_surroundings(repo: hw.Repository) -> None:
    ledger, content = Ledger(repo), random.Random(1).randbytes(24 * MIB)
    log(repo, "weights", bin=content)
    assert ledger.sent().file_bytes >= 24 * MIB
    log(repo, "weights", bin=content[: 5 * MIB] + b"hello" + content[5 * MIB :])
    assert ledger.sent().file_bytes < 2 * MIB


def test_many_small_files_lie_in_a_few_objects(repo: hw.Repository) -> None:
    ledger = Ledger(repo)
    log(repo, "pictures", **{f"{n:04}.png": random.Random(n).randbytes(500) for n in range(2000)})
    sent = ledger.sent()
    assert sent.files == 2000
    assert sent.puts <= 2


def test_changing_one_file_of_many_writes_one_page_of_the_manifest(repo: hw.Repository) -> None:
    version = log(repo, "rows", **{f"{n:06}.txt": b"%d" % (n % 100) for n in range(30_000)})
    assert len(version.root.pages) > 3
    known = {info.key for info in repo.home.objects.list()}
    draft = version.new_draft()
    draft.add_bytes(b"changed", name="015000.txt", overwrite=True)
    changed = repo.log_artifact(draft)
    assert sorted(kinds(repo, known)) == ["data", "page", "root"]
    assert [new.path for _, new in version.diff(changed).changed] == ["015000.txt"]


def test_lineage_is_transitive_in_one_question(repo: hw.Repository) -> None:
    source = log(repo, "layer0", data=b"0")
    for depth in range(1, 6):
        with repo.start_run(f"step{depth}") as run:
            run.use_artifact(f"layer{depth - 1}")
            last = run.log_artifact(hw.Artifact(f"layer{depth}").add_bytes(b"%d" % depth, name="data"))
    upstream = last.upstream()
    assert source in upstream
    assert sorted(run.name for run in upstream.runs.values()) == [f"step{depth}" for depth in range(1, 6)]
    assert last in source.downstream()


def test_data_that_stays_elsewhere_is_missing_changed_or_unverified_and_says_which(
    repo: hw.Repository, tmp_path: Path
) -> None:
    kept, lost = tmp_path / "kept.csv", tmp_path / "lost.csv"
    kept.write_text("1")
    lost.write_text("2")
    artifact = hw.Artifact("outside")
    for path in (kept, lost):
        artifact.add_reference(path.as_uri(), name=path.name)
    artifact.add_reference("warehouse://table/7", name="table")
    version = repo.log_artifact(artifact)
    strengths = {entry.path: entry.pin.strength for entry in version.entries()}
    assert strengths == {"kept.csv": "checksum", "lost.csv": "checksum", "table": "unverified"}
    kept.write_text("3")
    lost.unlink()
    with pytest.raises(hw.ReferenceChangedError):
        version.fetch(tmp_path / "a", prefix="kept.csv")
    with pytest.raises(hw.ReferenceMissingError):
        version.fetch(tmp_path / "b", prefix="lost.csv")


def test_running_again_with_nothing_changed_makes_no_version_and_stores_no_byte(repo: hw.Repository) -> None:
    ledger = Ledger(repo)
    first = log(repo, "same", data=b"x" * 1000)
    ledger.sent()
    assert log(repo, "same", data=b"x" * 1000) == first
    assert ledger.sent() == Sent(0, 0, 0, 0)
