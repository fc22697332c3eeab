"""Files as values: a `Path` is the version's own tree; any version may be read as raw files.

Nothing is copied on the way in when the publisher adds `in_place(value)`
straight to the artifact; loading gives the path in the shared tree, read-only.
"""

from __future__ import annotations

import pathlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headwater.codecs.annotations import candidates, shown
from headwater.errors import InvalidInputError


class PathCodec:
    """`pathlib.Path` to a file or directory. Options: `kind` ("file" or "directory"), `name` of a single file."""

    name = "path"

    def handles(self, value_type: Any) -> bool:
        found = candidates(value_type)
        return bool(found) and all(issubclass(kind, pathlib.PurePath) for kind in found)

    def in_place(self, value: Path) -> tuple[Path, dict[str, Any]]:
        """The file or directory to add as it is, and the options to record.

        Raises:
            InvalidInputError: Nothing is there, or it is neither a file nor a directory.
        """
        path = Path(value)
        if path.is_dir():
            return path, {"kind": "directory"}
        if path.is_file():
            return path, {"kind": "file", "name": path.name}
        raise InvalidInputError(what="there is no file or directory to log", where=path)

    def write(self, value: Any, folder: Path) -> Mapping[str, Any]:
        source, options = self.in_place(value)
        if options["kind"] == "directory":
            shutil.copytree(source, folder, dirs_exist_ok=True)
        else:
            shutil.copyfile(source, folder / source.name)
        return options

    def read(self, folder: Path, options: Mapping[str, Any], as_: Any) -> Any:
        wanted = candidates(as_)
        if not wanted or any(issubclass(kind, pathlib.PurePath) for kind in wanted):
            return folder / str(options["name"]) if options.get("kind") == "file" else folder
        if found := as_file(folder, options.get("name"), wanted):
            return found[0]
        raise cannot_load(self.name, as_, "Path, bytes, str")


def as_file(folder: Path, name: str | None, wanted: tuple[type, ...]) -> tuple[Any] | None:
    """The one file of a version as `Path`, `bytes`, `bytearray` or (UTF-8) `str`; None if none of these is wanted.

    Args:
        folder: The version's tree.
        name: The file within it; None takes the only one there is.
        wanted: Classes to choose from, the first that fits wins.

    Raises:
        InvalidInputError: There is not exactly one file, or it is no UTF-8 text.
    """
    kind = next((k for k in wanted if issubclass(k, (pathlib.PurePath, bytes, str, bytearray))), None)
    if kind is None:
        return None
    file = folder / name if name else only_file(folder)
    if issubclass(kind, pathlib.PurePath):
        return (file,)
    data = file.read_bytes()
    return (decode_text(data, file.name) if issubclass(kind, str) else kind(data),)


def only_file(folder: Path, pattern: str = "*") -> Path:
    """The single file below `folder` that matches.

    Raises:
        InvalidInputError: None, or several; names a few.
    """
    found = sorted(path for path in folder.rglob(pattern) if path.is_file())
    if len(found) == 1:
        return found[0]
    names = ", ".join(path.relative_to(folder).as_posix() for path in found[:3])
    raise InvalidInputError(
        what=f"the version holds {len(found)} files like {pattern}" + (f" ({names}, …)" if found else ""),
        fix="load it as_=Path and read the files you want",
    )


def decode_text(data: bytes, where: str) -> str:
    """UTF-8 text of a file.

    Raises:
        InvalidInputError: It is not UTF-8.
    """
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise InvalidInputError(what="the file is not UTF-8 text", where=where, fix="load it as_=bytes") from None


def cannot_load(codec: str, as_: Any, offered: str) -> InvalidInputError:
    """The error for a type that a codec cannot give."""
    return InvalidInputError(
        what=f"a version written by the {codec!r} codec does not load as {shown(as_)}", fix=f"as_ may be {offered}"
    )
