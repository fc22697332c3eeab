"""The threads of one upload: some read, some hash, some send; nobody else starts any, and none outlives its upload."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, Generic, NamedTuple, Self, TypeVar

from headwater.store.blobwriter import Task
from headwater.upload.large import Cut, End, Piece, name_chunks

T = TypeVar("T")

READERS: Final = 4
SENDERS: Final = 3


class Pools:
    """The threads of one upload; none are made until there is work for two."""

    def __init__(self) -> None:
        self._readers: ThreadPoolExecutor | None = None
        self._hashers: ThreadPoolExecutor | None = None
        self._senders: ThreadPoolExecutor | None = None
        self.stop = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for pool in (self._readers, self._hashers, self._senders):
            if pool is not None:
                pool.shutdown(wait=True, cancel_futures=True)

    def read(self, work: Callable[[], T]) -> Future[T]:
        """Start reading; units end in the order they were started, or nearly."""
        if self._readers is None:
            workers = max(2, min(READERS, os.cpu_count() or 2))
            self._readers = ThreadPoolExecutor(workers, thread_name_prefix="headwater-read")
        return self._readers.submit(work)

    def read_large(self, cut: Iterable[Cut], digest: bytes | None = None) -> Iterator[Piece | End]:
        """Start both stages of `large`, each in a thread of its own; give what the second gives."""
        chunks: _Pipe[Cut] = _Pipe(self.stop)
        pieces: _Pipe[Piece | End] = _Pipe(self.stop)
        self.read(lambda: chunks.fill(cut))
        if self._hashers is None:
            # files are taken in the order they were begun, so one that waits for a thread keeps no other waiting
            self._hashers = ThreadPoolExecutor(READERS, thread_name_prefix="headwater-hash")
        self._hashers.submit(lambda: pieces.fill(name_chunks(chunks, digest)))
        return iter(pieces)

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


class _Failed(NamedTuple):
    error: BaseException


class _Pipe(Generic[T]):
    """From one thread to another; two things wait in it at most. Errors cross; who waits gives up with the upload."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._things: queue.Queue[T | _Failed | None] = queue.Queue(maxsize=2)

    def fill(self, source: Iterable[T]) -> None:
        """Pass everything on, or the error that ends it."""
        try:
            for thing in source:
                self._pass_on(thing)
                if self._stop.is_set():
                    return
        except BaseException as error:  # noqa: BLE001  # raised again by the thread that waits for it
            self._pass_on(_Failed(error))
        else:
            self._pass_on(None)

    def _pass_on(self, thing: T | _Failed | None) -> None:
        while not self._stop.is_set():
            try:
                self._things.put(thing, timeout=0.1)
            except queue.Full:
                continue
            return

    def __iter__(self) -> Iterator[T]:
        while not self._stop.is_set():
            try:
                thing = self._things.get(timeout=0.1)
            except queue.Empty:
                continue
            if isinstance(thing, _Failed):
                raise thing.error
            if thing is None:
                return
            yield thing
