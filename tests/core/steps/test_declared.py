"""What a step declares: Use, Log, and the forms of log=."""

from __future__ import annotations

import pickle

import pytest

import headwater as hw
from headwater.steps.declared import read_outputs


def test_a_use_is_frozen_and_equal_by_content_and_pickles() -> None:
    use = hw.Use("vision/mnist:latest", role="train", fresh=True)
    assert use == hw.Use("vision/mnist:latest", role="train", fresh=True)
    assert use != hw.Use("vision/mnist:latest", role="test", fresh=True)
    assert hash(use) == hash(pickle.loads(pickle.dumps(use)))
    assert pickle.loads(pickle.dumps(use)) == use
    assert repr(use) == "Use('vision/mnist:latest', role='train', fresh=True)"
    with pytest.raises(AttributeError, match="frozen"):
        use.name = "other"


def test_a_subclass_of_use_survives_pickling() -> None:
    assert type(pickle.loads(pickle.dumps(Accent("a:prod")))) is Accent
    assert Accent("a:prod") != hw.Use("a:prod")


class Accent(hw.Use):
    __slots__ = ()


@pytest.mark.parametrize("name", ["", "a/b/c", "mnist:v01", "mnist@sha256:00", 3, None])
def test_a_use_of_something_that_is_no_name_is_refused_at_once(name: object) -> None:
    with pytest.raises(hw.InvalidInputError):
        hw.Use(name)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["cnn:prod", "cnn:v3", "cnn:latest", "cnn@blake3:" + "0" * 64, "headwater://p/a/path"])
def test_results_cannot_be_logged_under_a_name_that_says_which_version(name: str) -> None:
    with pytest.raises(hw.InvalidInputError, match="which version"):
        hw.Log(name)


def test_a_log_checks_its_words() -> None:
    with pytest.raises(hw.InvalidInputError, match="alias"):
        hw.Log("cnn", aliases=["v3"])
    with pytest.raises(hw.InvalidInputError, match="list of texts"):
        hw.Log("cnn", aliases="prod")
    with pytest.raises(hw.InvalidInputError, match="tag"):
        hw.Log("cnn", tags=["a/b"])
    log = hw.Log("vision/events[2024-01-01]", aliases=["prod"], tags=["gold"], metadata={"a": 1})
    assert log.aliases == ("prod",)
    assert pickle.loads(pickle.dumps(log)) == log
    assert hash(log) == hash(pickle.loads(pickle.dumps(log)))


def test_the_forms_of_log_are_read() -> None:
    assert read_outputs(None).shape == "nothing"
    assert read_outputs("a").logs == (hw.Log("a"),)
    assert [log.name for log in read_outputs(("a", hw.Log("b"))).logs] == ["a", "b"]
    mapping = read_outputs({"train": "a", "test": hw.Log("b", role="holdout")})
    assert mapping.keys == ("train", "test")
    assert [log.role for log in mapping.logs] == ["train", "holdout"]


@pytest.mark.parametrize("log", [(), {}, 3, ("a", 3), {"a": None}, ("a", "a"), {"x": "a", "y": "a"}, b"a"])
def test_what_declares_nothing_that_can_be_logged_is_refused(log: object) -> None:
    with pytest.raises(hw.InvalidInputError):
        read_outputs(log)  # type: ignore[arg-type]


def test_results_of_another_shape_are_refused_before_anything_is_logged() -> None:
    pair, mapping = read_outputs(("a", "b")), read_outputs({"x": "a", "y": "b"})
    assert pair.split((1, 2), "f") == [1, 2]
    assert mapping.split({"y": 2, "x": 1}, "f") == [1, 2]
    assert mapping.join(["one", "two"]) == {"x": "one", "y": "two"}
    for wrong in ((1,), (1, 2, 3), "ab", None, {"a": 1, "b": 2}):
        with pytest.raises(hw.InvalidInputError, match="declares 2 results"):
            pair.split(wrong, "f")
    for wrong in ({"x": 1}, {"x": 1, "y": 2, "z": 3}, (1, 2), None):
        with pytest.raises(hw.InvalidInputError, match="declares the results"):
            mapping.split(wrong, "f")
