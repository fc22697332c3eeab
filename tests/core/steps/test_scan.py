"""Handles inside ordinary values: found within bounds, replaced without touching anything else."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import Version
from headwater.steps.inspection import read_wanted
from headwater.steps.scan import MAX_DEPTH, MAX_VALUES, find_handles, replace_handles


def handle(number: int) -> Version[Any]:
    return Version.from_json(
        {
            "headwater": 1,
            "repository": "r",
            "id": f"id{number}",
            "name": f"p/a:v{number}",
            "digest": "blake3:" + "0" * 64,
        }
    )


@dataclass
class Batch:
    data: Any
    label: str = ""


class Pair(NamedTuple):
    left: Any
    right: Any


leaves = st.one_of(st.integers(), st.text(max_size=3), st.none(), st.integers(0, 5).map(handle))


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(inner, max_size=3), st.tuples(inner, inner), st.dictionaries(st.text(max_size=2), inner, max_size=3),
        inner.map(Batch), st.builds(Pair, inner, inner),
    )  # fmt: skip


values = st.recursive(leaves, nested, max_leaves=12)


def by_hand(value: Any, depth: int = MAX_DEPTH) -> list[int]:
    """The oracle: the identities of all handles, by plain recursion."""
    if isinstance(value, Version):
        return [id(value)]
    inner = (
        list(value.values()) if isinstance(value, dict)
        else list(value) if isinstance(value, list | tuple)
        else [value.data, value.label] if isinstance(value, Batch)
        else []
    )  # fmt: skip
    return [found for item in inner for found in by_hand(item, depth - 1)] if depth else []


@given(values)
def test_exactly_the_handles_within_four_levels_are_found(value: Any) -> None:
    assert sorted(map(id, find_handles(value))) == sorted(set(by_hand(value)))


@given(values)
def test_nothing_is_replaced_where_handles_are_wanted(value: Any) -> None:
    assert replace_handles(value, read_wanted(Any), lambda *_: pytest.fail("loaded")) is value


def test_sets_and_frozen_sets_are_entered_but_not_strings_types_or_foreign_objects() -> None:
    one, two = handle(1), handle(2)
    assert set(find_handles([{one}, frozenset([two])])) == {one, two}

    class Foreign:
        inside = one

        def __iter__(self) -> Any:
            pytest.fail("entered")

    assert find_handles([Foreign(), Batch, "p/a:v1"]) == []


def test_a_million_numbers_are_not_walked_and_the_limit_is_said_once() -> None:
    start = time.process_time()
    with pytest.warns(UserWarning, match="first 10000 values") as caught:
        assert find_handles(list(range(1_000_000))) == []
    assert time.process_time() - start < 0.1
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(find_handles([handle(0)] * (MAX_VALUES - 1))) == 1


def test_a_list_that_holds_itself_ends() -> None:
    knot: list[Any] = [handle(1)]
    knot.append(knot)
    assert find_handles(knot) == [knot[0]]


def load(version: Version[Any], wanted: Any) -> Any:
    return (version.id, wanted)


def test_handles_become_values_where_plain_types_are_wanted() -> None:
    one, two = handle(1), handle(2)
    assert replace_handles(one, read_wanted(int), load) == ("id1", int)
    assert replace_handles(one, read_wanted(int | None), load) == ("id1", int)
    assert replace_handles(one, read_wanted(int | str), load) == ("id1", None)
    assert replace_handles([one, 5, two], read_wanted(list[int]), load) == [("id1", int), 5, ("id2", int)]
    assert replace_handles((one, two), read_wanted(tuple[int, str]), load) == (("id1", int), ("id2", str))
    assert replace_handles({"a": one}, read_wanted(dict[str, int]), load) == {"a": ("id1", int)}
    assert replace_handles([[one]], read_wanted(list[list[int]]), load) == [[("id1", int)]]


@pytest.mark.parametrize("annotation", [Version, Version[int], Version[int] | None, list[Version[int]], Any, object,
                                        "Version[Later]", "hw.Version", dict[str, list[Version[Any]]]])  # fmt: skip
def test_handles_stay_where_handles_are_wanted(annotation: Any) -> None:
    value = [handle(1)]
    assert replace_handles(value, read_wanted(annotation), load) is value
    assert replace_handles(value[0], read_wanted(annotation), load) is value[0]


def test_a_container_without_handles_comes_back_as_the_same_object() -> None:
    for value in ([1, 2], (1, 2), {"a": 1}, Pair(1, 2)):
        assert replace_handles(value, read_wanted(list[int]), load) is value
    assert replace_handles(Pair(handle(1), 2), read_wanted(tuple[int, int]), load) == Pair(("id1", int), 2)
