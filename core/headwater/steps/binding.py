"""One call of a step: inputs are bound and recorded, the function runs, its results are logged together.

Every adapter shares this. It brings a `Host`: a callable that says, for one call,
which run records it and who ends that run; the rest is the same everywhere.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from headwater import settings
from headwater.errors import HeadwaterError
from headwater.run import current
from headwater.steps.scan import find_handles, wanted_values
from headwater.steps.unrecorded import Unrecorded, hand_back, lenient, read_only, unrecorded_run
from headwater.version import Version

if TYPE_CHECKING:
    import inspect

    from headwater.model.records import RunState
    from headwater.run import Run
    from headwater.steps.declared import Log
    from headwater.steps.inspection import Plan

MAX_TEXT = 1_000
"""Longest text argument that goes into a run's config, characters."""
MAX_ITEMS = 100
"""Largest list or dict argument that does."""
MAX_NESTING = 3

_log = logging.getLogger("headwater")


def state_after(error: BaseException) -> RunState:
    """How a run ended that this exception left: cancelled from outside, or failed."""
    asyncio = sys.modules.get("asyncio")  # not imported for this: without it nothing of it can be cancelled
    signals = (KeyboardInterrupt,) if asyncio is None else (KeyboardInterrupt, asyncio.CancelledError)
    return "cancelled" if isinstance(error, signals) else "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosted:
    """The run that records one call, and what its host wants of it."""

    run: Run
    owns: bool = True
    """The call ends the run. False: it joined one that somebody else ends."""
    publish: bool = True
    """False: declared results stay drafts, handed to `recorded`; their host publishes or discards them."""
    state_after: Callable[[BaseException], RunState] = state_after
    """For hosts whose frameworks signal by exceptions, such as skips and deferrals."""
    recorded: Callable[[Run, Sequence[Version[Any]]], None] | None = None
    """Told the versions of the declared results, after they are logged and before the caller gets them."""


Host: TypeAlias = Callable[["Plan", Mapping[str, Any]], Hosted | None]
"""`host(plan, config)`: open or join the run for one call; `config` are its plain arguments.

None: this call is not an execution of its orchestrator, e.g. one in a unit test; the function is just called.
"""


