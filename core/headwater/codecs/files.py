"""Files as values: a `Path` is the version's own tree; any version may be read as raw files.

Nothing is copied on the way in when the publisher adds `in_place(value)`
straight to the artifact; loading gives the path in the shared tree, read-only.
"""

from __future__ import annotations

import io
import pathlib
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeAlias

from headwater.codecs.annotations import candidates, shown
from headwater.errors import InvalidInputError

Files: TypeAlias = Mapping[str, io.BytesIO]
"""Path in the version → the file, in memory."""


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


class Small(ABC):
    """What codecs of values that fit into memory share: they say `encode` and `decode`, folders follow from that."""

    file = ""
    """The path of their file; empty where it depends on the value."""

    @abstractmethod
    def encode(self, value: Any) -> tuple[dict[str, bytes], dict[str, Any]]:
        """The files and options, in memory."""

    @abstractmethod
    def decode(self, files: Files, options: Mapping[str, Any], as_: Any) -> Any:
        """The value, from files in memory."""

    def write(self, value: Any, folder: Path) -> Mapping[str, Any]:
        files, options = self.encode(value)
        for name, data in files.items():
            (folder / name).write_bytes(data)
        return options

    def read(self, folder: Path, options: Mapping[str, Any], as_: Any) -> Any:
        wanted = candidates(as_)
        if wanted and issubclass(wanted[0], pathlib.PurePath):
            usual = folder / self.file
            return usual if usual.is_file() else only_file(folder)
        return self.decode(in_memory(folder), options, as_)

    def in_memory(self, size: int, options: Mapping[str, Any], as_: Any) -> bool:
        """Whether `decode` can give that."""
        return not wants_path(as_)


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
    return as_data(io.BytesIO(file.read_bytes()), file.name, (kind,))


def as_data(file: io.BytesIO, name: str, wanted: tuple[type, ...]) -> tuple[Any] | None:
    """As `as_file`, of a file in memory; None if neither `bytes` nor `bytearray` nor `str` is wanted.

    Raises:
        InvalidInputError: It is no UTF-8 text.
    """
    kind = next((k for k in wanted if issubclass(k, (bytes, str, bytearray))), None)
    if kind is None:
        return None
    data = file.getvalue()  # shares the file's memory
    return (data if kind is bytes else decode_text(data, name) if issubclass(kind, str) else kind(data),)


def wants_path(as_: Any) -> bool:
    """Whether a path may be asked for, so that the files must be in a folder."""
    return any(issubclass(kind, pathlib.PurePath) for kind in candidates(as_))


def in_memory(folder: Path) -> Files:
    """The files of a folder, read."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): io.BytesIO(path.read_bytes()) for path in paths}


def only(files: Files, pattern: str = "*", *, preferred: str = "") -> tuple[str, io.BytesIO]:
    """The file called `preferred`, else the single one that matches, with its path.

    Raises:
        InvalidInputError: None, or several; names a few.
    """
    found = [preferred] if preferred in files else sorted(name for name in files if fnmatchcase(name, pattern))
    if len(found) != 1:
        raise _not_one(found, pattern)
    return found[0], files[found[0]]


def only_file(folder: Path, pattern: str = "*") -> Path:
    """The single file below `folder` that matches.

    Raises:
        InvalidInputError: None, or several; names a few.
    """
    found = sorted(path for path in folder.rglob(pattern) if path.is_file())
    if len(found) == 1:
        return found[0]
    raise _not_one([path.relative_to(folder).as_posix() for path in found], pattern)


def _not_one(names: list[str], pattern: str) -> InvalidInputError:
    return InvalidInputError(
        what=f"the version holds {len(names)} files like {pattern}"
        + (f" ({', '.join(names[:3])}, …)" if names else ""),
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
