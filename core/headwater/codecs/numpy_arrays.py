"""NumPy arrays as `.npy`, never with pickle inside.

Equal arrays give equal bytes: memory order becomes C, and padding in structured
dtypes is squeezed out. A masked array is refused, for `.npy` would drop its mask.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headwater.codecs.annotations import candidates, library
from headwater.codecs.files import Files, as_data, as_file, cannot_load, only, only_file, wants_path
from headwater.codecs.libraries import load_library
from headwater.errors import FormatError, InvalidInputError

FILE = "value.npy"
_OFFERED = "numpy.ndarray, numpy.memmap, list, bytes, Path"
_HEADERS = {(1, 0): "read_array_header_1_0", (2, 0): "read_array_header_2_0"}
MAPPABLE = 4096
"""Smaller files are read, not mapped: an empty array cannot be mapped at all."""


class NumpyCodec:
    """`numpy.ndarray` (and `memmap`), and the scalars that JSON has no number for (dates, structured).

    `as_=numpy.memmap` maps the file instead of reading it; `as_=list` gives Python lists.
    Options: `kind` ("scalar" where it was one).
    """

    name = "numpy"

    def handles(self, value_type: Any) -> bool:
        found = candidates(value_type)
        return bool(found) and all(
            library(kind) == "numpy" and (kind.__name__ in ("ndarray", "memmap") or _is_scalar(kind)) for kind in found
        )

    def write(self, value: Any, folder: Path) -> Mapping[str, Any]:
        numpy = load_library("numpy")
        array = canonical(value)
        with (folder / FILE).open("wb") as file:
            numpy.lib.format.write_array(file, array, version=None, allow_pickle=False)
        return {"kind": "scalar"} if isinstance(value, numpy.generic) else {}

    def read(self, folder: Path, options: Mapping[str, Any], as_: Any) -> Any:
        names = _names(as_)
        if candidates(as_) and not names and list not in candidates(as_):
            if found := as_file(folder, None, candidates(as_)):
                return found[0]
            raise cannot_load(self.name, as_, _OFFERED)
        file = folder / FILE if (folder / FILE).is_file() else only_file(folder, "*.npy")
        return _as_asked(_load(file, mapped="memmap" in names and "ndarray" not in names), options, as_)

    def in_memory(self, size: int, options: Mapping[str, Any], as_: Any) -> bool:
        """Whether `decode` can give that: a memmap needs a file."""
        return not wants_path(as_) and "memmap" not in _names(as_)

    def decode(self, files: Files, options: Mapping[str, Any], as_: Any) -> Any:
        """The value, from files in memory: a writable array over that very memory."""
        wanted, (name, file) = candidates(as_), only(files, "*.npy", preferred=FILE)
        if wanted and not _names(as_) and list not in wanted:
            if found := as_data(file, name, wanted):
                return found[0]
            raise cannot_load(self.name, as_, _OFFERED)
        return _as_asked(_over(file, name), options, as_)


def canonical(value: Any) -> Any:
    """The array whose bytes depend on nothing but dtype, shape and items.

    Raises:
        InvalidInputError: It holds Python objects.
    """
    numpy = load_library("numpy")
    array = numpy.asarray(value, order="C")
    if array.dtype.hasobject:
        raise InvalidInputError(
            what="an array of Python objects cannot be written without pickle",
            fix="give it a dtype of numbers or text, or pass allow_pickle=True",
        )
    if array.dtype.names:
        from numpy.lib.recfunctions import repack_fields  # rare, and slow to import

        array = numpy.asarray(repack_fields(array, align=False, recurse=True), order="C")
    return array


def _load(file: Path, *, mapped: bool) -> Any:
    numpy = load_library("numpy")
    mode = "r" if mapped and file.stat().st_size > MAPPABLE else None
    try:
        return numpy.load(file, mmap_mode=mode, allow_pickle=False)
    except (ValueError, EOFError) as problem:
        raise _damaged(problem, file.name) from problem


def _over(file: io.BytesIO, name: str) -> Any:
    """An array over the file's own memory; one whose items do not simply lie there is read into memory of its own."""
    numpy = load_library("numpy")
    try:
        header = _HEADERS.get(numpy.lib.format.read_magic(file))
        shape, fortran, dtype = getattr(numpy.lib.format, header)(file) if header else ((), False, numpy.dtype(object))
        if dtype.hasobject or not dtype.itemsize or 0 in shape:
            file.seek(0)
            return numpy.load(file, allow_pickle=False)
        items = numpy.frombuffer(file.getbuffer(), dtype, math.prod(shape), file.tell())
        return items.reshape(shape, order="F" if fortran else "C")
    except (ValueError, EOFError) as problem:
        raise _damaged(problem, name) from problem


def _as_asked(array: Any, options: Mapping[str, Any], as_: Any) -> Any:
    names = _names(as_)
    if candidates(as_) and not names:
        return array.tolist()
    return array[()] if options.get("kind") == "scalar" and "ndarray" not in names else array


def _names(as_: Any) -> set[str]:
    return {kind.__name__ for kind in candidates(as_) if library(kind) == "numpy"}


def _damaged(problem: Exception, name: str) -> FormatError:
    return FormatError(what=f"the file is no plain NumPy array: {problem}", where=name)


def _is_scalar(kind: type) -> bool:
    return any(parent.__name__ == "generic" and library(parent) == "numpy" for parent in kind.__mro__)
