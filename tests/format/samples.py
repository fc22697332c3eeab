"""Bytes that are the same everywhere and always, for golden files."""

from __future__ import annotations

from blake3 import blake3


def stream(seed: str, size: int) -> bytes:
    """The first bytes of BLAKE3's output for the text `seed`."""
    return blake3(seed.encode()).digest(size)


def lines(n: int) -> bytes:
    """`n` lines of a table."""
    return b"".join(b"%d,%d,sensor-%d\n" % (i, i * i % 9973, i % 17) for i in range(n))


CUT: dict[str, bytes] = {
    "stream of 'cut me', 3,000,000 bytes": stream("cut me", 3_000_000),
    "stream of 'odd', 1,000,001 bytes": stream("odd", 1_000_001),
    "150,000 lines": lines(150_000),
    "2,500,000 zeros": bytes(2_500_000),
    "65,536 zeros": bytes(65_536),
    "65,537 zeros": bytes(65_537),
    "stream of 'page', 4,096 bytes, 600 times": stream("page", 4_096) * 600,
}
"""What the golden cuts are cuts of."""

LARGE = b"".join(b"row %06d " % i + b"constant " * 20 + b"\n" for i in range(8_000))
"""A file of 1.5 MiB that packs small, in several chunks."""
