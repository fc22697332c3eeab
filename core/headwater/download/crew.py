"""A bounded crew of threads for one journey: results in order, never more jobs under way than memory allows."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType

R = TypeVar("R")

LOCAL_WORKERS = 3
REMOTE_WORKERS = 8
AHEAD = 2
"""Jobs that may wait beside those that the workers do; each holds at most `stored.BATCH` raw bytes."""


class Crew:
    """Threads that live as long as the `with` block. The first failure ends it; what has not begun never does."""

    def __init__(self, workers: int) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="headwater-download")
        self._most = workers + AHEAD

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def run(self, jobs: Iterable[Callable[[], R]]) -> Iterator[R]:
        """The results of `jobs`, in their order; a job is taken from the iterable only when there is room for it."""
        waiting: deque[Future[R]] = deque()
        for job in jobs:
            waiting.append(self._pool.submit(job))
            if len(waiting) >= self._most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def crew_for(url: str) -> Crew:
    """A crew as large as the store at `url` rewards: a remote one answers many at once."""
    local = url.startswith(("file:", "memory:"))
    return Crew(LOCAL_WORKERS if local else REMOTE_WORKERS)
