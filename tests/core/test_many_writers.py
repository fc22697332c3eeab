"""32 processes that log at once: dense numbers, one place per alias, shared content, every edge."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

import headwater as hw
from headwater.model.records import Query
from headwater.upkeep import verify
from headwater.upkeep.collection import collect
from tests.stateful.crowd import ahead

WRITERS, EACH = 32, 2
ROOT = Path(__file__).parents[2]

WRITER = """
import os, sys, time
import headwater as hw

url, writer, each, start = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
shared = bytes(range(256)) * 6000
with hw.connect(url, project="p") as repo:
    base = repo.version("base")
    time.sleep(max(0, start - time.time()))
    for n in range(each):
        with repo.start_run(f"w{writer}-{n}", group="all") as run:
            run.use_artifact(base)
            one = hw.Artifact("one").add_bytes(shared, "shared").add_bytes(b"%d %d" % (writer, n), "own")
            run.log_artifact(one, aliases=["newest"])
            many = hw.Artifact(f"many-{writer % 8}").add_bytes(shared, "s").add_bytes(b"%d/%d" % (writer, n), "own")
            run.log_artifact(many, aliases=[f"of-{writer}"])
"""


@pytest.mark.slow
@pytest.mark.timeout(500)
@pytest.mark.parametrize("world", ["sqlite", "postgresql"])
def test_32_processes_log_to_one_artifact_and_to_many(world, tmp_path, monkeypatch):
    if world == "sqlite":
        url = str(tmp_path / "repository")
    else:
        from tests.servers.team import new_repository

        url = new_repository(monkeypatch)
    with hw.connect(url, project="p") as repo:
        base = repo.log_artifact(hw.Artifact("base").add_bytes(b"base", "b"))
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "core")}
        start = str(time.time() + 8)
        running = [
            subprocess.Popen([sys.executable, "-c", WRITER, url, str(n), str(EACH), start], env=environment,
                             stderr=subprocess.PIPE, text=True)
            for n in range(WRITERS)
        ]  # fmt: skip
        errors = [process.communicate(timeout=350)[1] for process in running]
        assert [process.returncode for process in running] == [0] * WRITERS, "".join(errors)[-3000:]
        check(repo, base)
    check_that_copies_go(url)


def check_that_copies_go(url: str) -> None:
    """Two writers that look at the same moment may both send a content; compaction leaves one copy."""
    with hw.connect(url, project="p") as repo:
        before = copies(repo)
    print(f"{len(before)} blobs, {sum(n - 1 for n in before.values())} copies from races")
    for days in (2, 4):
        later = ahead(url, 24 * days)
        collect(later.home)
        later.close()
    with hw.connect(url, project="p") as repo:
        after = copies(repo)
        assert set(after.values()) == {1}, "every blob is stored once"
        assert after.keys() <= before.keys()
        assert verify(repo.home).findings == []


def copies(repo) -> Counter[bytes]:
    """How many live packs hold each blob."""
    survey = repo.home.catalog.survey
    live = survey.live_packs()
    return Counter(name for rows in survey.index() for name, pack, _ in rows if pack in live)


def check(repo, base) -> None:
    total = WRITERS * EACH
    one = repo.artifact("one").versions()
    assert sorted(v.number for v in one) == list(range(total)), "dense and unique"
    assert [v.number for v in one if "newest" in v.aliases] == [repo.version("one:newest").number]
    for n in range(8):
        many = repo.artifact(f"many-{n}").versions()
        assert sorted(v.number for v in many) == list(range(WRITERS // 8 * EACH))
        for writer in range(n, WRITERS, 8):
            assert sum(f"of-{writer}" in v.aliases for v in many) == 1
    runs = repo.runs(group="all")
    assert {r.state for r in runs} == {"finished"} and len(runs) == total
    assert all([v.id for v in r.used_artifacts()] == [base.id] for r in runs), "no use is lost"
    assert sum(len(r.logged_artifacts()) for r in runs) == 2 * total
    assert len(base.downstream().versions) == 1 + 2 * total, "no derivation is lost"
    cursors = [event.cursor for event in repo.events(after=0, limit=10_000)]
    assert cursors == list(range(1, len(cursors) + 1))
    assert verify(repo.home).findings == []
    assert len(repo.home.catalog.versions.versions(Query(project="p"))) == 2 * total + 1
