"""The quota of shared trees is kept without being asked, and takes nothing that was just used."""

from __future__ import annotations

import os
import time

import pytest

import headwater as hw
from headwater.download.pruning import TREES, folder_bytes, prune_trees


@pytest.fixture
def versions(folder_repo, monkeypatch):
    monkeypatch.setenv("HEADWATER_CACHE_QUOTA", "700k")
    return [folder_repo.log_artifact(hw.Artifact("a").add_bytes(os.urandom(150_000), "f")) for _ in range(4)]


def age(tree, seconds: float) -> None:
    then = time.time() - seconds
    for path in (tree, tree.with_name(tree.name + ".stats")):
        os.utime(path, (then, then))


def test_making_a_tree_removes_those_unused_for_longest_beyond_the_quota(folder_repo, versions):
    trees = [version.download() for version in versions[:2]]
    age(trees[0], 9000)
    age(trees[1], 8000)
    third = versions[2].download()
    assert not trees[0].exists() and trees[1].exists() and third.exists()
    versions[3].download()
    assert not trees[1].exists()
    assert folder_bytes(folder_repo.home.folder / TREES) < 350_000
    assert versions[0].download().joinpath("f").stat().st_size == 150_000, "it comes again when it is asked for"


def test_a_tree_used_within_the_hour_stays_though_the_quota_is_passed(versions):
    trees = [version.download() for version in versions]
    assert all(tree.exists() for tree in trees)
    age(trees[0], 9000)
    versions[0].download()
    age(trees[1], 9000)
    assert trees[0].exists()


def test_using_a_tree_again_makes_it_young(versions, folder_repo):
    old = versions[0].download()
    age(old, 9000)
    assert versions[0].download() == old
    versions[1].download()
    versions[2].download()
    assert old.exists()


def test_what_is_beside_a_tree_goes_with_it(versions, folder_repo):
    versions[0].download()
    assert prune_trees(folder_repo.home, 0) >= 150_000
    left = [p.name for p in (folder_repo.home.folder / TREES).iterdir() if p.suffix in (".bytes", ".stats")]
    assert left == []
