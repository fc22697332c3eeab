"""One daemon thread per process keeps runs and leases alive.

A run's lease is 3 minutes, renewed every 30 seconds; a writer's lease on bytes
is 30 minutes, renewed every 5. Nothing is carried over a fork: the child starts
with an empty heart, and its parent goes on renewing what the parent opened.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from headwater.errors import HeadwaterError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headwater.ports import PackCatalog, RunCatalog

RUN_BEAT_SECONDS = 30.0
LEASE_BEAT_SECONDS = 300.0

_log = logging.getLogger("headwater")


class Heart:
    """Renews what it watches; failures are logged and tried again at the next beat."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._runs: dict[str, tuple[RunCatalog, int]] = {}
        self._leases: list[Leases] = []

    def watch_run(self, runs: RunCatalog, run_id: str, fence: int) -> None:
        """Renew this run's lease until `forget_run`, or until another executor has taken it over."""
        with self._lock:
            self._runs[run_id] = (runs, fence)
            self._start()

    def forget_run(self, run_id: str) -> None:
        """The run has ended; idempotent."""
        with self._lock:
            self._runs.pop(run_id, None)

    def watch_leases(self, leases: Leases) -> None:
        """Renew this client's lease on bytes while the process lives."""
        with self._lock:
            if leases not in self._leases:
                self._leases.append(leases)
            self._start()

    def forget_leases(self, leases: Leases) -> None:
        """That client is closed; idempotent."""
        with self._lock:
            if leases in self._leases:
                self._leases.remove(leases)

    def beat(self, *, leases_too: bool = True) -> None:
        """Renew everything once, now."""
        with self._lock:
            runs, leases = dict(self._runs), list(self._leases)
        for catalog in {id(c): c for c, _ in runs.values()}.values():
            mine = {run_id: fence for run_id, (c, fence) in runs.items() if c is catalog}
            self._renew_runs(catalog, mine)
        for lease in leases if leases_too else ():
            lease.renew()

    def _renew_runs(self, catalog: RunCatalog, mine: dict[str, int]) -> None:
        try:
            alive = catalog.renew(mine)
        except HeadwaterError as error:
            _log.warning("could not renew %d run(s), trying again: %s", len(mine), error)
            return
        for run_id in mine.keys() - alive.keys():
            self.forget_run(run_id)

    def _start(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._live, name="headwater-heartbeat", daemon=True)
            self._thread.start()

    def _live(self) -> None:
        last_lease = time.monotonic()
        while not self._wake.wait(RUN_BEAT_SECONDS):
            due = time.monotonic() - last_lease >= LEASE_BEAT_SECONDS
            try:
                self.beat(leases_too=due)
            except Exception:  # noqa: BLE001  # the thread must outlive any one bad beat
                _log.exception("heartbeat failed, trying again")
            last_lease = time.monotonic() if due else last_lease


class Leases:
    """This process's lease on bytes in one repository, opened at the first write, given up when idle.

    One lease serves all threads. Its holds pile up while it is used; the first
    beat that finds it idle closes it, so a long-lived worker never keeps packs
    from being collected for longer than a beat.
    """

    def __init__(self, packs: PackCatalog, owner: str) -> None:
        self._packs = packs
        self._owner = owner
        self.after_fork()

    def after_fork(self) -> None:
        """Start empty: in a child, a lock may have been held by a thread that does not exist here."""
        self._lock = threading.Lock()
        self._held: str | None = None
        self._borrowers = 0
        self._used = False

    @contextmanager
    def borrow(self) -> Iterator[str]:
        """The id of a lease that holds for the length of the block; one transaction when it is opened, else none."""
        with self._lock:
            if self._held is None:
                self._held = self._packs.open_lease(f"{self._owner} pid {os.getpid()}")
                heart.watch_leases(self)
            self._borrowers += 1
            self._used = True
            lease = self._held
        try:
            yield lease
        finally:
            with self._lock:
                self._borrowers -= 1

    def renew(self) -> None:
        """Extend the lease, or close it if nobody used it since the last beat."""
        with self._lock:
            if self._held is None:
                return
            idle, self._used = not (self._borrowers or self._used), False
            try:
                if idle:
                    self._packs.close_lease(self._held)
                    self._held = None
                else:
                    self._packs.renew_leases([self._held])
            except HeadwaterError as error:
                _log.warning("the lease on bytes was not renewed: %s", error)
                self._held = None

    def lapsed(self, lease: str) -> None:
        """The catalog no longer knows this lease: the next borrower opens another."""
        with self._lock:
            if self._held == lease:
                self._held = None

    def close(self) -> None:
        """Give the lease and its holds up; idempotent."""
        heart.forget_leases(self)  # else the heart would keep every repository that was ever opened
        with self._lock:
            held, self._held = self._held, None
        if held is not None:
            self._packs.close_lease(held)


heart = Heart()


def _after_fork() -> None:
    inherited = heart._leases  # noqa: SLF001  # the heart's own afterlife
    heart.__init__()  # type: ignore[misc]  # same object: others hold a reference to it
    for leases in inherited:
        leases.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
