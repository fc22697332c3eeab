"""`repo.check`: every outcome stands apart, and only what promised nothing is forgiven."""

from __future__ import annotations

import json

import pytest

import headwater as hw


@pytest.fixture
def tracked(repo, tmp_path):
    folder = tmp_path / "share"
    (folder / "sub").mkdir(parents=True)
    for name in ("a", "b", "sub/c"):
        (folder / name).write_text(name)
    artifact = hw.Artifact("tracked")
    artifact.add_reference(folder.as_uri(), name="data")
    artifact.add_bytes(b"ours", "kept")
    return repo.log_artifact(artifact), folder


def test_what_is_as_recorded_is_ok(repo, tracked):
    version, _ = tracked
    report = repo.check("tracked")
    assert report
    assert (report.version, report.n_references, report.counts, report.drifts) == (str(version), 3, {"same": 3}, ())


def test_changed_and_missing_are_told_apart_and_named(repo, tracked):
    version, folder = tracked
    (folder / "a").write_text("other")
    (folder / "sub" / "c").unlink()
    report = repo.check(version)
    assert not report
    assert [(d.path, d.outcome) for d in report.drifts] == [("data/a", "changed"), ("data/sub/c", "missing")]
    assert report.counts == {"changed": 1, "missing": 1, "same": 1}


def test_only_what_is_below_a_prefix_is_asked(repo, tracked):
    version, folder = tracked
    (folder / "a").write_text("other")
    assert repo.check(version, prefix="data/sub").ok
    assert repo.check(version, prefix="data/sub").n_references == 1


def test_what_promised_nothing_is_unverified_and_no_failure(repo):
    artifact = hw.Artifact("opaque")
    artifact.add_reference("dvc://somewhere/else", name="there")
    report = repo.check(repo.log_artifact(artifact))
    assert report.ok
    assert report.counts == {"unverified": 1}


def test_progress_counts_the_references(repo, tracked):
    version, _ = tracked
    told = []
    repo.check(version, progress=lambda stage, done, total: told.append((stage, done, total)))
    assert told[-1] == ("check", 3, None)


def test_the_command_says_it_in_words_and_json(folder_repo, tmp_path, monkeypatch):
    from click.testing import CliRunner

    from headwater.cli.root import headwater as root

    monkeypatch.setenv("HEADWATER_URL", folder_repo.home.url)
    monkeypatch.setenv("HEADWATER_PROJECT", "vision")
    share = tmp_path / "share"
    share.mkdir()
    (share / "a").write_text("a")
    artifact = hw.Artifact("tracked")
    artifact.add_reference(share.as_uri(), name="data")
    folder_repo.log_artifact(artifact)
    run = CliRunner().invoke
    assert run(root, ["artifact", "check", "tracked"]).exit_code == 0
    (share / "a").write_text("b")
    told = run(root, ["artifact", "check", "tracked"])
    assert (told.exit_code, "changed" in told.stdout) == (1, True)
    body = json.loads(run(root, ["artifact", "check", "tracked", "--json"]).stdout)
    assert body["drifts"][0]["outcome"] == "changed"
