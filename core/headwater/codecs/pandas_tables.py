"""pandas frames, series and indexes, with their index, column types, names and attrs.

What Parquet does not keep is in the options: which columns were `object` though
they held only text, the name of a series, and the range or the frequency of an index.
"""

from __future__ import annotations

from typing import Any

from headwater.codecs.libraries import load_library
from headwater.codecs.parquet import Source, no_parquet, read_parquet
from headwater.errors import InvalidInputError

KINDS = ("pandas.DataFrame", "pandas.Series", "pandas.Index")
DEFAULT = "pandas.DataFrame"
COLUMN = "value"
"""Name of the column of a series without one."""


def to_arrow(value: Any) -> tuple[Any, dict[str, Any]]:
    """The value as an Arrow table, and how to undo that.

    Raises:
        InvalidInputError: A column has no Arrow form, or a name no JSON form.
    """
    pandas, pyarrow = load_library("pandas"), load_library("pyarrow")
    frame, options = _as_frame(pandas, value)
    if not frame.columns.is_unique:
        raise InvalidInputError(what="two columns of the frame share a name", fix="rename one of them")
    try:
        # None: a RangeIndex costs nothing, any other becomes columns. A frame without columns would lose its length.
        table = pyarrow.Table.from_pandas(frame, preserve_index=None if len(frame.columns) else True)
    except (pyarrow.ArrowException, NotImplementedError, TypeError, ValueError) as problem:
        raise no_parquet(problem) from problem
    return table, options | _details(frame)


def load(file: Source, options: dict[str, Any], kind: str) -> Any:
    """The Parquet file as `kind`.

    Raises:
        InvalidInputError: A series is wanted, and there are more columns.
    """
    load_library("pandas")
    frame = read_parquet(file).to_pandas()
    _restore(frame, options)
    if kind == KINDS[0]:
        return frame
    if kind == KINDS[2]:
        return frame.index
    if len(frame.columns) != 1:
        raise InvalidInputError(what=f"the table has {len(frame.columns)} columns, not one", fix="as_=pandas.DataFrame")
    series = frame.iloc[:, 0]
    return series.rename(_name_back(options["name"])) if "name" in options else series


def _as_frame(pandas: Any, value: Any) -> tuple[Any, dict[str, Any]]:
    if isinstance(value, pandas.DataFrame):
        return value, {"kind": KINDS[0]}
    if isinstance(value, pandas.Series):
        frame = value.to_frame(COLUMN if value.name is None else str(value.name))
        frame.attrs = value.attrs
        return frame, {"kind": KINDS[1], "name": _name(value.name)}
    return pandas.DataFrame(index=value), {"kind": KINDS[2]}


def _name(name: Any) -> Any:
    """A name as JSON: a tuple (of a column in two levels) becomes a list."""
    if name is None or isinstance(name, str | int | float | bool):
        return name
    if isinstance(name, tuple):
        return [_name(part) for part in name]
    raise InvalidInputError(what=f"the series' name {name!r} is neither text nor a number", fix="rename it")


def _name_back(name: Any) -> Any:
    return tuple(_name_back(part) for part in name) if isinstance(name, list) else name


def _details(frame: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    objects = [at for at, kind in enumerate(frame.dtypes) if str(kind) == "object"]
    if objects:
        found["objects"] = objects
    if not len(frame.columns) and hasattr(frame.index, "step"):
        found["range"] = [frame.index.start, frame.index.stop, frame.index.step]
    if str(frame.index.dtype) == "object" and frame.index.nlevels == 1:
        found["object_index"] = True
    frequency = getattr(frame.index, "freqstr", None)
    if frequency and getattr(frame.index, "freq", None) is not None and frame.index.dtype.kind in "mM":
        found["frequency"] = frequency
    return found


def _restore(frame: Any, options: dict[str, Any]) -> None:
    for at in options.get("objects", ()):
        if at < len(frame.columns) and str(frame.dtypes.iloc[at]) != "object":
            frame.isetitem(at, frame.iloc[:, at].astype(object))
    if options.get("object_index") and str(frame.index.dtype) != "object":
        frame.index = frame.index.astype(object)
    if "range" in options:
        frame.index = load_library("pandas").RangeIndex(*options["range"], name=frame.index.name)
    if "frequency" in options and hasattr(frame.index, "freq"):
        frame.index.freq = options["frequency"]
