"""Bodies of HTTP answers, piece by piece, as the service stores them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from headwater.backends.retrying import Translate

PIECE = 1 << 20
"""Bytes yielded at a time."""


def pieces_of(response: Any, translate: Translate, read_size: int = PIECE) -> Iterator[bytes]:
    """Yield the body of a streamed `requests` response, undecoded; close the connection if it is left early.

    Raises:
        HeadwaterError: What `translate` makes of a connection that broke, or of a body shorter than announced.
    """
    finished = False
    try:
        while piece := _read(response.raw, translate, read_size):
            yield piece
        finished = True
    finally:
        # a body read to its end leaves the connection in the pool, any other would block the next request
        response.raw.release_conn() if finished else response.close()


def _read(raw: Any, translate: Translate, size: int) -> bytes:
    try:
        piece: bytes = raw.read(size, decode_content=False)
    except Exception as error:  # noqa: BLE001 (`translate` has a row for everything)
        raise translate(error) from None
    return piece
