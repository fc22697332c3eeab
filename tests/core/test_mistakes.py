"""What users get wrong, and what they are told: ours, one line, with a next step; and nothing done by half."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import headwater as hw


def filled(name="cnn", data=b"one", **options):
    return hw.Artifact(name, **options).add_bytes(data, "a.txt")


@pytest.fixture
def run(repo):
    with repo.start_run("train") as run:
        run.log_artifact(filled(), aliases=["prod"])
        yield run


MISTAKES = {
    "one alias for a list": lambda repo, run: run.log_artifact(filled(), aliases="candidate"),
    "one tag for a list": lambda repo, run: repo.log_artifact(filled(), tags="gold"),
    "one condition for a list": lambda repo, run: repo.runs(where="state=finished"),
    "one input for a list": lambda repo, run: run.log_artifact(filled(), derived_from="cnn"),
    "a number for a name": lambda repo, run: run.use_artifact(3),
    "a number for a version": lambda repo, run: repo.set_alias("cnn:prod", to=0),
    "a number for a time": lambda repo, run: repo.version("cnn", at=3),
    "a list for metadata": lambda repo, run: hw.Artifact("cnn", metadata=[1]),
    "a run without a name": lambda repo, run: repo.start_run(""),
    "a run called None": lambda repo, run: repo.start_run(None),
    "a project that is none": lambda repo, run: repo.start_run("x", project="a/b"),
    "an alias like a draft": lambda repo, run: repo.set_alias("cnn:draft.1", to="v0"),
    "two partitions": lambda repo, run: run.log_artifact(filled("cnn[a]", partition="b")),
    "a partition that is a number": lambda repo, run: filled(partition=3),
    "latest rolled back": lambda repo, run: repo.rollback_alias("cnn"),
    "pinned to a number": lambda repo, run: hw.pinned(3).__enter__(),
    "pinned to a version": lambda repo, run: hw.pinned(repo.version("cnn")).__enter__(),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_wrong_argument_is_refused_in_one_line_and_changes_nothing(repo, run, mistake):
    before = [(e.kind, e.details) for e in repo.events(after=0)]
    with pytest.raises(hw.InvalidInputError) as refused:
        mistake(repo, run)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 250
    assert [(e.kind, e.details) for e in repo.events(after=0)] == before


def test_aliases_set_to_one_text_are_refused_by_save(repo, run):
    version = repo.version("cnn")
    version.aliases = "prod"
    with pytest.raises(hw.InvalidInputError, match=r"write aliases=\['prod'\]"):
        version.save()


def test_inputs_may_be_given_by_name(repo, run):
    source = repo.log_artifact(filled("raw"))
    made = run.log_artifact(filled("clean", b"2"), derived_from=["raw:v0"])
    assert source in made.upstream()
    with pytest.raises(hw.ArtifactNotFoundError, match="nope"):
        run.log_artifact(filled("clean", b"3"), derived_from=["nope"])


def test_a_forgotten_partition_is_answered_with_one(repo, run):
    repo.log_artifact(filled("events", partition="2024-01-01"))
    with pytest.raises(hw.VersionNotFoundError, match=r"vision/events\[2024-01-01\]:latest"):
        repo.version("events")


def test_a_day_is_a_time(repo, run):
    assert repo.version("cnn", at=dt.date(2100, 1, 1)) == repo.version("cnn", at="2100-01-01") == repo.version("cnn")


def test_a_handle_that_does_not_know_yet_of_the_deletion_cannot_be_used(repo, run):
    stale = repo.log_artifact(filled("old"))
    repo.version_by_id(stale.id).delete()
    with pytest.raises(hw.StateError, match="deleted"):
        run.use_artifact(stale)
    draft = run.log_artifact(filled("half"), publish=False)
    draft.discard()
    assert draft.state == "discarded"
    with pytest.raises(hw.StateError, match="discarded"):
        run.use_artifact(draft)
    assert run.used_artifacts() == []


def test_a_value_is_not_logged_without_a_run(repo):
    with pytest.raises(hw.InvalidInputError, match=r"of type dict: .*run\.log_artifact"):
        repo.log_artifact({"a": 1})


def test_a_fact_that_was_sent_and_is_deleted_becomes_null(repo):
    with repo.start_run("train", config={"lr": 0.1}) as run:
        run.summary.update(acc=0.5, steps=3, never=1)
        del run.summary["never"]
        run.flush()
        del run.summary["acc"]
        run.config.clear()
    assert (repo.run(run.id).summary, repo.run(run.id).config) == ({"acc": None, "steps": 3}, {"lr": None})
    assert run.summary.take_changed() == {}


def test_facts_changed_in_place_are_sent_too(repo):
    with repo.start_run("train", config={"layers": [1]}) as run:
        run.config["layers"].append(2)
        run.summary |= {"acc": 0.5}
        run.summary.setdefault("epochs", []).append({"loss": 1})
        run.summary["epochs"].append({"loss": 0.5})
    found = repo.run(run.id)
    assert found.config == {"layers": [1, 2]}
    assert found.summary == {"acc": 0.5, "epochs": [{"loss": 1}, {"loss": 0.5}]}


def test_a_lock_of_another_repository_is_refused(repo, run, tmp_path):
    run.use_artifact("cnn")
    other = hw.connect(tmp_path / "other", project="vision")
    other.log_artifact(filled())
    with hw.pinned(run), pytest.raises(hw.StateError, match=repo.id):
        other.version("cnn")


def test_a_warning_names_the_line_of_the_user(repo, run):
    stray = repo.log_artifact(filled("stray"))
    with pytest.warns(UserWarning, match="without having used it") as warned:
        stray.download()
        stray.load()
    assert [w.filename for w in warned] == [__file__]


def test_a_misspelt_way_with_references_is_refused(repo, run, tmp_path):
    with pytest.raises(hw.InvalidInputError, match="in-place"):
        repo.version("cnn").fetch(tmp_path / "out", references="inplace")
    assert not (tmp_path / "out").exists()


def test_what_headwater_keeps_is_not_pointed_at_from_outside(repo, run):
    version = repo.version("cnn")
    with pytest.raises(hw.InvalidInputError, match=r"version\.entry"):
        hw.Artifact("copy").add_reference("headwater://vision/cnn:v0/a.txt", name="x")
    copy = repo.log_artifact(hw.Artifact("copy").add_reference(version.entry("a.txt"), "x"))
    assert copy.entry("x").digest == version.entry("a.txt").digest


def test_a_misspelt_argument_of_a_step_names_the_step():
    @hw.step
    def train(lr: float = 0.1) -> float:
        return lr

    with pytest.raises(TypeError, match=r"train\(\) got an unexpected keyword argument 'lrr'"):
        train(lrr=1)


def test_the_model_of_the_best_run_is_one_call(repo):
    for lr, acc in ((0.1, 0.5), (0.2, 0.9), (0.3, float("nan")), (0.4, None)):
        with repo.start_run("sweep", config={"lr": lr}) as run:
            run.log_artifact(filled("cnn", str(lr).encode(), type="model"))
            run.summary["acc"] = acc
    made_by_hand = repo.log_artifact(filled("cnn", b"hand"))
    (best,) = repo.versions(type="model", order="-summary.acc", limit=1)
    assert best.logged_by().config["lr"] == 0.2
    found = repo.versions("cnn", where=["summary.acc>=0.5", "config.lr<0.15", "created>2020-01-01"])
    assert [v.number for v in found] == [0]
    assert made_by_hand in repo.versions("cnn", where=["config.lr!=0.1"])
    assert made_by_hand in repo.versions(where=["config.lr!=0.1"])


def test_events_read_for_nobody_cannot_be_acknowledged(repo, run):
    with pytest.raises(hw.StateError, match="consumer"):
        repo.events(after=0).ack()


def test_the_command_is_also_a_module(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "headwater", "artifact", "ls", "--json"],
        capture_output=True, text=True, check=True, cwd=tmp_path, timeout=60,
        env={**os.environ, "PYTHONPATH": str(Path(hw.__file__).parents[1])},
    )  # fmt: skip
    assert json.loads(done.stdout)["artifacts"] == []
