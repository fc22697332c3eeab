"""What listeners do in Airflow's servers: aside, so that a repository that cannot be had holds up no scheduler."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

PATIENCE = 2.0
"""How long a server waits for it, seconds: usually it is done in a hundredth; then it goes on by itself."""

log = logging.getLogger("airflow.headwater")
_threads: dict[int, ThreadPoolExecutor] = {}
_pending: dict[int, Future[None]] = {}


def do(work: Callable[[], object]) -> None:
    """Do it in this process's one thread for such work, in order; never raises, waits only if nothing is in arrears."""
    here = os.getpid()  # a fork has neither the thread nor the arrears of its parent
    if here not in _threads:
        _threads[here] = ThreadPoolExecutor(1, "headwater-aside")
    arrears = _pending.get(here)
    _pending[here] = _threads[here].submit(_quietly, work)
    if arrears is None or arrears.done():
        wait([_pending[here]], PATIENCE)


def _quietly(work: Callable[[], object]) -> None:
    try:
        work()
    except Exception as error:  # noqa: BLE001 - nobody could do anything about it there
        log.warning("headwater could not follow: %s", error)
