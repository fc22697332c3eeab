"""Bytes and text: one file that holds exactly them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headwater.codecs.annotations import candidates
from headwater.codecs.files import Files, as_data, as_file, cannot_load, in_memory, only, wants_path
from headwater.errors import InvalidInputError


class BytesCodec:
    """`bytes`, `bytearray`, `memoryview` (which comes back as bytes), in `value.bin`."""

    name = "bytes"
    file = "value.bin"

    def handles(self, value_type: Any) -> bool:
        found = candidates(value_type)
        return bool(found) and all(issubclass(kind, (bytes, bytearray, memoryview)) for kind in found)

    def encode(self, value: Any) -> tuple[dict[str, bytes], dict[str, Any]]:
        """The files and options, in memory."""
        return {self.file: bytes(value)}, {"kind": "bytearray"} if isinstance(value, bytearray) else {}

    def write(self, value: Any, folder: Path) -> Mapping[str, Any]:
        (folder / self.file).write_bytes(value)
        return {"kind": "bytearray"} if isinstance(value, bytearray) else {}

    def read(self, folder: Path, options: Mapping[str, Any], as_: Any) -> Any:
        if wants_path(as_) and (found := as_file(folder, self.file, candidates(as_))):
            return found[0]
        return self.decode(in_memory(folder), options, as_)

    def in_memory(self, size: int, options: Mapping[str, Any], as_: Any) -> bool:
        """Whether `decode` can give that."""
        return not wants_path(as_)

    def decode(self, files: Files, options: Mapping[str, Any], as_: Any) -> Any:
        """The value, from files in memory."""
        wanted = candidates(as_) or (bytearray if options.get("kind") == "bytearray" else bytes,)
        name, file = only(files, preferred=self.file)
        if memoryview in wanted:
            return memoryview(file.getvalue())
        if found := as_data(file, name, wanted):
            return found[0]
        raise cannot_load(self.name, as_, "bytes, bytearray, memoryview, str, Path")


class TextCodec:
    """`str` as UTF-8 in `value.txt`, line ends untouched."""

    name = "text"
    file = "value.txt"

    def handles(self, value_type: Any) -> bool:
        found = candidates(value_type)
        return bool(found) and all(issubclass(kind, str) for kind in found)

    def encode(self, value: str) -> tuple[dict[str, bytes], dict[str, Any]]:
        """The file and options, in memory.

        Raises:
            InvalidInputError: The text holds a lone surrogate, which UTF-8 cannot write.
        """
        try:
            return {self.file: str(value).encode()}, {}
        except UnicodeEncodeError as problem:
            raise InvalidInputError(
                what=f"the text cannot be written as UTF-8 (position {problem.start})", fix="log it as bytes"
            ) from None

    def write(self, value: str, folder: Path) -> Mapping[str, Any]:
        files, options = self.encode(value)
        (folder / self.file).write_bytes(files[self.file])
        return options

    def read(self, folder: Path, options: Mapping[str, Any], as_: Any) -> Any:
        if wants_path(as_) and (found := as_file(folder, self.file, candidates(as_))):
            return found[0]
        return self.decode(in_memory(folder), options, as_)

    def in_memory(self, size: int, options: Mapping[str, Any], as_: Any) -> bool:
        """Whether `decode` can give that."""
        return not wants_path(as_)

    def decode(self, files: Files, options: Mapping[str, Any], as_: Any) -> Any:
        """The value, from files in memory."""
        name, file = only(files, preferred=self.file)
        if found := as_data(file, name, candidates(as_) or (str,)):
            return found[0]
        raise cannot_load(self.name, as_, "str, bytes, Path")
