"""The grammar against a model in Python: the same conditions and orders, evaluated on plain values."""

from __future__ import annotations

import json
import math
from functools import cmp_to_key

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.catalog.facts import MAX_ELEMENTS, MAX_TEXT, leaves
from headwater.catalog.grammar import parse_condition, parse_order
from headwater.catalog.sql import create
from headwater.errors import InvalidInputError
from headwater.model.records import Query
from tests.contracts.catalog_world import World
from tests.postgres import cluster

WORDS = st.sampled_from(["", "a", "ab", "B", "ä", "1", "true", "a b", "%", "it's", "日本"])
NUMBERS = st.one_of(st.integers(-3, 3), st.sampled_from([0.5, -0.0, 1e300, math.inf, -math.inf, math.nan, 2**70]))
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, WORDS)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=3))
METADATA = st.dictionaries(st.sampled_from(["x", "y"]), VALUES, max_size=2)
WANTED = st.one_of(st.booleans(), st.integers(-3, 3), st.sampled_from([0.5, 1e300, 2**70]), WORDS)


def quoted(value) -> str:
    return json.dumps(value)


def kind(value) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "nan" if math.isnan(value) else "number"
    return {str: "text", type(None): "null", list: "list"}[type(value)]


def equal(a, b) -> bool:
    return kind(a) == kind(b) and kind(a) != "nan" and (float(a) == float(b) if kind(a) == "number" else a == b)


def holds(metadata, op: str, wanted) -> bool:
    """What `metadata.x OP wanted` means."""
    value = metadata.get("x")
    if op == "!=":
        return not holds(metadata, "=", wanted)
    if op == "~":
        text = wanted if isinstance(wanted, str) else quoted(wanted)
        if kind(value) == "text":
            return text in value
        members = value if kind(value) == "list" else []
        return any(
            (kind(m) == "text" and m == text) or (not isinstance(wanted, str) and equal(m, wanted)) for m in members
        )
    if op == "=":
        return equal(value, wanted)
    if kind(value) != kind(wanted):
        return False
    return {"<": value < wanted, ">": value > wanted, "<=": value <= wanted, ">=": value >= wanted}[op]


def compare(descending: bool):
    ranks = {"number": 0, "boolean": 1, "text": 2}

    def one(a, b) -> int:
        (x, n), (y, m) = a, b
        if (ranks.get(kind(x), 3), ranks.get(kind(y), 3)) != (3, 3) and ranks.get(kind(x), 3) != ranks.get(kind(y), 3):
            return ranks.get(kind(x), 3) - ranks.get(kind(y), 3)
        if ranks.get(kind(x), 3) == 3 or x == y:
            return m - n
        return (1 if x > y else -1) * (-1 if descending else 1)

    return cmp_to_key(one)


class Sample:
    """A few hundred runs... of one catalog: each example adds a group of its own."""

    def __init__(self, url: str) -> None:
        self.world = World(create(url))
        self.groups = 0

    def group(self, rows) -> str:
        self.groups += 1
        for n, metadata in enumerate(rows):
            self.world.run(f"{self.groups} {n}", config=metadata, group=f"g{self.groups}", attempt=n + 1)
        return f"g{self.groups}"

    def find(self, group: str, where=(), order="attempt") -> list[int]:
        found = self.world.catalog.runs.list(Query(group=group, where=where, order=order))
        return [run.attempt - 1 for run in found]


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def sample(request):
    sample = Sample("sqlite://" if request.param == "sqlite" else cluster().new_database())
    yield sample
    sample.world.catalog.close()


TRY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@TRY
@given(
    rows=st.lists(METADATA, min_size=1, max_size=6),
    op=st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "~"]),
    wanted=WANTED,
)
def test_conditions_mean_in_sql_what_they_mean_in_python(sample, rows, op, wanted):
    group, condition = sample.group(rows), f"config.x{op}{quoted(wanted)}"
    if isinstance(wanted, bool) and op not in ("=", "!=", "~"):
        with pytest.raises(InvalidInputError):
            sample.find(group, (condition,))
        return
    assert sample.find(group, (condition,)) == [n for n, row in enumerate(rows) if holds(row, op, wanted)]


@TRY
@given(rows=st.lists(METADATA, min_size=1, max_size=8), descending=st.booleans())
def test_orders_mean_in_sql_what_they_mean_in_python(sample, rows, descending):
    group = sample.group(rows)
    wanted = sorted(((row.get("x"), n) for n, row in enumerate(rows)), key=compare(descending))
    assert sample.find(group, order=("-" if descending else "") + "config.x") == [n for _, n in wanted]


@given(st.text(max_size=40))
def test_any_text_is_a_condition_or_an_error_that_points_into_it(text):
    try:
        parse_condition(text)
    except InvalidInputError as error:
        assert 0 <= error.facts["position"] <= len(text)
    try:
        parse_order(text)
    except InvalidInputError:
        pass


@given(st.text(min_size=1, max_size=20), st.text(max_size=20))
def test_any_key_and_any_text_can_be_asked_for(key, value):
    condition = parse_condition(f"metadata.{quoted(key)} = {quoted(value)}")
    assert (condition.field, condition.op, condition.value) == (f"metadata.{key}", "=", value)


@pytest.mark.parametrize("operators", ["><", "==", "=>", "=<", "<>", "= =", "=!", "~=", ">=="])
def test_two_operators_are_not_a_value_that_begins_like_one(operators):
    with pytest.raises(InvalidInputError, match="an operator follows an operator"):
        parse_condition(f"summary.x {operators} 0.9")
    assert parse_condition('name = "=0.9"').value == "=0.9"


def test_leaves_are_bounded_so_that_an_index_row_always_fits():
    found = list(leaves("metadata", {"long": "é" * 10_000, "k" * 500: 1, "list": list(range(500)), "deep": {"er": 1}}))
    assert max(len(text or "") for _, _, _, text in found) <= MAX_TEXT + 64
    assert max(len(path) for path, _, _, _ in found) < 200
    assert sum(path == "metadata.list" for path, _, _, _ in found) == MAX_ELEMENTS
    assert ("metadata.deep.er", "n", 1.0, None) in found


def test_long_texts_are_told_apart_and_found_again(sample):
    group = sample.group([{"x": "a" * 1000}, {"x": "a" * 1001}, {"x": "b\x00c \ud800"}])
    assert sample.find(group, (f"config.x={quoted('a' * 1001)}",)) == [1]
    assert sample.find(group, ('config.x="b\\u0000c \\ud800"',)) == [2]