class Call:
    """One recorded call, from its arguments to the handles its caller gets. Used by one thread at a time."""

    def __init__(self, plan: Plan, hosted: Hosted, bound: inspect.BoundArguments) -> None:
        self._plan = plan
        self._hosted = hosted
        self._pending: list[tuple[Log, Version[Any]]] = []
        try:
            with self.active():
                self._bind(bound)
        except BaseException as error:
            self.raised(error)
            raise

    @property
    def run(self) -> Run:
        """The run that records this call."""
        return self._hosted.run

    def _bind(self, bound: inspect.BoundArguments) -> None:
        plan, run = self._plan, self.run
        handles: list[tuple[str | Version[Any], str | None]] = []
        for name, value in bound.arguments.items():
            found = find_handles(value, f"the arguments of {plan.where}")
            handles += [(handle, name) for handle in found if not isinstance(handle, Unrecorded)]
        missing = [wanted for name, wanted in plan.injected.items() if name not in bound.arguments]
        fresh = {i.parameter: (i.use.name, i.use.role or i.parameter) for i in missing if i.use.fresh}
        usual = {i.parameter: (i.use.name, i.use.role or i.parameter) for i in missing if not i.use.fresh}
        used = run.use_many([*usual.values(), *handles])  # one transaction; fresh ones, which are rare, another
        injected = dict(zip(usual, used)) | dict(zip(fresh, run.use_many(list(fresh.values()), fresh=True)))
        self.args, self.kwargs = complete(plan, bound, injected)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Inside the block `hw.current_run()` is this call's run; in generators only while their body runs."""
        token = current.set(self.run)
        try:
            yield
        finally:
            current.reset(token)

    # -- results -----------------------------------------------------------------
    def returned(self, result: Any) -> Any:
        """The function returned: log what it declares, end the run, and give what the caller gets."""
        if self._plan.outputs.shape == "nothing":
            self._finish()
            return result
        try:
            values = self._plan.outputs.split(result, self._plan.where)
            handles = [self._log_last(values[0])] if len(values) == 1 else self._log_together(values)
        except HeadwaterError as error:
            return self._not_recorded(result, error)
        return self._plan.outputs.join(handles)

    def yielded(self, value: Any) -> Any:
        """The generator yielded: what it declares becomes drafts until it ends."""
        if self._plan.outputs.shape == "nothing":
            return value
        try:
            values = self._plan.outputs.split(value, self._plan.where)
            return self._plan.outputs.join([self._draft(log, v) for log, v in zip(self._plan.outputs.logs, values)])
        except HeadwaterError as error:
            if not lenient(error):
                raise
            return hand_back(self._plan, value)

    def ended(self) -> None:
        """The generator ran to its end, or its caller closed it: publish what it yielded, together; end the run."""
        try:
            self._settle()
        except HeadwaterError as error:
            if not lenient(error):
                raise
            self.raised(error)

    def raised(self, error: BaseException) -> None:
        """The call failed: nothing half done is published, its uses stay. Never raises, so that `error` passes."""
        try:
            if not self._hosted.owns:
                for _, draft in self._pending:
                    draft.discard()
            else:
                self.run.finish(self._hosted.state_after(error), error=error)
        except Exception as second:  # noqa: BLE001 - the user's exception is the one that must be seen
            _log.warning("the failure of %s could not be recorded: %s", self._plan.where, second)

    # -- inside ------------------------------------------------------------------
    def _log_last(self, value: Any) -> Version[Any]:
        """One result: the commit of the version also ends the run."""
        if not self._hosted.publish or self._hosted.recorded is not None:
            return self._log_together([value])[0]
        log = self._plan.outputs.logs[0]
        return self._log(log, value, publish=True, finish="finished" if self._hosted.owns else None)

    def _log_together(self, values: Sequence[Any]) -> list[Version[Any]]:
        drafts = [self._draft(log, value) for log, value in zip(self._plan.outputs.logs, values)]
        self._settle()
        return drafts

    def _draft(self, log: Log, value: Any) -> Version[Any]:
        draft = self._log(log, value, publish=False, finish=None)
        self._pending.append((log, draft))
        return draft

    def _log(self, log: Log, value: Any, *, publish: bool, finish: RunState | None) -> Version[Any]:
        with self.active():  # reads on the way are this run's, not the caller's
            use_pointed(self.run, value)
            return self.run.log_artifact(
                value,
                log.name,
                aliases=log.aliases,
                tags=log.tags,
                role=log.role,
                publish=publish,
                finish=finish,
                type=log.type,
                metadata=None if log.metadata is None else dict(log.metadata),
                description=log.description or None,
                declared=self._plan.declared.get(log.name),
                allow_pickle=log.allow_pickle,
            )

    def _settle(self) -> None:
        """Publish the drafts, all or none, and end the run."""
        drafts = [draft for _, draft in self._pending]
        if drafts and self._hosted.publish:
            publish_all(self.run, self._pending)
        if self._hosted.recorded is not None:
            self._hosted.recorded(self.run, drafts)
        self._finish()

    def _finish(self) -> None:
        if not self._hosted.owns:
            return
        try:
            self.run.finish("finished")
        except HeadwaterError as error:
            if not lenient(error):
                raise

    def _not_recorded(self, result: Any, error: HeadwaterError) -> Any:
        if not lenient(error):
            raise error
        self.raised(error)
        return hand_back(self._plan, result)


def use_pointed(run: Run, value: Any) -> None:
    """A version that a name is pointed at was used: what it came from must not be lost."""
    if isinstance(value, Version) and not isinstance(value, Unrecorded) and not run.knows(value):
        run.use_artifact(value)


def publish_all(run: Run, drafts: Sequence[tuple[Log, Version[Any]]]) -> None:
    """Publish drafts, all or none; the handles the caller has already become those of the published versions."""
    home = run.home
    aliases = {draft.id: list(log.aliases) for log, draft in drafts}
    published = home.catalog.versions.publish([draft.id for _, draft in drafts], aliases, home.actor)
    for (_, draft), made in zip(drafts, published):
        draft.adopt(made.version)


