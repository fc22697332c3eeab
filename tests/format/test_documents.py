"""Handles, errors, events and locks lie in XComs, result stores and logs for years: their written forms are golden.

`documents.json` may be added to; what stands in it is never changed.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import pickle
from pathlib import Path

import msgspec
import pytest

import headwater as hw
from headwater.cli.shapes import event_json
from headwater.errors import from_json
from headwater.lookup import lock_of
from headwater.model.records import Event

GOLDEN = json.loads((Path(__file__).parent / "golden" / "documents.json").read_text(encoding="utf-8"))


def test_a_handle_of_any_release_is_read_and_written_as_it_was():
    handle = hw.Version.from_json(GOLDEN["handle"])
    assert handle.to_json() == handle.serialize() == GOLDEN["handle"]
    assert hw.Version.deserialize(GOLDEN["handle"], 1) == handle
    assert (handle.id, handle.digest, str(handle)) == tuple(GOLDEN["handle"][k] for k in ("id", "digest", "name"))


def test_a_handle_pickled_by_any_release_is_read():
    handle = pickle.loads(base64.b64decode(GOLDEN["pickled handle"]))  # written by us
    assert handle == hw.Version.from_json(GOLDEN["handle"])


def test_a_new_handle_has_the_form_of_the_golden_one(repo):
    version = repo.log_artifact(hw.Artifact("cnn").add_bytes(b"x", "a.txt"))
    written = version.to_json()
    assert {key: type(value) for key, value in written.items()} == {k: type(v) for k, v in GOLDEN["handle"].items()}
    assert written["headwater"] == GOLDEN["handle"]["headwater"]
    assert written["digest"] == GOLDEN["digest of cnn"]


@pytest.mark.parametrize("document", GOLDEN["errors"], ids=[e["code"] for e in GOLDEN["errors"]])
def test_an_error_written_by_any_release_is_the_same_class_and_says_the_same(document):
    error = from_json(document)
    assert type(error).code == document["code"]
    assert error.to_json() == document


def test_every_class_of_errors_has_its_golden_document():
    def codes(cls):
        return {cls.code}.union(*(codes(child) for child in cls.__subclasses__() if child.__module__ == cls.__module__))

    assert codes(hw.HeadwaterError) == {document["code"] for document in GOLDEN["errors"]}


def test_an_event_is_written_as_it_was():
    event = Event(
        cursor=7, at=dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC), kind="alias.set", project="vision", artifact="cnn",
        partition="", version_id="01M83BG5E9PG9PX75H7381N3GP", number=3, run_id=None, actor="ann@lab",
        details={"alias": "prod", "old": None, "new": "v3"},
    )  # fmt: skip
    assert json.loads(json.dumps(event_json(event))) == GOLDEN["event"]
    assert msgspec.json.decode(msgspec.json.encode(event), type=Event) == event


def test_a_lock_of_any_release_is_read_and_written_in_its_form(folder_repo, tmp_path):
    source = folder_repo.log_artifact(hw.Artifact("mnist").add_bytes(b"x", "a.txt"))
    with folder_repo.start_run("train") as run:
        run.use_artifact("mnist")
    written = lock_of(folder_repo.home, run.id)
    assert written.keys() == GOLDEN["lock"].keys()
    assert written["names"].keys() == GOLDEN["lock"]["names"].keys()
    (pin,) = GOLDEN["lock"]["names"].values()
    assert written["names"]["vision/mnist:latest"].keys() == pin.keys()
    old = {**GOLDEN["lock"], "repository": folder_repo.id, "names": {"vision/mnist:latest": {**pin, "id": source.id}}}
    (tmp_path / "headwater.lock").write_text(json.dumps(old))
    with hw.pinned(tmp_path / "headwater.lock"):
        assert folder_repo.version("mnist") == source
