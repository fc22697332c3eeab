"""Runs: their life, their two verbs, and the lineage that follows."""

from __future__ import annotations

import json
import pickle
import warnings

import pytest

import headwater as hw
from headwater.run import current


def filled(name="mnist", data=b"one", **options):
    artifact = hw.Artifact(name, **options)
    artifact.add_bytes(data, "a.txt")
    return artifact


def test_a_run_uses_and_logs_and_finishes(repo):
    source = repo.log_artifact(filled())
    with repo.start_run("train", config={"lr": 0.1}) as run:
        assert current.get() is run
        data = run.use_artifact("mnist:latest", role="train")
        model = run.log_artifact(filled("cnn", b"weights", type="model"), aliases=["candidate"], role="model")
        run.summary["val_acc"] = 0.93
    assert current.get() is None
    assert data == source
    found = repo.run(run.id)
    assert (found.state, found.config, found.summary) == ("finished", {"lr": 0.1}, {"val_acc": 0.93})
    assert [(e.version.artifact, e.role, e.asked) for e in found.uses()] == [("mnist", "train", "mnist:latest")]
    assert [(e.version.artifact, e.role, e.kind) for e in found.logs()] == [("cnn", "model", "created")]
    assert model.logged_by() == run
    assert [r.id for r in source.used_by()] == [run.id]


def test_lineage_is_transitive_and_draws_itself(repo):
    raw = repo.log_artifact(filled("raw"))
    with repo.start_run("clean") as clean:
        clean.use_artifact("raw")
        table = clean.log_artifact(filled("table", b"2"))
    with repo.start_run("train") as train:
        train.use_artifact(table)
        model = train.log_artifact(filled("cnn", b"3", type="model"))
    up = model.upstream()
    assert set(up.versions) == {raw.id, table.id, model.id}
    assert set(up.runs) == {clean.id, train.id}
    assert (len(up), raw in up, "unknown" in up) == (3, True, False)
    assert pickle.loads(pickle.dumps(up)).to_json() == up.to_json()
    assert set(raw.downstream().versions) == {raw.id, table.id, model.id}
    assert set(model.upstream(depth=1).versions) == {table.id, model.id}
    assert up.to_dot().startswith("digraph")
    assert "cnn:v0" in up.to_mermaid()
    assert json.loads(json.dumps(up.to_json()))["roots"] == [model.id]
    [tree] = up.tree()
    assert tree.steps[0].branches[0].steps[0].branches[0].version.artifact == "raw"


def test_derived_from_says_which_inputs_an_output_has(repo):
    a, b = repo.log_artifact(filled("a", b"a")), repo.log_artifact(filled("b", b"b"))
    with repo.start_run("split") as run:
        run.use_artifact("a")
        run.use_artifact("b")
        only_a = run.log_artifact(filled("from-a", b"x"), derived_from=[a])
        both = run.log_artifact(filled("from-both", b"y"))
    assert set(only_a.upstream().versions) == {a.id, only_a.id}
    assert set(both.upstream().versions) == {a.id, b.id, both.id}


def test_equal_content_from_a_second_run_is_reproduced_and_not_followed_unless_asked(repo):
    repo.log_artifact(filled("a", b"a"))
    repo.log_artifact(filled("b", b"b"))
    for name, used in (("first", "a"), ("second", "b")):
        with repo.start_run(name) as run:
            run.use_artifact(used)
            made = run.log_artifact(filled("out", b"same"))
    assert [(e.kind) for e in run.logs()] == ["reproduced"]
    assert {v.artifact for v in made.upstream().versions.values()} == {"a", "out"}
    assert {v.artifact for v in made.upstream(all_edges=True).versions.values()} == {"a", "b", "out"}
    assert made.logged_by().name == "first"
    assert {r.name for r in made.logged_by(all=True)} == {"first", "second"}


