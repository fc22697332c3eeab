"""The threads of one upload: some read, some send; nobody else starts any, and none outlives its upload."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, Self, TypeVar

from headwater.store.blobwriter import Task
from headwater.upload.large import End, Piece, read_large

T = TypeVar("T")

READERS: Final = 4
SENDERS: Final = 3


class Pools:
    """The threads of one upload; none are made until there is work for two."""

    def __init__(self) -> None:
        self._readers: ThreadPoolExecutor | None = None
        self._senders: ThreadPoolExecutor | None = None
        self.stop = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for pool in (self._readers, self._senders):
            if pool is not None:
                pool.shutdown(wait=True, cancel_futures=True)

    def read(self, work: Callable[[], T]) -> Future[T]:
        """Start reading; units end in the order they were started, or nearly."""
        if self._readers is None:
            workers = max(2, min(READERS, os.cpu_count() or 2))
            self._readers = ThreadPoolExecutor(workers, thread_name_prefix="headwater-read")
        return self._readers.submit(work)

    def send(self, work: Callable[[], None]) -> Task:
        """Start a PUT. A small commit's only one runs here and now, for it has nothing to overlap with."""
        if self._senders is None and self._readers is None:
            work()
            return _Done()
        if self._senders is None:
            self._senders = ThreadPoolExecutor(SENDERS, thread_name_prefix="headwater-put")
        return self._senders.submit(work)


class _Done:
    """Work that is done."""

    def result(self) -> object:
        return None

    def done(self) -> bool:
        return True


class LargeRead:
    """A large file on its way from a reader to the writer; two pieces wait at most."""

    def __init__(self, path: str, stop: threading.Event) -> None:
        self._path, self._stop = path, stop
        self._pieces: queue.Queue[Piece | End | BaseException] = queue.Queue(maxsize=2)

    def run(self) -> None:
        try:
            for piece in read_large(self._path):
                self._pass_on(piece)
        except BaseException as error:  # noqa: BLE001  # raised again by the thread that waits for it
            self._pass_on(error)

    def _pass_on(self, piece: Piece | End | BaseException) -> None:
        while not self._stop.is_set():
            try:
                self._pieces.put(piece, timeout=0.1)
            except queue.Full:
                continue
            return

    def __iter__(self) -> Iterator[Piece | End]:
        while True:
            piece = self._pieces.get()
            if isinstance(piece, BaseException):
                raise piece
            yield piece
            if isinstance(piece, End):
                return
