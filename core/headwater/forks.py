"""What must be still when a process forks.

SQLite keeps its locks in tables of the process, by file. A child inherits the
tables but not the locks: it would believe that it holds what it does not, and
wait for ever for transactions of threads that it does not have. So connections
to files are closed before a fork, once the transactions under way have ended,
and both sides open new ones. Connections to a server are merely left alone by
the child.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from typing import TYPE_CHECKING, Protocol

from headwater.errors import StateError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator

PATIENCE = 5.0
"""How long a fork waits for transactions of other threads, seconds; after that the child may not use the file."""


class Forkable(Protocol):
    """Something that has connections."""

    def before_fork(self) -> None:
        """Be still."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Start anew."""


class Gate:
    """Counts the transactions under way, and keeps new ones out while the process forks."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._shut = False

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Be inside for the length of the block."""
        with self._changed:
            self._changed.wait_for(lambda: not self._shut)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    def shut(self) -> bool:
        """Let nobody in, wait until everybody is out; whether they are."""
        with self._changed:
            self._shut = True
            return self._changed.wait_for(lambda: self._inside == 0, PATIENCE)

    def open(self) -> None:
        """Let them in again."""
        with self._changed:
            self._shut = False
            self._changed.notify_all()


class Solo:
    """A connection to a SQLite file that one thread at a time uses, and no process inherits.

    Args:
        connect: Opens it, when it is first used and after every fork.
        forget: Called in a forked child: what else the object has that was the parent's.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection], forget: Callable[[], None] | None = None) -> None:
        self.lock = threading.RLock()
        self._connect, self._forget = connect, forget
        self._db: sqlite3.Connection | None = None
        self._inherited: list[sqlite3.Connection] = []
        """Never closed: that would give up locks of the parent."""
        self._held = False
        remember(self)

    @contextlib.contextmanager
    def use(self) -> Iterator[sqlite3.Connection]:
        """The connection, for this thread alone.

        Raises:
            StateError: This process was forked in the middle of somebody's long transaction.
        """
        with self.lock:
            if self._inherited:
                raise StateError(what="the process forked in the middle of a long transaction", fix="fork earlier")
            if self._db is None:
                self._db = self._connect()
            yield self._db

    def close(self) -> None:
        """Let go of the file; the next use opens it again."""
        with self.lock:
            if self._db is not None:
                self._db.close()
            self._db = None

    def before_fork(self) -> None:
        """Close the connection, when another thread's use of it has ended."""
        self._held = self.lock.acquire(timeout=PATIENCE)
        if self._held:
            self.close()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        if self._held:
            self._held = False
            self.lock.release()

    def after_fork_in_child(self) -> None:
        """Start anew."""
        self.lock, self._held = threading.RLock(), False
        if self._db is not None:
            self._inherited.append(self._db)
            self._db = None
        if self._forget is not None:
            self._forget()


_known: weakref.WeakSet[Forkable] = weakref.WeakSet()
_registered: list[bool] = []


def remember(one: Forkable) -> None:
    """Tell `one` of every fork from now on."""
    if not _registered:
        _registered.append(True)
        os.register_at_fork(
            before=lambda: _all("before_fork"),
            after_in_parent=lambda: _all("after_fork_in_parent"),
            after_in_child=lambda: _all("after_fork_in_child"),
        )
    _known.add(one)


def _all(method: str) -> None:
    for one in list(_known):
        getattr(one, method)()
