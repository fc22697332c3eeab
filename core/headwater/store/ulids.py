"""New ULIDs, from this machine's clock and its source of randomness."""

from __future__ import annotations

import os
import time

from headwater.model.keys import format_ulid


def new_ulid() -> str:
    """A ULID that nobody has had: 80 random bits after the time in milliseconds. Safe after fork."""
    return format_ulid(time.time_ns() // 1_000_000, os.urandom(10))
