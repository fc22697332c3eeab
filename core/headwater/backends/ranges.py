"""A part of an object, and what a store answers where the part is not there. The same rule for every cloud."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from headwater.errors import FormatError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable


class Range(NamedTuple):
    """`length` bytes of an object from `start` (None: all that follow)."""

    key: str
    start: int
    length: int | None
    where: str
    """The store, for errors."""

    @property
    def header(self) -> dict[str, str]:
        """The HTTP header that asks for it; none for a whole object."""
        if self.start == 0 and self.length is None:
            return {}
        end = "" if self.length is None else self.start + self.length - 1
        return {"Range": f"bytes={self.start}-{end}"}

    def get(self, read: Callable[[], bytes], size: Callable[[], int]) -> bytes:
        """What `read` gives. Where that is nothing, or no service can be asked for it, `size` says where the end is.

        Raises:
            FormatError: The range reaches past the end: the object is shorter than whoever asks was told.
        """
        if self.length == 0:
            return self._past_the_end(size())
        try:
            data = read()
        except StorageError as error:
            if error.facts.get("status") != 416:
                raise
            return self._past_the_end(size())
        if self.length is not None and len(data) != self.length:
            return self._past_the_end(self.start + len(data))
        return data

    def _past_the_end(self, size: int) -> bytes:
        """Nothing, if nothing was asked for."""
        end = self.start + (self.length or 0)
        if end <= size:
            return b""
        raise FormatError(what=f"{self.key!r} has {size} bytes, asked for {self.start} to {end}", where=self.where)
