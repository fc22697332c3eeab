"""How `@hw.step` types, for mypy and pyright alike.

    @hw.step                       (x: Version[Path]) -> float      called: float
    @hw.step(log="a")              () -> Path                       called: Version[Path]
    @hw.step(log=("a", "b"))       () -> tuple[Path, int]           called: tuple[Version[Path], Version[int]]
    @hw.step(log={"train": "a"})   () -> dict[str, Path]            called: dict[str, Version[Path]]

Coroutines, iterators and async iterators stay what they are around it; `Version[T]` and `Artifact`
as results become `Version[T]` and `Version[Any]`. At run time a step is a real function; these
protocols only describe it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, overload

from typing_extensions import TypeVar

if TYPE_CHECKING:
    from headwater.artifact import Artifact
    from headwater.version import Version

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R", covariant=True)  # noqa: PLC0105 - one letter each, they fill every line below
"""What the user's function returns."""
O = TypeVar("O", covariant=True)  # noqa: E741, PLC0105 - the letter of "out", beside R
"""What calling the step gives."""
S = TypeVar("S")
S_contra = TypeVar("S_contra", contravariant=True)
X = TypeVar("X")
Y = TypeVar("Y")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")


class Step(Protocol[P, R, O]):  # type: ignore[misc]  # mypy finds them invariant by the __get__ of class methods
    """A function that remembers: a real function of the user's kind, with the user's parameters."""

    __name__: str
    __qualname__: str
    __module__: str

    @property
    def fn(self) -> Callable[P, R]:
        """The user's function; calling it records nothing."""

    @property
    def __wrapped__(self) -> Callable[P, R]: ...

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> O: ...

    @overload
    def __get__(self, obj: None, owner: type[Any], /) -> StepOfClass[P, R, O]: ...
    @overload
    def __get__(
        self: Step[Concatenate[S, Q], X, Y], obj: S, owner: type[Any] | None = None, /
    ) -> BoundStep[S, Q, X, Y]: ...
    @overload
    def __get__(
        self: Step[Concatenate[type[S], Q], X, Y], obj: S, owner: type[Any] | None = None, /
    ) -> BoundStep[type[S], Q, X, Y]: ...
    @overload
    def __get__(self, obj: object, owner: type[Any] | None = None, /) -> Step[P, R, O]: ...


class StepOfClass(Protocol[P, R, O]):
    """A step reached through its class: a class method has its class already, others want the object first."""

    __name__: str
    __qualname__: str

    @property
    def fn(self) -> Callable[P, R]:
        """The user's function as it was written."""

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> O: ...
    @overload
    def __call__(self: StepOfClass[Concatenate[type[S], Q], A, B], *args: Q.args, **kwargs: Q.kwargs) -> B: ...


class BoundStep(Protocol[S_contra, P, R, O]):
    """A step that is a method, reached through its object."""

    __name__: str
    __qualname__: str

    @property
    def fn(self) -> Callable[Concatenate[S_contra, P], R]:
        """The user's function as it was written: pass the object first."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> O: ...


class LogsNothing(Protocol):
    """What `@hw.step()` does to a function."""

    def __call__(self, fn: Callable[P, A], /) -> Step[P, A, A]: ...


# The overlaps are meant: a checker takes the first form that fits, and each later form is the wider one.
class LogsOne(Protocol):
    """What `@hw.step(log="a")` does to a function."""

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, fn: Callable[P, Coroutine[Any, Any, Version[A]]], /
    ) -> Step[P, Coroutine[Any, Any, Version[A]], Coroutine[Any, Any, Version[A]]]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, fn: Callable[P, Coroutine[Any, Any, Artifact]], /
    ) -> Step[P, Coroutine[Any, Any, Artifact], Coroutine[Any, Any, Version[Any]]]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, fn: Callable[P, Coroutine[Any, Any, A]], /
    ) -> Step[P, Coroutine[Any, Any, A], Coroutine[Any, Any, Version[A]]]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, fn: Callable[P, AsyncIterator[Version[A]]], /
    ) -> Step[P, AsyncIterator[Version[A]], AsyncIterator[Version[A]]]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, fn: Callable[P, AsyncIterator[A]], /
    ) -> Step[P, AsyncIterator[A], AsyncIterator[Version[A]]]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, fn: Callable[P, Iterator[Version[A]]], /
    ) -> Step[P, Iterator[Version[A]], Iterator[Version[A]]]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, fn: Callable[P, Iterator[A]], /
    ) -> Step[P, Iterator[A], Iterator[Version[A]]]: ...
    @overload
    def __call__(self, fn: Callable[P, Version[A]], /) -> Step[P, Version[A], Version[A]]: ...
    @overload
    def __call__(self, fn: Callable[P, Artifact], /) -> Step[P, Artifact, Version[Any]]: ...
    @overload
    def __call__(self, fn: Callable[P, A], /) -> Step[P, A, Version[A]]: ...


class LogsTwo(Protocol):
    """What `@hw.step(log=("a", "b"))` does to a function."""

    @overload
    def __call__(
        self, fn: Callable[P, Coroutine[Any, Any, tuple[A, B]]], /
    ) -> Step[P, Coroutine[Any, Any, tuple[A, B]], Coroutine[Any, Any, tuple[Version[A], Version[B]]]]: ...
    @overload
    def __call__(
        self, fn: Callable[P, AsyncIterator[tuple[A, B]]], /
    ) -> Step[P, AsyncIterator[tuple[A, B]], AsyncIterator[tuple[Version[A], Version[B]]]]: ...
    @overload
    def __call__(
        self, fn: Callable[P, Iterator[tuple[A, B]]], /
    ) -> Step[P, Iterator[tuple[A, B]], Iterator[tuple[Version[A], Version[B]]]]: ...
    @overload
    def __call__(self, fn: Callable[P, tuple[A, B]], /) -> Step[P, tuple[A, B], tuple[Version[A], Version[B]]]: ...


class LogsThree(Protocol):
    """What `@hw.step(log=("a", "b", "c"))` does to a function."""

    @overload
    def __call__(
        self, fn: Callable[P, Coroutine[Any, Any, tuple[A, B, C]]], /
    ) -> Step[
        P, Coroutine[Any, Any, tuple[A, B, C]], Coroutine[Any, Any, tuple[Version[A], Version[B], Version[C]]]
    ]: ...
    @overload
    def __call__(
        self, fn: Callable[P, tuple[A, B, C]], /
    ) -> Step[P, tuple[A, B, C], tuple[Version[A], Version[B], Version[C]]]: ...


class LogsMany(Protocol):
    """What a longer tuple of names does to a function: the handles are untyped."""

    @overload
    def __call__(
        self, fn: Callable[P, Coroutine[Any, Any, tuple[Any, ...]]], /
    ) -> Step[P, Coroutine[Any, Any, tuple[Any, ...]], Coroutine[Any, Any, tuple[Version[Any], ...]]]: ...
    @overload
    def __call__(self, fn: Callable[P, tuple[Any, ...]], /) -> Step[P, tuple[Any, ...], tuple[Version[Any], ...]]: ...


class LogsMapping(Protocol):
    """What `@hw.step(log={"train": "a"})` does to a function."""

    @overload
    def __call__(
        self, fn: Callable[P, Coroutine[Any, Any, Mapping[str, A]]], /
    ) -> Step[P, Coroutine[Any, Any, Mapping[str, A]], Coroutine[Any, Any, dict[str, Version[A]]]]: ...
    @overload
    def __call__(self, fn: Callable[P, Mapping[str, A]], /) -> Step[P, Mapping[str, A], dict[str, Version[A]]]: ...