class Untracked:
    """A call that records nothing: tracking is off, or lenient and the repository cannot be had."""

    def __init__(self, plan: Plan, bound: inspect.BoundArguments) -> None:
        self._plan = plan
        missing = [i for name, i in plan.injected.items() if name not in bound.arguments]
        found = {i.parameter: read_only(i.use.name, plan.project) for i in missing}
        self.args, self.kwargs = complete(plan, bound, found)

    @contextmanager
    def active(self) -> Iterator[None]:
        """`hw.current_run()` is a run that records nothing."""
        token = current.set(None)
        try:
            with unrecorded_run():
                yield
        finally:
            current.reset(token)

    def returned(self, result: Any) -> Any:
        """What the caller gets: the plain result, in handles that hold it where handles are expected."""
        return hand_back(self._plan, result)

    yielded = returned

    def ended(self) -> None:
        """Nothing to publish."""

    def raised(self, error: BaseException) -> None:
        """Nothing to end."""


class Bare:
    """A call outside every execution: the user's function as it was written."""

    def __init__(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self.args, self.kwargs = args, dict(kwargs)

    def active(self) -> AbstractContextManager[None]:
        """Nothing is."""
        return nullcontext()

    def returned(self, result: Any) -> Any:
        """As it is."""
        return result

    yielded = returned

    def ended(self) -> None:
        """Nothing to publish."""

    def raised(self, error: BaseException) -> None:
        """Nothing to end."""


def begin(plan: Plan, host: Host, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call | Untracked | Bare:
    """Bind a call, open its run, record its uses.

    Raises:
        TypeError: The arguments do not fit the function; no run was opened.
        HeadwaterError: Strict tracking, and something could not be recorded or loaded; the run is `failed`.
    """
    bound = plan.bind(args, kwargs)
    if settings.tracking() == "off":
        return Untracked(plan, bound)
    try:
        hosted = host(plan, config_of(plan, bound))
        return Bare(args, kwargs) if hosted is None else Call(plan, hosted, bound)
    except HeadwaterError as error:
        if not lenient(error):
            raise
        return Untracked(plan, bound)


def complete(
    plan: Plan, bound: inspect.BoundArguments, injected: Mapping[str, Version[Any]]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments the function gets: injected ones added, handles loaded where values are wanted."""
    given = wanted_values(bound.arguments, plan.wants, load)
    for name, version in injected.items():
        wanted = plan.injected[name].wanted
        given[name] = load(version, wanted.value_type) if wanted.loads else version
    in_order = {name: given[name] for name in plan.signature.parameters if name in given}
    bound.arguments = in_order
    return by_name(plan, in_order)


def by_name(plan: Plan, arguments: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments; those behind a gap go by name, as positions would shift."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    gap = False
    for name, parameter in plan.signature.parameters.items():
        if name not in arguments:
            gap = gap or parameter.kind is not parameter.VAR_POSITIONAL
        elif parameter.kind is parameter.VAR_KEYWORD:
            kwargs.update(arguments[name])
        elif parameter.kind is parameter.VAR_POSITIONAL:
            args.extend(arguments[name])
        elif parameter.kind is parameter.KEYWORD_ONLY or (gap and parameter.kind is not parameter.POSITIONAL_ONLY):
            kwargs[name] = arguments[name]
        else:
            args.append(arguments[name])
    return tuple(args), kwargs


def load(version: Version[Any], wanted: Any) -> Any:
    """The value of a handle, as the wanted type where one is known."""
    return version.load() if wanted is None else version.load(wanted)


def config_of(plan: Plan, bound: inspect.BoundArguments) -> dict[str, Any]:
    """The plain arguments, defaults included: numbers, texts, small collections of them; neither data nor handles."""
    given = {name: p.default for name, p in plan.signature.parameters.items() if p.default is not p.empty}
    return plain_of({name: value for name, value in (given | bound.arguments).items() if name not in plan.injected})


def plain_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those arguments that a run's config takes; data, handles and foreign objects stay out."""
    return {name: value for name, value in arguments.items() if _is_plain(value)}


def _is_plain(value: Any, depth: int = 0) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_TEXT
    if value is None or isinstance(value, bool | int | float):
        return True
    if isinstance(value, list | tuple | dict) and depth < MAX_NESTING and len(value) <= MAX_ITEMS:
        inner = value.values() if isinstance(value, dict) else value
        keys_fit = not isinstance(value, dict) or all(isinstance(key, str) for key in value)
        return keys_fit and all(_is_plain(item, depth + 1) for item in inner)
    return False
