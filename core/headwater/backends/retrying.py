"""Asking the outside again: bounded, with back-off, as long as waiting may help.

The SDKs' own retries are switched off, so that one rule holds everywhere and
a lost response to a conditional write is told from a real conflict.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Generic, NamedTuple, TypeVar
from uuid import uuid4

from headwater.errors import ConflictError, HeadwaterError, StorageError

T = TypeVar("T")

ATTEMPTS = 6
"""How often a request is sent at most."""
FIRST_PAUSE = 0.2
"""Seconds before the second attempt, at most; every further pause may be twice as long."""
LONGEST_PAUSE = 20.0
HEADWAY = 64 << 10
"""Bytes between two breaks that show a connection worth going on with."""
LONGEST_RETRY_AFTER = 60.0
"""A service that asks for more patience than this, seconds, is given up at once."""


class PerProcess(Generic[T]):
    """Something made once in each process, and not carried over a fork or a pickle.

    A client must not be shared with a forked child: both would read each other's
    answers from one socket. No lock: a fork may happen while another thread holds
    it. Two threads that come first at once may both make one; the first stays.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: dict[int, T] = {}

    def get(self) -> T:
        """This process's own."""
        pid = os.getpid()
        found = self._made.get(pid)
        return found if found is not None else self._made.setdefault(pid, self._make())

    def __reduce__(self) -> tuple[type[PerProcess[T]], tuple[Callable[[], T]]]:
        return (PerProcess, (self._make,))


Translate = Callable[[Exception], HeadwaterError]
"""Makes a foreign exception ours; each system has one table."""


def attempt(call: Callable[[], T], translate: Translate) -> T:
    """Call, translate what it raises, and call again while that may help (at most `ATTEMPTS` times).

    Raises:
        HeadwaterError: What `translate` made of the last exception. The foreign one is not chained: its text
            may hold a signed URL.
    """
    for failures in range(1, ATTEMPTS + 1):
        try:
            return call()
        except Exception as error:  # noqa: BLE001 (`translate` has a row for everything)
            ours = error if isinstance(error, HeadwaterError) else translate(error)
            if failures == ATTEMPTS or not wait(ours, failures):
                raise ours from None
    raise AssertionError("unreachable")


def wait(error: HeadwaterError, failures: int) -> bool:
    """Pause before the next attempt as the error asks, else by back-off with jitter; False: there is no point."""
    if not isinstance(error, StorageError) or not error.retryable:
        return False
    asked = error.facts.get("retry_after")
    if asked is not None and asked > LONGEST_RETRY_AFTER:
        return False
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (failures - 1))
    time.sleep(max(asked or 0.0, random.uniform(longest / 2, longest)))
    return True


def retry_after(value: str | None) -> float | None:
    """Read a `Retry-After` header, seconds or a date (RFC 9110 10.2.3), as seconds from now."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


class Stamp(NamedTuple):
    """What a marker in the service says about its last write."""

    write_id: str | None
    token: str


def swap(write: Callable[[str], str], look: Callable[[], Stamp | None]) -> str:
    """Do a conditional write whose answer may get lost; return the new token.

    `write(write_id)` raises ConflictError when the condition fails; `look` says
    who wrote what is there. The write id is sent along and read back after every
    doubtful failure: ours → done; somebody else's after a failed condition → a
    true conflict; after anything else the failure stands, as nothing is proved.
    (The rule of icechunk's design document 017.)

    Raises:
        ConflictError: Provably somebody else's write came first.
        HeadwaterError: The write failed, or the read-back did; it is unknown whether it was stored.
    """
    write_id = uuid4().hex
    for failures in range(1, ATTEMPTS + 1):
        try:
            return write(write_id)
        except (ConflictError, StorageError) as error:
            found = look() if isinstance(error, ConflictError) or error.retryable else None
            if found is not None and found.write_id == write_id:
                return found.token
            if failures == ATTEMPTS or not wait(error, failures):
                raise
    raise AssertionError("unreachable")


def resumed(open_at: Callable[[int], Iterator[bytes]], start: int) -> Iterator[bytes]:
    """Yield what `open_at(start)` yields; after a cut connection go on at the byte it broke off.

    Gives up after `ATTEMPTS` failures in a row with less than `HEADWAY` bytes between them.
    `open_at` must see to it that it opens the same bytes each time.
    """
    position, broken, failures = start, start, 0
    while True:
        try:
            for piece in open_at(position):
                position += len(piece)
                yield piece
            return
        except StorageError as error:
            failures = 1 if position - broken >= HEADWAY else failures + 1
            broken = position
            if failures == ATTEMPTS or not wait(error, failures):
                raise
