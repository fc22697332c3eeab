"""Every error pickles, travels as JSON, has a code of its own and says one line."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import errors
from headwater.errors import HeadwaterError, StorageError, from_json

FACTS = {"what": "the disk is full", "where": "/data/x", "fix": "make room", "name": "p/a:v1", "id": "r1",
         "path": "a/b", "uri": "s3://b/k", "digest": "blake3:00", "expected": "x", "actual": "y", "pinned": "1",
         "found": "2", "close": ["a/c"]}  # fmt: skip
EXIT_CODES = {
    errors.InvalidInputError: 2, errors.NotFoundError: 3, errors.ConflictError: 4, errors.StateError: 4,
    errors.AccessError: 5, errors.StorageError: 6, errors.IntegrityError: 7,
}  # fmt: skip
BUILTINS = {errors.InvalidInputError: ValueError, errors.NotFoundError: LookupError,
            errors.AccessError: PermissionError, errors.StorageError: OSError}  # fmt: skip


def family(cls: type[HeadwaterError] = HeadwaterError) -> list[type[HeadwaterError]]:
    return [cls, *(found for child in cls.__subclasses__() for found in family(child))]


every_error = pytest.mark.parametrize("cls", family(), ids=lambda cls: cls.__name__)


@every_error
def test_an_error_pickles_and_copies_with_its_facts(cls: type[HeadwaterError]) -> None:
    error = cls(**FACTS)
    for again in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error), copy.copy(error)):
        assert type(again) is cls
        assert again.facts == FACTS
        assert str(again) == str(error)


@every_error
def test_an_error_travels_as_json(cls: type[HeadwaterError]) -> None:
    error = cls(**FACTS)
    again = from_json(json.loads(json.dumps(error.to_json())))
    assert type(again) is cls
    assert again.facts == error.facts
    assert str(again) == str(error)


@every_error
def test_an_error_says_one_line_with_or_without_facts(cls: type[HeadwaterError]) -> None:
    for facts in ({}, FACTS, {"what": "a\nb", "where": "c\r\nd", "path": "e\nf"}):
        message = str(cls(**facts))
        assert message
        assert len(message.splitlines()) == 1


@given(text=st.text(min_size=1))
def test_no_text_makes_an_error_say_two_lines(text: str) -> None:
    assert len(str(HeadwaterError(what=text, where=text, fix=text)).splitlines()) == 1


def test_codes_are_unique_and_stable_words() -> None:
    codes = [cls.code for cls in family()]
    assert len(codes) == len(set(codes))
    assert all(code == code.lower() and code.replace("-", "").isalpha() for code in codes)


@pytest.mark.parametrize(("cls", "code"), EXIT_CODES.items())
def test_exit_codes_hold_for_the_whole_branch(cls: type[HeadwaterError], code: int) -> None:
    assert {child.exit_code for child in family(cls)} == {code}


@pytest.mark.parametrize(("cls", "builtin"), BUILTINS.items())
def test_errors_are_the_builtin_kind_a_reader_expects(cls: type[HeadwaterError], builtin: type[Exception]) -> None:
    with pytest.raises(builtin, match="full"):
        raise cls(what="full")


def test_an_unknown_code_is_still_an_error_of_ours() -> None:
    error = from_json({"code": "from-the-future", "message": "no room on Mars", "facts": {}})
    assert type(error) is HeadwaterError
    assert "no room on Mars" in str(error)
    told = from_json({"code": "new", "message": "a (at b): c", "facts": {"where": "b", "fix": "c", "name": "p/a"}})
    assert (str(told), told.facts["name"]) == ("a (at b): c", "p/a")


def test_only_an_outside_failure_that_says_so_is_worth_a_retry() -> None:
    assert StorageError(what="503", retryable=True).retryable
    assert not StorageError(what="disk full").retryable


def test_the_tree_in_the_docstring_is_the_tree_in_the_code() -> None:
    drawn = {word for line in (errors.__doc__ or "").splitlines() for word in line.split() if word.endswith("Error")}
    assert {cls.__name__ for cls in family() if cls.__module__ == errors.__name__} <= drawn