def test_a_failing_run_keeps_its_uses_and_its_published_versions_and_no_drafts(repo):
    repo.log_artifact(filled())
    with pytest.raises(ZeroDivisionError), repo.start_run("train") as run:
        run.use_artifact("mnist")
        run.log_artifact(filled("kept", b"k"))
        draft = run.log_artifact(filled("dropped", b"d"), publish=False)
        raise ZeroDivisionError("no")
    found = repo.run(run.id)
    assert (found.state, found.record.error) == ("failed", "ZeroDivisionError: no")
    assert len(found.uses()) == 1
    assert repo.exists("kept")
    assert repo.version_by_id(draft.id).state == "discarded"


def test_a_run_that_is_read_again_knows_what_others_have_told_it(repo):
    run = repo.start_run("train", config={"lr": 0.1})
    seen = run.log_artifact(filled()).logged_by()
    other = repo.run(run.id)
    other.summary["acc"] = 0.5
    other.finish()
    run.summary["not sent"] = 1
    for again in (run.reload(), seen.reload()):
        assert (again.state, again.summary, again.config) == ("finished", {"acc": 0.5}, {"lr": 0.1})
    run.summary["acc"] = 0.6
    run.flush()
    assert repo.run(run.id).summary == {"acc": 0.6}


def test_ctrl_c_cancels(repo):
    with pytest.raises(KeyboardInterrupt), repo.start_run("train") as run:
        raise KeyboardInterrupt
    assert repo.run(run.id).state == "cancelled"


def test_a_finished_run_takes_no_more_uses_or_logs(repo):
    repo.log_artifact(filled())
    run = repo.start_run("notebook")
    run.finish()
    run.finish()
    with pytest.raises(hw.StateError):
        run.use_artifact("mnist")
    with pytest.raises(hw.StateError):
        run.log_artifact(filled("x"))
    with pytest.raises(hw.StateError):
        run.finish("failed")


def test_runs_nest_and_children_inherit_project_and_group(repo):
    with repo.start_run("pipeline", group="flow-1", project="audio") as parent, repo.start_run("step") as child:
        assert child.parent == parent.id
        assert (child.group, child.project) == ("flow-1", "audio")


def test_inside_a_group_a_name_means_one_thing(repo):
    repo.log_artifact(filled(data=b"old"))
    with repo.start_run("first", group="g") as run:
        seen = run.use_artifact("mnist")
    repo.log_artifact(filled(data=b"new"))
    with repo.start_run("sibling", group="g") as run:
        assert run.use_artifact("mnist") == seen
        assert run.use_artifact("mnist", fresh=True).number == 1
        mine = run.log_artifact(filled(data=b"own"))
    with repo.start_run("third", group="g") as run:
        assert run.use_artifact("mnist") == mine
    with repo.start_run("other", group="h") as run:
        assert run.use_artifact("mnist").number == 2


def test_attempts_share_a_key_and_a_new_one_closes_the_dead_one(repo):
    first = repo.start_run("train", key="dag/run/task")
    lost_draft = first.log_artifact(filled("x", b"half"), publish=False)
    with repo.start_run("train", key="dag/run/task") as second:
        pass
    assert (first.attempt, second.attempt) == (1, 2)
    assert [(r.attempt, r.state) for r in second.attempts()] == [(1, "lost"), (2, "finished")]
    assert repo.version_by_id(lost_draft.id).state == "discarded"
    assert repo.run("dag/run/task").id == second.id


def test_a_retry_that_makes_the_same_again_makes_no_version_and_latest_stays(repo):
    with pytest.raises(RuntimeError), repo.start_run("make", key="k") as run:
        first = run.log_artifact(filled("out", b"1"))
        raise RuntimeError
    repo.log_artifact(filled("out", b"2"))
    with repo.start_run("make", key="k") as run:
        again = run.log_artifact(filled("out", b"1"))
    assert again == first
    assert repo.version("out").number == 1


