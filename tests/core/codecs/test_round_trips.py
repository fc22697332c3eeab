"""What goes in comes out: by default as it was, on request as another type."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
import sys
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, Union

import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl
import polars.testing
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.codecs import json_language, registry
from headwater.codecs.fields import build
from headwater.errors import FormatError, InvalidInputError, StateError
from tests.core.codecs.samples import SAMPLES, Config, Inner, Mode, Packed, Point, config, frame, table, write


def again(value, tmp_path, as_=None, **options):
    record, tree = write(value, tmp_path / "v", **options)
    return registry.decode(record, tree, as_, **options)


def assert_same(got, value):
    if isinstance(value, np.generic) and not isinstance(value, np.datetime64):
        value = value.item()
    if isinstance(value, pa.RecordBatchReader):
        got, value = got.read_all(), table()
    if isinstance(value, list) and value and isinstance(value[0], pa.RecordBatch):
        got, value = pa.Table.from_batches(got), pa.Table.from_batches(value)
    assert type(got) is type(value)
    compare = next((check for kind, check in COMPARE.items() if isinstance(value, kind)), None)
    if compare is not None:
        compare(got, value)
    elif isinstance(value, float) and math.isnan(value):
        assert math.isnan(got)
    else:
        assert got == value
        if isinstance(value, list | tuple | float):
            assert repr(got) == repr(value)


COMPARE = {
    np.ndarray: np.testing.assert_array_equal,
    pd.DataFrame: pd.testing.assert_frame_equal,
    pd.Series: pd.testing.assert_series_equal,
    pd.Index: pd.testing.assert_index_equal,
    pl.LazyFrame: polars.testing.assert_frame_equal,
    pl.DataFrame: polars.testing.assert_frame_equal,
    pl.Series: polars.testing.assert_series_equal,
}


@pytest.mark.parametrize("name", SAMPLES)
def test_a_value_loads_as_what_it_was(name, tmp_path):
    assert_same(again(SAMPLES[name](), tmp_path), SAMPLES[name]())


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.dates()
    | st.datetimes()
    | st.times()
    | st.timedeltas()
    | st.complex_numbers(allow_nan=False)
)
KEYS = st.text() | st.integers() | st.tuples(st.integers(), st.text()) | st.sampled_from(["!tuple", "!dict", "!"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.sets(st.integers() | st.text() | st.binary(), max_size=4)
        | st.frozensets(st.dates(), max_size=4)
    ),
    max_leaves=12,
)


def _writable(value):
    return "\\ud" not in ascii(value)


@given(VALUES.filter(_writable))
def test_json_gives_back_every_value_and_its_types(value):
    data = json_language.dumps(value)
    got = json_language.loads(data, "value.json", build)
    assert got == value
    assert _types(got) == _types(value)
    assert json_language.dumps(got) == data


def _types(value):
    if isinstance(value, dict):
        return (dict, sorted((repr(k), _types(k), repr(_types(v))) for k, v in value.items()))
    if isinstance(value, list | tuple):
        return (type(value), [_types(item) for item in value])
    return type(value)


@given(st.dictionaries(st.text(alphabet="abc"), st.integers()), st.randoms())
def test_the_order_of_a_dictionary_does_not_reach_the_bytes(value, random):
    keys = list(value)
    random.shuffle(keys)
    assert json_language.dumps({key: value[key] for key in keys}) == json_language.dumps(value)


@pytest.mark.parametrize(
    ("value", "as_", "expected"),
    [
        ([1, 2], list[float], [1.0, 2.0]),
        ({"a": 1}, dict[str, float], {"a": 1.0}),
        ({"a": 1}, Mapping[str, int], {"a": 1}),
        ([1], Sequence[int], [1]),
        ((1, "a"), tuple[int, str], (1, "a")),
        (1, Optional[int], 1),  # noqa: UP045
        (None, int | None, None),
        (None, None, None),
        (3, Union[str, int], 3),  # noqa: UP007
        (3, Annotated[int, "note"], 3),
        (3, Any, 3),
        (3, object, 3),
        (3, np.float32, np.float32(3)),
        ("a", Literal["a", "b"], "a"),
        (b"abc", str, "abc"),
        ("abc", bytes, b"abc"),
        (b"abc", bytes | None, b"abc"),
        (bytearray(b"a"), bytes, b"a"),
        (b"a", memoryview, memoryview(b"a")),
        ([1, {"a": 2}], bytes, b'[1,{"a":2}]\n'),
        (Mode.FAST, str, "fast"),
        ("fast", str, "fast"),
        (Packed(1), dict, {"a": 1, "b": "b"}),
        (Packed(1), dict[str, Any], {"a": 1, "b": "b"}),
        (Point(1, 2.0), Packed | Point, Point(1, 2.0)),
        (np.arange(3), list, [0, 1, 2]),
        (np.arange(3), list[int], [0, 1, 2]),
    ],
)
def test_as_converts(value, as_, expected, tmp_path):
    got = again(value, tmp_path, as_)
    assert got == expected
    assert type(got) is type(expected)


@dataclasses.dataclass
class Other:
    name: str
    inner: dict[str, Any]
    sizes: dict[str, int]
    extra: Any = None


def test_a_dataclass_loads_as_itself_as_a_dict_and_as_another_class(tmp_path):
    assert again(config(), tmp_path) == config()
    assert again(config(), tmp_path, Config) == config()
    as_dict = again(config(), tmp_path, dict)
    assert as_dict["inner"] == {"weights": (0.5, float("inf")), "mode": "fast"}
    other = again(config(), tmp_path, Other)
    assert other.name == "ü"
    assert other.inner["mode"] == "fast"


def test_a_list_of_dataclasses_loads_by_annotation_without_importing_the_recorded_type(tmp_path):
    record, tree = write([Inner((1.0,))], tmp_path / "v")
    file = tree / next(tree.glob("*.json")).name
    file.write_bytes(file.read_bytes().replace(b"tests.core.codecs.samples:Inner", b"nowhere_at_all:Inner"))
    assert registry.decode(record, tree, list[Inner]) == [Inner((1.0,))]
    with pytest.raises(StateError, match="cannot be imported"):
        registry.decode(record, tree)


@pytest.mark.parametrize("path", ["os:system", "builtins:print", "subprocess:Popen", "no.such:T", "json:", ":", "x"])
def test_a_recorded_path_to_anything_but_a_class_of_fields_is_never_called(path, tmp_path):
    (tmp_path / "value.json").write_bytes(b'{"args":"touch /tmp/never"}\n')
    with pytest.raises(StateError):
        registry.decode({"name": "dataclass", "options": {"type": path}}, tmp_path)
    (tmp_path / "value.json").write_bytes(b'{"!record":["%s",{}]}\n' % path.encode())
    with pytest.raises(StateError):
        registry.decode({"name": "json", "options": {}}, tmp_path)
    assert registry.decode({"name": "json", "options": {}}, tmp_path, dict) == {}


def test_a_class_that_lost_a_field_says_so(tmp_path):
    (tmp_path / "value.json").write_bytes(b'{"gone":1}\n')
    with pytest.raises(InvalidInputError, match="does not take the recorded fields"):
        registry.decode({"name": "dataclass", "options": {"type": "tests.core.codecs.samples:Inner"}}, tmp_path)


def test_pydantic_models_load_again(tmp_path):
    import pydantic

    Model = pydantic.create_model("Model", a=(int, ...), b=(list[str], ...), __module__=__name__)
    globals()["Model"] = Model
    try:
        assert again(Model(a=1, b=["x"]), tmp_path) == Model(a=1, b=["x"])
        assert registry.decode(None, write({"a": 1, "b": []}, tmp_path / "w")[1], dict) == {"a": 1, "b": []}
        assert again({"a": 1, "b": []}, tmp_path / "x", Model) == Model(a=1, b=[])
    finally:
        del globals()["Model"]


def test_a_table_written_by_one_library_loads_as_any_other(tmp_path):
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    record, tree = write(frame, tmp_path / "pandas")
    assert registry.decode(record, tree, pl.DataFrame).to_dict(as_series=False) == {"a": [1, 2], "b": ["x", "y"]}
    assert registry.decode(record, tree, pa.Table).to_pydict() == {"a": [1, 2], "b": ["x", "y"]}
    assert registry.decode(record, tree, dict) == {"a": [1, 2], "b": ["x", "y"]}
    assert registry.decode(record, tree, dict[str, list[Any]]) == {"a": [1, 2], "b": ["x", "y"]}
    assert registry.decode(record, tree, list) == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    assert registry.decode(record, tree, pl.LazyFrame).select("a").collect()["a"].to_list() == [1, 2]
    assert registry.decode(record, tree, pa.RecordBatch).num_rows == 2
    assert registry.decode(record, tree, Path) == next(tree.glob("*.parquet"))
    assert registry.decode(record, tree, bytes)[:4] == b"PAR1"
    record, tree = write(pl.Series("s", [1, 2]), tmp_path / "polars")
    assert registry.decode(record, tree, pd.Series).tolist() == [1, 2]
    assert registry.decode(record, tree, pa.ChunkedArray).to_pylist() == [1, 2]
    assert registry.decode(record, tree, pd.DataFrame | None)["s"].tolist() == [1, 2]
    with pytest.raises(InvalidInputError, match="as_ may be"):
        registry.decode(record, tree, int)


def test_an_optional_table_loads_as_the_kind_that_was_written(tmp_path):
    series = pd.Series([1], name="s")
    record, tree = write(series, tmp_path / "v")
    assert type(registry.decode(record, tree, pd.DataFrame | pd.Series)) is pd.Series
    assert type(registry.decode(record, tree, pl.DataFrame | pd.DataFrame)) is pl.DataFrame
    with pytest.raises(InvalidInputError, match="columns, not one"):
        again(frame(), tmp_path / "w", pd.Series)


def test_attributes_of_a_frame_survive(tmp_path):
    frame = pd.DataFrame({"a": [1]})
    frame.attrs = {"unit": "m"}
    assert again(frame, tmp_path).attrs == {"unit": "m"}


def test_arrays_load_mapped_or_by_annotation(tmp_path):
    mapped = again(np.arange(1000.0), tmp_path, np.memmap)
    assert isinstance(mapped, np.memmap)
    assert again(np.arange(4.0), tmp_path / "b", npt.NDArray[np.float64]).tolist() == [0, 1, 2, 3]
    assert again(mapped, tmp_path / "c").sum() == 499500
    assert again(np.zeros(0), tmp_path / "d", np.memmap).size == 0


def test_paths_are_the_tree_itself(tmp_path):
    (tmp_path / "d" / "e").mkdir(parents=True)
    (tmp_path / "d" / "e" / "f.txt").write_text("hi")
    encoded = registry.encode(tmp_path / "d", lambda: 1 / 0)
    assert encoded.path == tmp_path / "d"
    assert encoded.files is None
    assert registry.decode(encoded.codec, tmp_path / "d") == tmp_path / "d"
    one = registry.encode(tmp_path / "d" / "e" / "f.txt", lambda: 1 / 0)
    assert registry.decode(one.codec, tmp_path / "d" / "e") == tmp_path / "d" / "e" / "f.txt"
    assert registry.decode(one.codec, tmp_path / "d" / "e", str) == "hi"
    assert registry.decode(one.codec, tmp_path / "d" / "e", Path | None) == tmp_path / "d" / "e" / "f.txt"
    assert registry.encode(str(tmp_path / "d"), lambda: 1 / 0, Path).path == tmp_path / "d"
    with pytest.raises(InvalidInputError, match="no file or directory"):
        registry.encode(tmp_path / "missing", lambda: 1 / 0)


def test_path_codec_copies_when_asked_to_write(tmp_path):
    (tmp_path / "d" / "e").mkdir(parents=True)
    (tmp_path / "d" / "e" / "f.txt").write_text("hi")
    codec = registry.find_by_name("path")
    for source, name in ((tmp_path / "d", "e/f.txt"), (tmp_path / "d/e/f.txt", "f.txt")):
        target = tmp_path / f"out-{source.name}"
        target.mkdir()
        codec.write(source, target)
        assert (target / name).read_text() == "hi"


def test_plain_files_load_by_annotation(tmp_path):
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "part.parquet")
    assert registry.decode(None, tmp_path) == tmp_path
    assert registry.decode(None, tmp_path, Path) == tmp_path
    assert registry.decode(None, tmp_path, pd.DataFrame)["a"].tolist() == [1]
    assert registry.decode(None, tmp_path, pl.LazyFrame).collect().height == 1
    assert registry.decode(None, tmp_path, bytes)[:4] == b"PAR1"
    (tmp_path / "more.parquet").write_bytes(b"")
    with pytest.raises(InvalidInputError, match="2 files"):
        registry.decode(None, tmp_path, pd.DataFrame)
    with pytest.raises(InvalidInputError, match="2 files"):
        registry.decode(None, tmp_path, bytes)


def test_dates_inside_records_survive(tmp_path):
    value = {"at": dt.datetime(2024, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=2))), "every": [dt.timedelta(1)]}
    assert again(value, tmp_path) == value


def test_damaged_files_are_format_errors(tmp_path):
    for sample, name in (
        ("list", "value.json"),
        ("array", "value.npy"),
        ("arrow table", "table.parquet"),
        ("polars frame", "dataframe.parquet"),
        ("pandas frame", "dataframe.parquet"),
    ):
        record, tree = write(SAMPLES[sample](), tmp_path / sample)
        (tree / name).write_bytes((tree / name).read_bytes()[:9])
        with pytest.raises(FormatError):
            registry.decode(record, tree)


@pytest.mark.parametrize(
    "body", [b"{", b'{"!newer":1}', b'{"!int":"zz"}', b'{"!set":[[1]]}', b"\xff", b'{"!record":1}']
)
def test_json_that_is_none_of_ours_is_a_format_error(body):
    with pytest.raises(FormatError):
        json_language.loads(body, "value.json", build)


class Typed(typing.TypedDict):
    a: int


def test_a_typed_dict_is_checked(tmp_path):
    assert again({"a": 1}, tmp_path, Typed) == {"a": 1}
    with pytest.raises(InvalidInputError, match="does not load as"):
        again({"a": "x"}, tmp_path / "b", Typed)
    with pytest.raises(InvalidInputError):
        again([1], tmp_path / "c", dict[str, int])


def test_nothing_heavy_is_imported_for_light_values():
    import subprocess

    code = (
        "import sys, pathlib, tempfile\n"
        "from headwater.codecs import registry\n"
        "for v in (1, 'a', b'b', {'a': [1]}): registry.encode(v, lambda: None)\n"
        "print([m for m in ('numpy', 'pandas', 'polars', 'pyarrow', 'pickle5') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=30,
        env={"PYTHONPATH": "core"},
        cwd=Path(__file__).parents[3],
    )
    assert done.stdout.strip() == "[]", done.stderr
