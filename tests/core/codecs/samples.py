"""Values of every codec, made anew on each call, and the digests of what their codecs write.

To renew `golden.json` after a deliberate change of a format:
`python -c "from tests.core.codecs.samples import print_digests; print_digests()"`.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import json
import sys
import tempfile
import typing
import uuid
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from blake3 import blake3

from headwater.codecs import registry


class Mode(enum.Enum):
    FAST = "fast"
    SLOW = "slow"


class Point(typing.NamedTuple):
    x: int
    y: float


class Packed(msgspec.Struct):
    a: int
    b: str = "b"


@dataclasses.dataclass
class Inner:
    weights: tuple[float, ...]
    mode: Mode = Mode.FAST


@dataclasses.dataclass(frozen=True)
class Config:
    name: str
    inner: Inner
    sizes: dict[str, int] = dataclasses.field(default_factory=dict)
    extra: object = None
    doubled: int = dataclasses.field(init=False, default=2)


def config():
    return Config("ü", Inner((0.5, float("inf"))), {"b": 2, "a": 1}, extra=[Inner(()), Point(1, 2.0)])


def frame():
    return pd.DataFrame(
        {
            "when": pd.date_range("2024-01-01", periods=3, freq="D", tz="UTC"),
            "kind": pd.Categorical(["b", "a", None], categories=["b", "a"]),
            "count": pd.array([1, None, 3], dtype="Int64"),
            "text": ["x", "y", None],
            "value": [0.1, float("nan"), 3.0],
        },
        index=pd.Index(["r1", "r2", "r3"], name="row"),
    )


def table():
    return pa.table({"n": pa.array([1, 2, None], pa.int16()), "s": ["a", "b", "c"], "l": [[1], [], None]})


SAMPLES = {
    "bytes": lambda: b"\x00\xff",
    "bytearray": lambda: bytearray(b"abc"),
    "text": lambda: "line\r\nλ\n",
    "none": lambda: None,
    "bool": lambda: True,
    "int": lambda: 2**70,
    "huge int": lambda: -(3**10_000),
    "float": lambda: 0.1,
    "nan": lambda: float("nan"),
    "numpy float": lambda: np.float32(0.5),
    "numpy bool": lambda: np.bool_(True),
    "list": lambda: [1, 1.0, True, None, "x", [], {}],
    "dict": lambda: {"b": 1, "a": {"ü": -0.0}, "!x": 1},
    "dict of other keys": lambda: {1: "a", "1": "b", (1, 2): "c", None: "d"},
    "sets": lambda: {"s": {"a", "b", "c", "d"}, "f": frozenset([3, 1, 2])},
    "scalars": lambda: [
        (1, (2,)),
        b"x",
        1 + 2j,
        decimal.Decimal("1.10"),
        uuid.UUID(int=7),
        dt.datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC),
        dt.date(2024, 1, 2),
        dt.time(1, 2),
        dt.timedelta(days=-1, microseconds=5),
        Mode.SLOW,
    ],
    "enum": lambda: Mode.FAST,
    "dataclass": config,
    "named tuple": lambda: Point(1, 2.5),
    "struct": lambda: Packed(1),
    "list of dataclasses": lambda: [Inner((1.0,)), Inner(())],
    "array": lambda: np.arange(12, dtype=np.float32).reshape(3, 4),
    "fortran array": lambda: np.asfortranarray(np.arange(12, dtype=np.float32).reshape(3, 4)),
    "text array": lambda: np.array(["a", "bc"]),
    "zero-dimensional array": lambda: np.array(3),
    "structured array": lambda: np.array([(1, 2.0)], dtype=np.dtype([("a", "i1"), ("b", "f8")], align=True)),
    "numpy date": lambda: np.datetime64("2024-01-01T00:00:00"),
    "pandas frame": frame,
    "pandas frame of objects": lambda: pd.DataFrame({"o": pd.Series(["a", "b"], dtype=object), "n": [1, 2]}),
    "pandas frame without columns": lambda: pd.DataFrame(index=pd.RangeIndex(3)),
    "pandas frame with levels": lambda: pd.DataFrame(
        [[1, 2]],
        index=pd.MultiIndex.from_tuples([(1, "x")], names=["a", None]),
        columns=pd.MultiIndex.from_tuples([("u", 1), ("v", 2)]),
    ),
    "pandas frame by day": lambda: pd.DataFrame({"a": [1, 2]}, index=pd.date_range("2024", periods=2, freq="D")),
    "pandas series": lambda: pd.Series([1, 2], name=("a", 1), index=[5, 7]),
    "pandas unnamed series": lambda: pd.Series(["x"], dtype=object),
    "pandas index": lambda: pd.Index(["a", "b"], name="i"),
    "pandas range": lambda: pd.RangeIndex(2, 10, 2),
    "pandas dates": lambda: pd.date_range("2024", periods=3, freq="h"),
    "polars frame": lambda: pl.DataFrame(
        {"a": [1, None], "e": ["x", "y"], "s": [{"k": 1}, {"k": 2}], "l": [[1], []]},
        schema_overrides={"e": pl.Enum(["y", "x"]), "a": pl.UInt8},
    ),
    "polars categorical": lambda: pl.DataFrame({"c": pl.Series(["x", "y", "x"], dtype=pl.Categorical)}),
    "polars lazy": lambda: pl.LazyFrame({"a": [1, 2]}).filter(pl.col("a") > 1),
    "polars series": lambda: pl.Series("s", [1.5, None]),
    "arrow table": table,
    "arrow batch": lambda: pa.record_batch({"a": [1, 2]}),
    "arrow batches": lambda: [pa.record_batch({"a": [1]}), pa.record_batch({"a": [2, 3]})],
    "arrow reader": lambda: table().to_reader(),
    "arrow array": lambda: pa.array(["a", None]),
    "arrow chunked array": lambda: pa.chunked_array([[1], [2, 3]]),
}


def write(value, folder: Path, **options):
    """Encode as a publisher would; return (record, tree)."""
    encoded = registry.encode(value, lambda: _made(folder), **options)
    if encoded.path is not None:
        return encoded.codec, encoded.path
    _made(folder)
    for name, data in encoded.files.items():
        (folder / name).write_bytes(data)
    return encoded.codec, folder


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def digests(value) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        record, tree = write(value, Path(folder) / "v")
        files = {p.name: blake3(p.read_bytes()).hexdigest() for p in sorted(tree.iterdir())}
    return {"codec": record, **files}


def print_digests():
    json.dump({name: digests(make()) for name, make in SAMPLES.items()}, sys.stdout, indent=1, sort_keys=True)