def test_run_ids_are_derived_so_that_any_process_finds_the_run(folder_repo):
    with folder_repo.start_run("a", key="k", attempt=1) as one:
        pass
    with hw.connect(folder_repo.home.url, project="vision") as other:
        with pytest.raises(hw.StateError):
            other.start_run("a", key="k", attempt=1)
        with other.start_run("a", key="k", attempt=1, resume=True) as again:
            assert again.id == one.id


def test_a_second_executor_of_one_attempt_fences_the_first(repo, monkeypatch):
    first = repo.start_run("train", key="k", attempt=1)
    monkeypatch.setattr("headwater.run.socket.gethostname", lambda: "another-host")
    second = repo.start_run("train", key="k", attempt=1, resume=True)
    with pytest.raises(hw.StateError):
        first.log_artifact(filled("x"))
    second.log_artifact(filled("x"))
    second.finish()
    assert repo.run(first.id).state == "finished"


def test_using_an_artifact_still_to_be_made_logs_it_only_if_it_changed(repo, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x").write_text("1")
    numbers = []
    for content in ("1", "1", "2"):
        (tmp_path / "data" / "x").write_text(content)
        artifact = hw.Artifact("tracked")
        artifact.add_dir(tmp_path / "data")
        with repo.start_run("read") as run:
            numbers.append(run.use_artifact(artifact).number)
            assert len(run.uses()) == 1
            assert not run.logs()
    assert numbers == [0, 0, 1]


def test_secrets_in_config_are_masked(repo):
    config = {"password": "p", "db": "postgresql://me:secret@host/x", "nested": {"api_key": 1}, "lr": 0.1}
    with repo.start_run("train", config=config) as run:
        pass
    text = json.dumps(repo.run(run.id).config)
    assert "secret" not in text
    assert repo.run(run.id).config["password"] == "***"
    assert repo.run(run.id).config["lr"] == 0.1


def test_facts_may_be_numpy_and_nan_and_nothing_else_odd(repo):
    import numpy as np

    with repo.start_run("train") as run:
        run.summary["acc"] = np.float32(0.5)
        run.summary.update(loss=float("nan"), per_class=np.arange(3))
        with pytest.raises(hw.InvalidInputError):
            run.summary["odd"] = object()
    assert repo.run(run.id).summary == {"acc": 0.5, "loss": "NaN", "per_class": [0, 1, 2]}


def test_the_best_run_of_a_sweep_is_one_call(repo):
    for i, acc in enumerate([0.3, 0.9, float("nan"), 0.5, None]):
        with repo.start_run("train", group="sweep") as run:
            if acc is not None:
                run.summary["val_acc"] = acc
            run.log_artifact(filled("cnn", bytes([i]), type="model"))
    [best] = repo.runs(group="sweep", order="-summary.val_acc", limit=1)
    assert best.summary["val_acc"] == 0.9
    assert best.logged_artifacts()[0].number == 1
    assert [r.summary["val_acc"] for r in repo.runs(where=["summary.val_acc>=0.4"], order="summary.val_acc")] == [
        0.5,
        0.9,
    ]


def test_pinned_names_mean_what_a_run_used(repo, tmp_path):
    repo.log_artifact(filled(data=b"old"))
    with repo.start_run("train") as run:
        old = run.use_artifact("mnist:latest")
    repo.log_artifact(filled(data=b"new"))
    from headwater.lookup import lock_of

    (tmp_path / "headwater.lock").write_text(json.dumps(lock_of(repo.home, run.id)))
    for what in (run, tmp_path / "headwater.lock"):
        with hw.pinned(what), repo.start_run("again") as replay:
            assert replay.use_artifact("mnist") == old
            with pytest.raises(hw.StateError, match="pinned"):
                replay.use_artifact("other")
    assert repo.version("mnist").number == 1
    (tmp_path / "bad.lock").write_text("{}")
    with pytest.raises(hw.FormatError), hw.pinned(tmp_path / "bad.lock"):
        pass


def test_reading_a_version_inside_a_run_without_a_use_warns_once(repo):
    version = repo.log_artifact(filled())
    with repo.start_run("train"):
        with pytest.warns(UserWarning, match="without having used it"):
            version.open("a.txt").close()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            version.open("a.txt").close()
    with repo.start_run("train") as run, warnings.catch_warnings():
        warnings.simplefilter("error")
        run.use_artifact("mnist").open("a.txt").close()


def test_values_are_logged_and_loaded_again(repo):
    with repo.start_run("make") as run:
        for name, value in {"text": "héllo", "raw": b"\x00", "table": {"a": [1, 2.5, None]}}.items():
            assert run.log_artifact(value, name).load() == value
        with pytest.raises(hw.InvalidInputError):
            run.log_artifact(object(), "odd")
        with pytest.raises(hw.InvalidInputError):
            run.log_artifact({"no": "name"})


def test_what_is_logged_is_what_loads_though_another_type_has_the_same_bytes(repo, tmp_path):
    file = tmp_path / "value.txt"
    file.write_text("x")
    with repo.start_run("make") as run:
        as_path, as_text, again = (run.log_artifact(value, "a") for value in (file, "x", "x"))
    assert as_path.digest == as_text.digest
    assert (as_path.load().read_text(), as_text.load(), again.load()) == ("x", "x", "x")
    assert [v.version for v in (as_path, as_text, again)] == ["v0", "v1", "v1"]


def test_a_path_is_logged_as_its_file_or_directory_and_loads_as_a_path(repo, tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x.txt").write_text("x")
    with repo.start_run("make") as run:
        folder = run.log_artifact(tmp_path / "d", "folder").load()
        file = run.log_artifact(tmp_path / "d" / "x.txt", "file").load()
    assert (folder / "x.txt").read_text() == "x"
    assert file.read_text() == "x"


def test_a_version_logged_under_another_name_moves_no_bytes(repo):
    version = repo.log_artifact(filled(data=b"z" * 5000))
    sent_before = [size for _, _, _, size in repo.home.catalog.packs.packs("live")]
    with repo.start_run("promote") as run:
        other = run.log_artifact(version, "best")
    assert other.name == "vision/best"
    assert other.digest == version.digest
    assert [s for _, _, _, s in repo.home.catalog.packs.packs("live")] == sent_before


def test_scratch_is_the_run_s_own_and_goes_with_it(repo):
    with repo.start_run("make") as run:
        folder = run.scratch()
        (folder / "x").write_text("x")
        run.log_artifact(folder / "x", "x")
    assert not folder.exists()


def test_code_is_captured_and_its_diff_only_on_request(repo):
    with repo.start_run("make") as plain:
        pass
    code = repo.run(plain.id).record.code
    assert code["python"]
    assert "diff" not in code
    assert "arguments" not in code
    packages = json.loads(repo.home.catalog.setting(f"environment:{code['environment']}"))
    assert packages["msgspec"]
    with repo.start_run("make", capture=("code", "arguments")) as asked:
        pass
    assert repo.run(asked.id).record.code["arguments"]


def test_log_code_takes_tracked_files_only(repo, tmp_path, monkeypatch):
    import subprocess

    def git(*arguments):
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments], cwd=tmp_path, check=True,
                       capture_output=True)  # fmt: skip

    (tmp_path / "train.py").write_text("print()")
    (tmp_path / "notes.md").write_text("x")
    (tmp_path / "secret.env").write_text("x")
    git("init")
    git("add", "train.py", "notes.md")
    with repo.start_run("train") as run:
        code = run.log_code(tmp_path, exclude=lambda path: path.endswith(".md"))
    assert [e.path for e in code.entries()] == ["train.py"]
    assert code.type == "code"


def test_unknown_arguments_are_named(repo):
    with pytest.raises(hw.InvalidInputError, match="colour"):
        repo.start_run("x", colour="red")
    with repo.start_run("x") as run, pytest.raises(hw.InvalidInputError, match="colour"):
        run.log_artifact(filled(), colour="red")
