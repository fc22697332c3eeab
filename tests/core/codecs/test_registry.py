"""Finding a codec, refusing what none takes, opening types, and never unpickling unasked."""

from __future__ import annotations

import collections
import functools
import importlib.metadata
import pickle
import sys
import threading

import numpy as np
import pandas as pd
import polars as pl
import pytest

from headwater.codecs import registry
from headwater.errors import InvalidInputError, StateError
from tests.core.codecs.samples import SAMPLES, Mode, Packed, write


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (b"", "bytes"),
        ("", "text"),
        (1, "json"),
        (None, "json"),
        ({"a": 1}, "json"),
        (Mode.FAST, "json"),
        (Packed(1), "dataclass"),
        (np.float64(1), "json"),
        (np.arange(2), "numpy"),
        (np.str_("a"), "numpy"),
        (pd.Series([1]), "pandas"),
        (pl.LazyFrame(), "polars"),
        (collections.OrderedDict(a=1), "json"),
    ],
)
def test_a_value_finds_its_codec(value, name):
    assert registry.find_for_value(value).name == name


class Opaque:
    def __init__(self, n=1):
        self.n = n

    def __eq__(self, other):
        return isinstance(other, Opaque) and self.n == other.n

    __hash__ = None


@pytest.mark.parametrize("value", [Opaque(), threading, object(), lambda: 1, np.ma.array([1], mask=[True])])
def test_an_unknown_type_is_refused_with_what_is_possible(value):
    with pytest.raises(InvalidInputError, match=r"no codec knows .*bytes, str, JSON.*allow_pickle=True"):
        registry.find_for_value(value)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"a": [1, Opaque()]}, r"Opaque has no form in JSON \(at value\['a'\]\)"),
        ([np.arange(2)], "ndarray inside other values"),
        ("\ud800", "UTF-8"),
        (["\ud800"], "UTF-8"),
        (np.array([object()]), "Python objects"),
        (pl.DataFrame({"o": [object()]}), "Python objects"),
        (pd.DataFrame({"a": [1, "x"]}), "cannot be written as Parquet"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "share a name"),
        (pd.DataFrame({"a": [1j]}), "cannot be written as Parquet"),
        (pl.DataFrame({"a": [1]}, schema={"a": pl.Int128}), "cannot be written as Parquet"),
        (pd.Series([1], name=Mode.FAST), "neither text nor a number"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_and_says_why(value, said, tmp_path):
    with pytest.raises(InvalidInputError, match=said):
        write(value, tmp_path / "v")


def test_a_value_that_contains_itself_is_refused():
    loop = []
    loop.append(loop)
    with pytest.raises(InvalidInputError, match="contains itself"):
        registry.encode(loop, lambda: None)


@pytest.mark.parametrize("value", [Opaque(), [Opaque()], {"a": Opaque()}, np.array([Opaque()], dtype=object)])
def test_pickle_is_used_only_when_allowed_on_write_and_on_read(value, tmp_path):
    record, tree = write(value, tmp_path / "v", allow_pickle=True)
    assert record["name"] == "pickle"
    assert registry.decode(record, tree, allow_pickle=True) == value
    with pytest.raises(InvalidInputError, match="allow_pickle=True"):
        registry.decode(record, tree)
    assert registry.decode(record, tree, bytes)[:1] == b"\x80"


def test_what_a_version_records_cannot_grant_the_permission_to_unpickle(tmp_path):
    (tmp_path / "value.pickle").write_bytes(pickle.dumps(1))
    for options in ({"allowed": True}, {"allow_pickle": True}):
        with pytest.raises(InvalidInputError):
            registry.decode({"name": "pickle", "options": options}, tmp_path)


def test_an_array_with_a_pickle_inside_is_never_read(tmp_path):
    np.save(tmp_path / "value.npy", np.array([Opaque()], dtype=object), allow_pickle=True)
    with pytest.raises(Exception, match="no plain NumPy array"):
        registry.decode({"name": "numpy", "options": {}}, tmp_path, allow_pickle=True)


def test_pickle_is_the_last_resort_not_the_first(tmp_path):
    for name in ("dict", "pandas frame", "array", "dataclass"):
        assert registry.find_for_value(SAMPLES[name](), allow_pickle=True).name != "pickle"


def test_a_codec_that_is_not_installed_says_so(tmp_path):
    with pytest.raises(InvalidInputError, match="'torch', which is not installed here"):
        registry.find_by_name("torch")


def test_a_library_that_is_not_installed_is_named(tmp_path, monkeypatch):
    record, tree = write(pd.DataFrame({"a": [1]}), tmp_path / "v")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(StateError, match=r"needs pandas.*pip install \"headwater\[pandas\]\""):
        registry.decode(record, tree)


class Celsius(float):
    pass


class CelsiusCodec:
    name = "celsius"

    def handles(self, value_type):
        return value_type is Celsius

    def write(self, value, folder):
        (folder / "degrees").write_text(repr(float(value)))
        return {"unit": "C"}

    def read(self, folder, options, as_):
        return Celsius((folder / "degrees").read_text())


def test_third_parties_open_types_by_entry_point(tmp_path, monkeypatch):
    point = importlib.metadata.EntryPoint("celsius", f"{__name__}:CelsiusCodec", registry.GROUP)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point] if group == registry.GROUP else [])
    monkeypatch.setattr(registry, "_plugins", functools.cache(registry._plugins.__wrapped__))
    record, tree = write(Celsius(1.5), tmp_path / "v")
    assert record == {"name": "celsius", "options": {"unit": "C"}}
    assert isinstance(registry.decode(record, tree), Celsius)
    assert registry.find_for_type(Celsius).name == "celsius"
    assert registry.find_for_value(1.5).name == "json"
