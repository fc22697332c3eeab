"""Bytes and text: one file that holds exactly them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headwater.codecs.annotations import candidates
from headwater.codecs.files import Files, Small, as_data, cannot_load, only
from headwater.errors import InvalidInputError


class BytesCodec(Small):
    """`bytes`, `bytearray`, `memoryview` (which comes back as bytes), in `value.bin`."""

    name = "bytes"
    file = "value.bin"

    def handles(self, value_type: Any) -> bool:
        found = candidates(value_type)
        return bool(found) and all(issubclass(kind, (bytes, bytearray, memoryview)) for kind in found)

    def encode(self, value: Any) -> tuple[dict[str, bytes], dict[str, Any]]:
        """The files and options, in memory."""
        return {self.file: bytes(value)}, {"kind": "bytearray"} if isinstance(value, bytearray) else {}

    def decode(self, files: Files, options: Mapping[str, Any], as_: Any) -> Any:
        """The value, from files in memory."""
        wanted = candidates(as_) or (bytearray if options.get("kind") == "bytearray" else bytes,)
        name, file = only(files, preferred=self.file)
        if memoryview in wanted:
            return memoryview(file.getvalue())
        if found := as_data(file, name, wanted):
            return found[0]
        raise cannot_load(self.name, as_, "bytes, bytearray, memoryview, str, Path")


class TextCodec(Small):
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

    def decode(self, files: Files, options: Mapping[str, Any], as_: Any) -> Any:
        """The value, from files in memory."""
        name, file = only(files, preferred=self.file)
        if found := as_data(file, name, candidates(as_) or (str,)):
            return found[0]
        raise cannot_load(self.name, as_, "str, bytes, Path")
