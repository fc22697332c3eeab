"""NumPy arrays as `.npy`, never with pickle inside.

Equal arrays give equal bytes: memory order becomes C, and padding in structured
dtypes is squeezed out. A masked array is refused, for `.npy` would drop its mask.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headwater.codecs.annotations import candidates, library
from headwater.codecs.files import as_file, cannot_load, only_file
from headwater.codecs.libraries import load_library
from headwater.errors import FormatError, InvalidInputError

FILE = "value.npy"
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
        wanted = candidates(as_)
        names = {kind.__name__ for kind in wanted if library(kind) == "numpy"}
        if wanted and not names and list not in wanted:
            if found := as_file(folder, None, wanted):
                return found[0]
            raise cannot_load(self.name, as_, "numpy.ndarray, numpy.memmap, list, bytes, Path")
        file = folder / FILE if (folder / FILE).is_file() else only_file(folder, "*.npy")
        array = _load(file, mapped="memmap" in names and "ndarray" not in names)
        if wanted and not names:
            return array.tolist()
        return array[()] if options.get("kind") == "scalar" and "ndarray" not in names else array


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
        raise FormatError(what=f"the file is no plain NumPy array: {problem}", where=file.name) from problem


def _is_scalar(kind: type) -> bool:
    return any(parent.__name__ == "generic" and library(parent) == "numpy" for parent in kind.__mro__)
