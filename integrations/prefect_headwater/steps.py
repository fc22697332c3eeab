"""How `step` types: `headwater.step`'s forms, with Prefect's tasks around them.

@step                        (x: Version[Path]) -> float     Task, called: float
@step(log="a", retries=2)    (day: str) -> Path              Task, called: Version[Path]
@step(log=("a", "b"))        () -> tuple[Path, int]          Task, called: tuple[Version[Path], Version[int]]
@step(log={"train": "a"})    () -> dict[str, Path]           Task, called: dict[str, Version[Path]]
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterator, Mapping
from typing import Any, ParamSpec, Protocol, TypeVar, Unpack, overload

from prefect.tasks import TaskOptions

from headwater import Artifact, Log, Version
from prefect_headwater.tasks import StepTask

P = ParamSpec("P")
R = TypeVar("R")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")


class StepOptions(TaskOptions, total=False):
    """Prefect's options for tasks, and two of ours."""

    project: str | None
    asset: bool


class LogsNothing(Protocol):
    """What `@step()` does to a function."""

    def __call__(self, fn: Callable[P, R], /) -> StepTask[P, R]: ...


# The overlaps are meant: a checker takes the first form that fits, and each later form is the wider one.
class LogsOne(Protocol):
    """What `@step(log="a")` does to a function."""

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, fn: Callable[P, Coroutine[Any, Any, Version[A]]], /
    ) -> StepTask[P, Coroutine[Any, Any, Version[A]]]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, fn: Callable[P, Coroutine[Any, Any, Artifact]], /
    ) -> StepTask[P, Coroutine[Any, Any, Version[Any]]]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, fn: Callable[P, Coroutine[Any, Any, A]], /
    ) -> StepTask[P, Coroutine[Any, Any, Version[A]]]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, fn: Callable[P, AsyncIterator[A]], /
    ) -> StepTask[P, AsyncGenerator[Version[A], None]]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, fn: Callable[P, Iterator[A]], /
    ) -> StepTask[P, Generator[Version[A], None, None]]: ...
    @overload
    def __call__(self, fn: Callable[P, Version[A]], /) -> StepTask[P, Version[A]]: ...
    @overload
    def __call__(self, fn: Callable[P, Artifact], /) -> StepTask[P, Version[Any]]: ...
    @overload
    def __call__(self, fn: Callable[P, A], /) -> StepTask[P, Version[A]]: ...


class LogsTwo(Protocol):
    """What `@step(log=("a", "b"))` does to a function."""

    @overload
    def __call__(
        self, fn: Callable[P, Coroutine[Any, Any, tuple[A, B]]], /
    ) -> StepTask[P, Coroutine[Any, Any, tuple[Version[A], Version[B]]]]: ...
    @overload
    def __call__(self, fn: Callable[P, tuple[A, B]], /) -> StepTask[P, tuple[Version[A], Version[B]]]: ...


class LogsThree(Protocol):
    """What `@step(log=("a", "b", "c"))` does to a function."""

    @overload
    def __call__(
        self, fn: Callable[P, Coroutine[Any, Any, tuple[A, B, C]]], /
    ) -> StepTask[P, Coroutine[Any, Any, tuple[Version[A], Version[B], Version[C]]]]: ...
    @overload
    def __call__(
        self, fn: Callable[P, tuple[A, B, C]], /
    ) -> StepTask[P, tuple[Version[A], Version[B], Version[C]]]: ...


class LogsMany(Protocol):
    """What a longer tuple of names does to a function: the handles are untyped."""

    @overload
    def __call__(
        self, fn: Callable[P, Coroutine[Any, Any, tuple[Any, ...]]], /
    ) -> StepTask[P, Coroutine[Any, Any, tuple[Version[Any], ...]]]: ...
    @overload
    def __call__(self, fn: Callable[P, tuple[Any, ...]], /) -> StepTask[P, tuple[Version[Any], ...]]: ...


class LogsMapping(Protocol):
    """What `@step(log={"train": "a"})` does to a function."""

    @overload
    def __call__(
        self, fn: Callable[P, Coroutine[Any, Any, Mapping[str, A]]], /
    ) -> StepTask[P, Coroutine[Any, Any, dict[str, Version[A]]]]: ...
    @overload
    def __call__(self, fn: Callable[P, Mapping[str, A]], /) -> StepTask[P, dict[str, Version[A]]]: ...


@overload
def step(fn: Callable[P, R], /) -> StepTask[P, R]: ...
@overload
def step(*, log: str | Log, **options: Unpack[StepOptions]) -> LogsOne: ...
@overload
def step(  # type: ignore[overload-overlap]
    *, log: tuple[str | Log, str | Log], **options: Unpack[StepOptions]
) -> LogsTwo: ...
@overload
def step(  # type: ignore[overload-overlap]
    *, log: tuple[str | Log, str | Log, str | Log], **options: Unpack[StepOptions]
) -> LogsThree: ...
@overload
def step(*, log: tuple[str | Log, ...], **options: Unpack[StepOptions]) -> LogsMany: ...
@overload
def step(*, log: Mapping[str, str | Log], **options: Unpack[StepOptions]) -> LogsMapping: ...
@overload
def step(*, log: None = None, **options: Unpack[StepOptions]) -> LogsNothing: ...
def step(fn: Any = None, /, *, log: Any = None, **options: Any) -> Any:
    """Make a function a Prefect task that remembers: `@task` and `@headwater.step` in one.

    Each task run is a Headwater run (each retry an attempt of it) in the group of its flow run. It uses the handles
    in its arguments, parameters with `hw.Use(name)`, and what its body calls `hw.use` for; with `log=` its results
    become versions before Prefect hears of success, and its callers get handles. `step.fn()` outside a run just
    calls the function.

    Args:
        fn: The function, for the bare `@step`.
        log: The artifacts its results become; nothing if left out.
        **options: Those of `prefect.task`; `project`, where its run and names without a project live; `asset=True`,
            to show its results as Prefect assets too.

    Raises:
        InvalidInputError: At decoration: not a function, a task already, or a name that cannot be one.
        TypeError: An option Prefect does not know.
    """
    if fn is not None:
        return StepTask(fn, log=log, **options)
    return lambda fn: StepTask(fn, log=log, **options)
