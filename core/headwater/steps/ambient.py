"""Which run is mine: that of the running step, else the one the orchestrator around me is at.

An orchestrator's adapter registers an entry point in the group `headwater.ambient`;
its name is a module to look for in `sys.modules`, its value a callable that gives the
current `RunIdentity` or None. It is asked only if that module is imported already, so
that user code needs nothing but `import headwater`.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

from headwater.handle import Hooks
from headwater.run import Run, current, open_run
from headwater.runspec import RunSpec
from headwater.steps.identity import RunIdentity, inherited, tell_starter

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from headwater.home import Home

GROUP = "headwater.ambient"
"""The entry-point group."""
MAX_JOINED = 1_000
"""Most joined runs a process keeps at hand."""


Identify: TypeAlias = Callable[[], RunIdentity | None]

_given: ContextVar[RunIdentity | None] = ContextVar("headwater_identity", default=None)
_identifiers: dict[str, Identify] = {}
_joined: dict[str, Run] = {}
_joining = threading.Lock()


def current_identity() -> RunIdentity | None:
    """Which execution this is: set by `run_as`, else what an imported orchestrator says, else `HEADWATER_RUN`.

    Raises:
        InvalidInputError: The variable holds something else.
    """
    identity = _given.get()
    if identity is not None:
        return identity
    answers = (_identifier(point)() for point in _points() if point.name in sys.modules)
    found = next((answer for answer in answers if answer is not None), None)
    return found or inherited()


@contextmanager
def run_as(identity: RunIdentity) -> Iterator[None]:
    """Inside the block this is the execution that steps, `use` and `log` join; for adapters and their children."""
    token = _given.set(identity)
    try:
        yield
    finally:
        _given.reset(token)


@cache
def _points() -> tuple[EntryPoint, ...]:
    from importlib.metadata import entry_points  # a tenth of the time to import headwater, and rarely needed

    return tuple(entry_points(group=GROUP))  # once: it reads every installed distribution


def _identifier(point: EntryPoint) -> Identify:
    if point.name not in _identifiers:
        _identifiers[point.name] = point.load()
    return _identifiers[point.name]


def default_home() -> Home:
    """This process's repository.

    Raises:
        HeadwaterError: It cannot be opened.
    """
    return Hooks.open_home()


def join(identity: RunIdentity) -> Run:
    """The run of that execution, opened or found again; one object per process, however many steps join it.

    Whoever joins does not end it: the adapter, which knows when the execution ends, does.

    Raises:
        StateError: That attempt has ended already.
        HeadwaterError: The repository cannot be reached.
    """
    home = default_home()
    name = f"{home.repository_id}\n{identity.key}\n{identity.attempt}"
    with _joining:
        run = _joined.get(name)
        if run is None or run.state != "running" or run.paused:
            run = _joined[name] = open_run(home, spec_of(identity))
            if identity.shared:
                tell_starter()
        run.drafts = identity.drafts
        if len(_joined) > MAX_JOINED:  # a worker lives long; the oldest is found again if it is asked for
            del _joined[next(iter(_joined))]
        return run


def spec_of(identity: RunIdentity) -> RunSpec:
    """How the run of that execution is opened, by any process."""
    return RunSpec(
        name=identity.name or identity.key,
        project=identity.project,
        config=dict(identity.config),
        group=identity.group,
        parent=identity.parent,
        parent_key=identity.parent_key,
        key=identity.key,
        attempt=identity.attempt,
        links=dict(identity.links),
        shared=identity.shared,
    )


def surrounding_run() -> Run | None:
    """The run whose body the caller is in, in this process; no orchestrator is asked and nothing is joined."""
    return current.get()


def find_run() -> Run | None:
    """The current run, joined if an orchestrator says which; None outside all."""
    run = current.get()
    if run is not None:
        return run
    identity = current_identity()
    return None if identity is None else join(identity)


def _after_fork() -> None:
    # The parent's runs stay the parent's to keep alive; the child joins them anew, with its own connection.
    global _joining  # noqa: PLW0603 - a lock held over a fork is held for ever
    _joining = threading.Lock()
    _joined.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
