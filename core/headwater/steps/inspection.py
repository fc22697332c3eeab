"""Reading a function: what it wants injected, which of its parameters want values, how it looks from outside.

Everything here happens once, at decoration; only annotations that name things
defined later are read again at the first call.
"""

from __future__ import annotations

import collections.abc
import inspect
import re
import sys
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, Union, get_args, get_origin

from headwater.errors import InvalidInputError
from headwater.steps.declared import NOTHING, Outputs, Use
from headwater.steps.scan import HANDLE, Wanted
from headwater.version import Version

Kind: TypeAlias = Literal["function", "coroutine", "generator", "async generator"]

_VERSION_WORD = re.compile(r"\bVersion\b")
_SEQUENCES = (list, tuple, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_ANY_VALUE = (Any, object, inspect.Parameter.empty)


@dataclass(frozen=True, slots=True)
class Injected:
    """A parameter that the step fetches itself."""

    parameter: str
    use: Use
    wanted: Wanted
    """Of an absent annotation or `Version`: the handle."""


@dataclass(slots=True)
class Plan:
    """One function, read once; shared by all its calls and all threads."""

    fn: Callable[..., Any]
    kind: Kind
    outputs: Outputs
    project: str | None
    signature: inspect.Signature
    """The user's own, complete."""
    injected: dict[str, Injected] = field(default_factory=dict)
    wants: dict[str, Wanted] = field(default_factory=dict)
    """Parameters whose annotation is a plain type, or a container of plain types."""
    unread: dict[str, str] = field(default_factory=dict)
    """Annotations that could not be evaluated yet."""
    called: bool = False
    """What is unread then stays so, e.g. what is imported for type checkers only."""
    hints: dict[str, Any] = field(default_factory=dict)
    declared: dict[str, Any] = field(default_factory=dict)
    """Of a declared result, by artifact: the type its annotation says, for the choice of codec."""

    @property
    def name(self) -> str:
        """What runs of it are called."""
        return self.fn.__name__

    @property
    def where(self) -> str:
        """The function, for messages."""
        return f"{self.fn.__module__}.{self.fn.__qualname__}"

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> inspect.BoundArguments:
        """Bind a call; injected parameters may be missing, nothing else.

        Raises:
            TypeError: As calling the function itself would.
        """
        if self.unread and not self.called:
            self.called = True
            read_annotations(self)
        try:
            bound = self.signature.bind_partial(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.fn.__qualname__}() {error}") from None
        for name, parameter in self.signature.parameters.items():
            if name in bound.arguments or name in self.injected or parameter.default is not parameter.empty:
                continue
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise TypeError(f"{self.fn.__qualname__}() missing a required argument: {name!r}")
        return bound


def read_function(fn: Callable[..., Any], outputs: Outputs = NOTHING, project: str | None = None) -> Plan:
    """Read a function for use as a step.

    Raises:
        InvalidInputError: Not a function, already a step, or a `Use` where it cannot work.
    """
    if hasattr(fn, "__headwater_step__"):
        raise InvalidInputError(what=f"{fn.__qualname__} is a step already", fix="decorate it once")
    if not inspect.isfunction(fn):
        raise InvalidInputError(
            what=f"a step is made of a function, not of {fn!r}", fix="put @hw.step directly above the def"
        )
    plan = Plan(fn, kind_of(fn), outputs, project, signature_of(fn))
    read_annotations(plan)
    for name, parameter in plan.signature.parameters.items():
        if name in plan.injected and parameter.kind is not parameter.POSITIONAL_OR_KEYWORD:
            _check_injectable(plan, parameter)
    return plan


def signature_of(fn: Callable[..., Any]) -> inspect.Signature:
    """Its signature, with text for annotations that cannot be evaluated yet."""
    if sys.version_info >= (3, 14):  # where annotations without quotes are evaluated when first asked for
        import annotationlib

        return inspect.signature(fn, annotation_format=annotationlib.Format.FORWARDREF)
    return inspect.signature(fn)


def _check_injectable(plan: Plan, parameter: inspect.Parameter) -> None:
    if parameter.kind is not parameter.KEYWORD_ONLY:
        raise InvalidInputError(
            what=f"the parameter {parameter.name!r} of {plan.where} cannot be injected",
            fix="hw.Use works on parameters that can be passed by name",
        )


def kind_of(fn: Callable[..., Any]) -> Kind:
    """Which of the four kinds of function it is."""
    if inspect.isasyncgenfunction(fn):
        return "async generator"
    if inspect.iscoroutinefunction(fn):
        return "coroutine"
    return "generator" if inspect.isgeneratorfunction(fn) else "function"


def read_annotations(plan: Plan) -> None:
    """Fill `injected`, `wants` and `hints` from defaults and annotations; called again while some are unread."""
    plan.unread = {}
    for name, parameter in plan.signature.parameters.items():
        annotation = _evaluate(plan, name, parameter.annotation)
        use = parameter.default if isinstance(parameter.default, Use) else _annotated_use(annotation)
        wanted = read_wanted(annotation)
        if parameter.kind is parameter.VAR_POSITIONAL and (wanted.loads or wanted.items):
            wanted = Wanted(items=(wanted,))
        if parameter.kind is parameter.VAR_KEYWORD and (wanted.loads or wanted.items):
            wanted = Wanted(items=(wanted,))
        if use is not None:
            plan.injected[name] = Injected(name, use, wanted)
        if wanted.loads or wanted.items:
            plan.wants[name] = wanted
        if annotation is not parameter.empty:
            plan.hints[name] = annotation
    if plan.signature.return_annotation is not inspect.Signature.empty:
        plan.hints["return"] = _evaluate(plan, "return", plan.signature.return_annotation)
        types_of = _result_types(plan.hints["return"], plan)
        plan.declared = {log.name: found for log, found in zip(plan.outputs.logs, types_of) if _is_value_type(found)}


def _result_types(returned: Any, plan: Plan) -> tuple[Any, ...]:
    if plan.kind in ("generator", "async generator"):
        returned = (get_args(returned) or (None,))[0]
    args = get_args(returned)
    if plan.outputs.shape == "one":
        return (returned,)
    if plan.outputs.shape == "mapping" and len(args) == 2:
        return (args[1],) * len(plan.outputs.logs)
    return args if plan.outputs.shape == "tuple" and len(args) == len(plan.outputs.logs) else ()


def _is_value_type(annotation: Any) -> bool:
    """Whether a codec can be chosen by it: a real type, not text, a variable or one of ours that holds no value."""
    from headwater.artifact import Artifact  # loads what walks and hashes, which reading a function does not need

    if annotation in (None, Any, Artifact) or isinstance(annotation, str | TypeVar):
        return False
    return not _mentions_version(annotation)


def _evaluate(plan: Plan, name: str, annotation: Any) -> Any:
    if isinstance(annotation, typing.ForwardRef):
        annotation = annotation.__forward_arg__
    if not isinstance(annotation, str):
        return annotation
    probe = types.SimpleNamespace(__annotations__={name: annotation})
    local = dict(_closure(plan.fn))
    try:
        return typing.get_type_hints(probe, plan.fn.__globals__, local, include_extras=True)[name]
    except Exception:  # noqa: BLE001 - annotations may run anything; one that fails is text until it can be read
        plan.unread[name] = annotation
        return annotation


def _closure(fn: Callable[..., Any]) -> Mapping[str, Any]:
    cells = zip(fn.__code__.co_freevars, fn.__closure__ or ())
    found = {}
    for name, cell in cells:
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    return found


def _annotated_use(annotation: Any) -> Use | None:
    if get_origin(annotation) is not Annotated:
        return None
    return next((extra for extra in get_args(annotation)[1:] if isinstance(extra, Use)), None)


def read_wanted(annotation: Any) -> Wanted:
    """What a handle that arrives at a parameter with that annotation should become."""
    if isinstance(annotation, str):  # not evaluable, e.g. imported for type checkers only
        return HANDLE if _VERSION_WORD.search(annotation) else Wanted(loads=True)
    if get_origin(annotation) is Annotated:
        return read_wanted(get_args(annotation)[0])
    if annotation in _ANY_VALUE or isinstance(annotation, TypeVar) or _mentions_version(annotation):
        return HANDLE
    if get_origin(annotation) in (Union, types.UnionType):
        options = [option for option in get_args(annotation) if option is not type(None)]
        return read_wanted(options[0]) if len(options) == 1 else Wanted(loads=True)
    return Wanted(loads=True, value_type=annotation, items=_item_wants(annotation))


def _item_wants(annotation: Any) -> tuple[Wanted, ...]:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in _MAPPINGS and len(args) == 2:
        return _if_any_loads((read_wanted(args[1]),))
    if origin in _SEQUENCES and args:
        return _if_any_loads(tuple(read_wanted(arg) for arg in args if arg is not Ellipsis))
    return ()


def _if_any_loads(items: tuple[Wanted, ...]) -> tuple[Wanted, ...]:
    return items if any(item.loads or item.items for item in items) else ()


def _mentions_version(annotation: Any) -> bool:
    origin = get_origin(annotation) or annotation
    if isinstance(origin, type) and issubclass(origin, Version):
        return True
    if isinstance(annotation, typing.ForwardRef):
        return bool(_VERSION_WORD.search(annotation.__forward_arg__))
    return any(_mentions_version(arg) for arg in get_args(annotation) if not isinstance(arg, str))


def outside_signature(plan: Plan) -> inspect.Signature:
    """The signature callers and orchestrators see: without injected parameters and the changed return.

    Parameters behind an injected one are keyword-only there: by position they would land elsewhere.
    """
    seen: list[inspect.Parameter] = []
    after_injected = False
    for name, parameter in plan.signature.parameters.items():
        if name in plan.injected:
            after_injected = True
            continue
        parameter = parameter.replace(annotation=outside_type(plan.hints.get(name, parameter.annotation)))
        if after_injected and parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            parameter = parameter.replace(kind=parameter.KEYWORD_ONLY)
        seen.append(parameter)
    seen.sort(key=lambda parameter: parameter.kind)  # keyword-only ones behind *args
    return inspect.Signature(seen, return_annotation=_outside_return(plan))


def outside_type(annotation: Any) -> Any:
    """The annotation with `Version` for every `Version[T]`: Dagster takes classes only, and nobody needs T there."""
    origin, args = get_origin(annotation), get_args(annotation)
    if isinstance(origin, type) and issubclass(origin, Version):
        return Version
    if not args or origin is Literal or not _mentions_version(annotation):
        return annotation
    if origin is Annotated:
        return Annotated[(outside_type(args[0]), *args[1:])]
    if origin in (Union, types.UnionType):
        return Union[tuple(outside_type(arg) for arg in args)]  # noqa: UP007 - made of values, not written
    inner = tuple(outside_type(arg) for arg in args)
    return types.GenericAlias(origin, inner) if isinstance(origin, type) else annotation


def outside_annotations(plan: Plan) -> dict[str, Any]:
    """The annotations that go with `outside_signature`."""
    returned = _outside_return(plan)
    hints = {name: hint for name, hint in plan.hints.items() if name != "return" and name not in plan.injected}
    seen = {name: outside_type(hint) for name, hint in hints.items()}
    return seen if returned is inspect.Signature.empty else {**seen, "return": returned}


def _outside_return(plan: Plan) -> Any:
    if plan.outputs.shape == "nothing":
        return outside_type(plan.hints.get("return", inspect.Signature.empty))
    # Airflow infers from a dict that results become several XComs; handles in other shapes mean nothing to anybody.
    many = plan.outputs.shape == "mapping" and plan.kind in ("function", "coroutine")
    return dict[str, Any] if many else inspect.Signature.empty
