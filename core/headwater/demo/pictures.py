"""Small grey PNG files: 1,797 handwritten digits that scikit-learn ships, as a scanner would have left them.

The digits are those of Alpaydin and Kaynak, "Optical Recognition of Handwritten
Digits", UCI Machine Learning Repository (1998): 8 × 8 pixels, 17 shades.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

SIDE, SCALE = 8, 8
"""Pixels of a digit, and of the picture per pixel of the digit."""
SHADES = 16
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def write_digits(folder: Path) -> int:
    """Write every digit as `<folder>/<what it shows>/<number>.png`; return how many."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number, (image, shows) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = folder / str(shows) / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(bytes(int(shade) for shade in image.flat)))
    return len(digits.target)


def read_digits(folder: Path) -> tuple[list[bytes], list[int]]:
    """The pictures below `folder`, 64 shades each, and what they show, in order of their paths."""
    paths = sorted(folder.rglob("*.png"))
    return [decode(path.read_bytes()) for path in paths], [int(path.parent.name) for path in paths]


def correct(path: Path) -> None:
    """Wipe a stain: make the corners of one picture white."""
    shades = bytearray(decode(path.read_bytes()))
    for corner in (0, 1, SIDE - 2, SIDE - 1, SIDE * (SIDE - 1), SIDE * SIDE - 1):
        shades[corner] = 0 if shades[corner] else SHADES
    path.write_bytes(encode(bytes(shades)))


def encode(shades: bytes) -> bytes:
    """64 shades (0 white, 16 black) as a PNG of 64 × 64 grey pixels; PNG specification, third edition."""
    side = SIDE * SCALE
    rows = b"".join(b"\0" + row for row in _rows(shades))
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(kind, data) for kind, data in chunks)


def decode(picture: bytes) -> bytes:
    """The 64 shades of a picture that `encode` made."""
    at, packed = len(_SIGNATURE), b""
    while at < len(picture):
        length, kind = struct.unpack_from(">I4s", picture, at)
        packed += picture[at + 8 : at + 8 + length] if kind == b"IDAT" else b""
        at += 12 + length
    rows, width = zlib.decompress(packed), SIDE * SCALE + 1
    return bytes(
        round((255 - rows[SCALE * row * width + 1 + SCALE * column]) * SHADES / 255)
        for row in range(SIDE)
        for column in range(SIDE)
    )


def _rows(shades: bytes) -> Iterator[bytes]:
    for start in range(0, SIDE * SIDE, SIDE):
        row = bytes(255 - shade * 255 // SHADES for shade in shades[start : start + SIDE])
        yield from [bytes(value for value in row for _ in range(SCALE))] * SCALE


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def as_matrix(pictures: list[bytes]) -> Any:
    """One row of 64 numbers from 0 to 1 for each picture."""
    import numpy as np

    return np.frombuffer(b"".join(pictures), dtype=np.uint8).reshape(len(pictures), SIDE * SIDE) / SHADES
