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

if TYPE_CHECKING:
    from collections.abc import Iterator

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
