"""`@hw.step`: a real function of the user's kind that records what it uses and what it makes."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from typing import Any, TypeVar, overload

from headwater.run import current, open_run
from headwater.runspec import RunSpec
from headwater.steps.ambient import current_identity, default_home, join
from headwater.steps.binding import Host, Hosted, begin
from headwater.steps.declared import Out, Outputs, read_outputs
from headwater.steps.inspection import Plan, outside_annotations, outside_signature, read_function
from headwater.steps.protocols import (
    LogsMany,
    LogsMapping,
    LogsNothing,
    LogsOne,
    LogsThree,
    LogsTwo,
    P,
    Step,
)

A = TypeVar("A")


@overload
def step(fn: Callable[P, A], /) -> Step[P, A, A]: ...
@overload
def step(*, log: Out, project: str | None = None) -> LogsOne: ...
@overload
def step(*, log: tuple[Out, Out], project: str | None = None) -> LogsTwo: ...
@overload
def step(*, log: tuple[Out, Out, Out], project: str | None = None) -> LogsThree: ...
@overload
def step(*, log: tuple[Out, ...], project: str | None = None) -> LogsMany: ...
@overload
def step(*, log: Mapping[str, Out], project: str | None = None) -> LogsMapping: ...
@overload
def step(*, log: None = None, project: str | None = None) -> LogsNothing: ...
def step(fn: Any = None, /, *, log: Any = None, project: str | None = None) -> Any:
    """Make a function a step: each call is a run that remembers what it used and what it logged.

    Inputs are the handles in its arguments (also nested in lists, dicts, sets, dataclasses), parameters with
    `hw.Use(name)`, and what the body calls `hw.use` for. With `log=` its results become versions, published
    together at the end, and the caller gets handles instead: `"a"`, `("a", "b")` for a tuple, `{"key": "a"}` for a
    mapping. A step that raises keeps its uses and publishes nothing half done.

    Works on functions, coroutines, generators, async generators and methods; the result is a function of that kind.
    `.fn` is the function as it was written: calling it records nothing.

    Args:
        fn: The function, for the bare `@hw.step`.
        log: The artifacts its results become; nothing if left out.
        project: Where its run and its names without a project live; the current project if left out.

    Raises:
        InvalidInputError: At decoration: not a function, or a name that cannot be one.
    """
    if fn is not None:
        return make_step(fn, read_outputs(log), project)
    outputs = read_outputs(log)
    return functools.partial(make_step, outputs=outputs, project=project)


def make_step(fn: Any, outputs: Outputs, project: str | None = None, host: Host | None = None) -> Any:
    """The step made of `fn`; adapters bring their own `host`. A classmethod or staticmethod object stays one."""
    if isinstance(fn, classmethod | staticmethod):
        return type(fn)(make_step(fn.__func__, outputs, project, host))
    plan = read_function(fn, outputs, project)
    made: Any = functools.wraps(fn)(_KINDS[plan.kind](plan, host or own_run))
    made.fn = fn
    made.__headwater_step__ = plan
    made.__signature__ = outside_signature(plan)
    made.__annotations__ = outside_annotations(plan)
    return made


def own_run(plan: Plan, config: Mapping[str, Any]) -> Hosted:
    """A run of its own: child of the run around it, or that of the orchestrator's task it stands for."""
    outer = current.get()
    if outer is None:
        identity = current_identity()
        if identity is not None:
            outer = join(identity)
            if not identity.container:
                return Hosted(run=outer, owns=False)
    if outer is None:
        return Hosted(run=open_run(default_home(), RunSpec(name=plan.name, project=plan.project, config=dict(config))))
    spec = RunSpec(
        name=plan.name, project=plan.project or outer.project, config=dict(config), group=outer.group, parent=outer.id
    )
    return Hosted(run=open_run(outer.home, spec))


# The wrappers below are copied by value where a step defined in __main__ is sent to another process (cloudpickle),
# so they close over plan and host only and reach everything else through importable functions.
def _function(plan: Plan, host: Host) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        call = begin(plan, host, args, kwargs)
        try:
            with call.active():
                result = plan.fn(*call.args, **call.kwargs)
            return call.returned(result)
        except BaseException as error:
            call.raised(error)
            raise

    return wrapper


def _coroutine(plan: Plan, host: Host) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        call = begin(plan, host, args, kwargs)
        try:
            with call.active():
                result = await plan.fn(*call.args, **call.kwargs)
            return call.returned(result)
        except BaseException as error:
            call.raised(error)
            raise

    return wrapper


def _generator(plan: Plan, host: Host) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        call = begin(plan, host, args, kwargs)
        body = plan.fn(*call.args, **call.kwargs)
        resume: Callable[[], Any] = functools.partial(next, body)
        try:
            while True:
                try:
                    with call.active():
                        value = resume()
                except StopIteration as stop:
                    call.ended()
                    return stop.value
                handed = call.yielded(value)
                try:
                    sent = yield handed
                except GeneratorExit:
                    with call.active():
                        body.close()
                    call.ended()
                    raise
                except BaseException as thrown:  # noqa: BLE001 - the body gets whatever the consumer threw in
                    resume = functools.partial(body.throw, thrown)
                else:
                    resume = functools.partial(body.send, sent)
        except GeneratorExit:
            raise
        except BaseException as error:
            call.raised(error)
            raise

    return wrapper


def _async_generator(plan: Plan, host: Host) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        call = begin(plan, host, args, kwargs)
        body = plan.fn(*call.args, **call.kwargs)
        resume: Callable[[], Any] = body.__anext__
        try:
            while True:
                try:
                    with call.active():
                        value = await resume()
                except StopAsyncIteration:
                    call.ended()
                    return
                handed = call.yielded(value)
                try:
                    sent = yield handed
                except GeneratorExit:
                    with call.active():
                        await body.aclose()
                    call.ended()
                    raise
                except BaseException as thrown:  # noqa: BLE001 - as in _generator
                    resume = functools.partial(body.athrow, thrown)
                else:
                    resume = functools.partial(body.asend, sent)
        except GeneratorExit:
            raise
        except BaseException as error:
            call.raised(error)
            raise

    return wrapper


_KINDS = {
    "function": _function,
    "coroutine": _coroutine,
    "generator": _generator,
    "async generator": _async_generator,
}
