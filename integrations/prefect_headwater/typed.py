"""How a step types where Prefect's own task does not: as a method, and through the futures of async functions.

step.submit(…), .map(…), .delay(…)   of an async function: futures of its result, not of its coroutine
step.submit(…, wait_for=[…])         a future
trainer.step(…)                      of a method: without `self`
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ParamSpec, TypeVar

from prefect import Task

P = ParamSpec("P")
R = TypeVar("R")

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any, Concatenate, Literal, TypeAlias, overload

    from prefect.client.schemas.objects import State
    from prefect.futures import PrefectDistributedFuture, PrefectFuture, PrefectFutureList

    from prefect_headwater.tasks import StepTask

    A = TypeVar("A")
    Q = ParamSpec("Q")
    Awaited: TypeAlias = Coroutine[Any, Any, A]

    class TypedTask(Task[P, R]):
        """Signatures only: what runs is Prefect's."""

        @overload
        def __get__(self, instance: None, owner: Any) -> StepTask[P, R]: ...
        @overload
        def __get__(self: Task[Concatenate[Any, Q], R], instance: object, owner: Any) -> StepTask[Q, R]: ...
        def __get__(self, instance: Any, owner: Any) -> Any: ...

        # The overlaps are meant: a checker takes the first form that fits.
        @overload  # type: ignore[override]
        def submit(  # type: ignore[overload-overlap]
            self: Task[P, Awaited[A]], *args: P.args, **kwargs: P.kwargs
        ) -> PrefectFuture[A]: ...
        @overload
        def submit(  # type: ignore[overload-overlap]
            self, *args: P.args, **kwargs: P.kwargs
        ) -> PrefectFuture[R]: ...
        @overload
        def submit(
            self: Task[P, Awaited[A]], *args: Any, return_state: Literal[True], wait_for: Any = ..., **kwargs: Any
        ) -> State[A]: ...
        @overload
        def submit(self, *args: Any, return_state: Literal[True], wait_for: Any = ..., **kwargs: Any) -> State[R]: ...
        @overload
        def submit(
            self: Task[P, Awaited[A]], *args: Any, wait_for: Any, return_state: Literal[False] = ..., **kwargs: Any
        ) -> PrefectFuture[A]: ...
        @overload
        def submit(
            self, *args: Any, wait_for: Any, return_state: Literal[False] = ..., **kwargs: Any
        ) -> PrefectFuture[R]: ...
        def submit(self, *args: Any, **kwargs: Any) -> Any: ...

        @overload  # type: ignore[override]
        def map(
            self: Task[P, Awaited[A]], *args: Any, return_state: Literal[True], **kwargs: Any
        ) -> list[State[A]]: ...
        @overload
        def map(self, *args: Any, return_state: Literal[True], **kwargs: Any) -> list[State[R]]: ...
        @overload
        def map(
            self: Task[P, Awaited[A]], *args: Any, return_state: Literal[False] = ..., **kwargs: Any
        ) -> PrefectFutureList[A]: ...
        @overload
        def map(self, *args: Any, return_state: Literal[False] = ..., **kwargs: Any) -> PrefectFutureList[R]: ...
        def map(self, *args: Any, **kwargs: Any) -> Any: ...

        @overload
        def delay(self: Task[P, Awaited[A]], *args: P.args, **kwargs: P.kwargs) -> PrefectDistributedFuture[A]: ...
        @overload
        def delay(self, *args: P.args, **kwargs: P.kwargs) -> PrefectDistributedFuture[R]: ...
        def delay(self, *args: Any, **kwargs: Any) -> Any: ...

else:
    TypedTask = Task
