"""A digest names bytes: `blake3:` and the 64 hex digits of their BLAKE3-256.

The digest of a file is that of its whole content, whatever chunks it is stored
in, so `b3sum FILE` proves it without Headwater.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from blake3 import blake3

from headwater.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined]

SIZE = 32
"""Length of a raw digest, bytes."""

PREFIX = "blake3:"


class Digest(bytes):
    """The 32 raw bytes of a BLAKE3-256; `str()` writes the public form.

    A plain `bytes` of the same value is equal to it and hashes alike, so raw
    digests from a page or a table can be looked up without conversion.
    """

    __slots__ = ()

    @classmethod
    def of(cls, data: Buffer) -> Self:
        """Digest `data`, on one thread (the library's own pool hangs after fork)."""
        return cls(blake3(data).digest())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the public form.

        Raises:
            InvalidInputError: `text` is not `blake3:` and 64 lower-case hex digits.
        """
        digits = text.removeprefix(PREFIX)
        if len(digits) != 2 * SIZE or digits == text or digits.strip("0123456789abcdef"):
            raise InvalidInputError(what=f"{text!r} is not a digest", fix="write blake3:<64 hex digits>")
        return cls(bytes.fromhex(digits))

    def __str__(self) -> str:
        return PREFIX + self.hex()

    def __repr__(self) -> str:
        return f"Digest({str(self)!r})"
