"""What a function looks like before it is called, and from outside after it became a step."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

import headwater as hw
from headwater import Version
from headwater.steps.inspection import outside_type, read_function


def plain(data: Path = hw.Use("mnist:latest"), lr: float = 0.1, *, cfg: Annotated[str, hw.Use("cfg")]) -> Path:
    """Trains."""
    return data


def test_injected_parameters_are_found_in_defaults_and_annotations() -> None:
    plan = read_function(plain)
    assert {name: i.use.name for name, i in plan.injected.items()} == {"data": "mnist:latest", "cfg": "cfg"}
    assert plan.injected["data"].wanted.value_type is Path


def test_from_outside_injected_parameters_and_the_changed_return_are_gone() -> None:
    made = hw.step(log="cnn")(plain)
    assert str(inspect.signature(made)) == "(*, lr: float = 0.1)"
    assert made.__annotations__ == {"lr": float}
    assert typing.get_type_hints(made) == {"lr": float}
    assert made.__name__ == "plain"
    assert made.__doc__ == "Trains."
    assert made.__module__ == __name__
    assert made.fn is plain
    assert made.__wrapped__ is plain
    assert inspect.getsource(made) == inspect.getsource(plain)


def test_a_step_that_logs_nothing_keeps_its_return() -> None:
    def evaluate(model: Version[Path]) -> float:
        return 0.1

    made = hw.step(evaluate)
    assert inspect.signature(made).return_annotation is float
    assert made.__annotations__ == {"model": Version, "return": float}


def test_from_outside_every_version_is_just_a_version() -> None:
    assert outside_type(Version[int]) is Version
    assert outside_type(list[Version[int]]) == list[Version]
    assert outside_type(dict[str, tuple[Version[int], ...]] | None) == dict[str, tuple[Version, ...]] | None
    assert outside_type(Annotated[Version[int], 3]) == Annotated[Version, 3]
    assert outside_type(Callable[[Version[int]], int]) == Callable[[Version[int]], int]
    assert outside_type(Literal["a"]) == Literal["a"]
    assert outside_type("Version[int]") == "Version[int]"


def test_a_mapping_of_results_still_says_that_it_is_a_dict() -> None:
    def split() -> dict[str, Path]:
        return {}

    assert inspect.signature(hw.step(log={"train": "a"})(split)).return_annotation == dict[str, Any]


def test_every_kind_of_function_stays_its_kind() -> None:
    def function() -> int:
        return 1

    async def coroutine() -> int:
        return 1

    def generator() -> Iterator[int]:
        yield 1

    async def stream() -> AsyncIterator[int]:
        yield 1

    for log in (None, "a"):
        make = hw.step(log=log)
        assert inspect.isfunction(make(function))
        assert not inspect.iscoroutinefunction(make(function))
        assert inspect.iscoroutinefunction(make(coroutine))
        assert inspect.isgeneratorfunction(make(generator))
        assert inspect.isasyncgenfunction(make(stream))


def test_annotations_that_only_type_checkers_can_read_still_tell_handles_from_values() -> None:
    namespace: dict[str, Any] = {}
    exec("def f(handle: 'Version[Path]', value: 'pd.DataFrame', number: int): ...", namespace)
    plan = read_function(namespace["f"])
    assert set(plan.unread) == {"handle", "value"}
    assert "handle" not in plan.wants
    assert plan.wants["value"].loads
    assert plan.wants["number"].value_type is int
    assert list(inspect.signature(hw.step(namespace["f"])).parameters) == ["handle", "value", "number"]


def test_annotations_of_things_defined_later_are_read_at_the_first_call() -> None:
    namespace: dict[str, Any] = {"hw": hw}
    exec("def f(x: 'Later' = None): return x", namespace)
    plan = read_function(namespace["f"])
    assert plan.wants["x"].value_type is None
    namespace["Later"] = int
    plan.bind((), {})
    assert plan.wants["x"].value_type is int
    assert not plan.unread


def test_binding_misses_what_python_would_miss() -> None:
    def f(a: int, b: int, /, c: int, data: str = hw.Use("d"), *rest: int, e: int, **more: int) -> None: ...

    plan = read_function(f)
    assert plan.bind((1, 2, 3), {"e": 5, "z": 6}).arguments == {"a": 1, "b": 2, "c": 3, "e": 5, "more": {"z": 6}}
    for args, kwargs in (((1, 2), {"e": 5}), ((1, 2, 3), {}), ((1,), {"c": 1, "e": 1})):
        with pytest.raises(TypeError, match="missing a required argument"):
            plan.bind(args, kwargs)
    with pytest.raises(TypeError):
        read_function(lambda a: a).bind((1, 2), {})


def test_what_cannot_be_a_step_is_refused_at_decoration() -> None:
    class NotAFunction: ...

    for wrong in (NotAFunction, NotAFunction(), print, 3, hw.step(lambda: 1)):
        with pytest.raises(hw.InvalidInputError):
            hw.step(wrong)  # type: ignore[call-overload]

    with pytest.raises(hw.InvalidInputError, match="passed by name"):

        @hw.step
        def positional(data: Path = hw.Use("a"), /) -> None: ...


if sys.version_info >= (3, 14):

    def test_annotations_without_quotes_may_name_things_defined_later() -> None:
        namespace: dict[str, Any] = {}
        exec(compile("def f(x: Later, h: Version[Later]): return x", "f", "exec", dont_inherit=True), namespace)
        plan = read_function(namespace["f"])
        assert set(plan.unread) == {"x", "h"}
        assert "h" not in plan.wants
