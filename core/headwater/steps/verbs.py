"""`use`, `log`, `current_run`, `scratch`: what a step's body calls, with nothing but `import headwater`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from headwater import settings
from headwater.errors import HeadwaterError, StateError
from headwater.steps.ambient import find_run
from headwater.steps.binding import use_pointed
from headwater.steps.unrecorded import is_unrecorded, lenient, stand_in

if TYPE_CHECKING:
    from headwater.artifact import Artifact
    from headwater.run import Run
    from headwater.version import Version

A = TypeVar("A")


def current_run() -> Run:
    """The run of the step around the caller, of the enclosing `start_run`, or of the orchestrator's task.

    Each thread and asyncio task has its own; a thread started inside a step inherits it if its context was copied
    (`contextvars.copy_context().run`, `asyncio.to_thread`).

    Raises:
        StateError: Outside all of these. (With tracking off or lenient: a run that records nothing.)
    """
    return _run("current_run()")


def _run(asking: str) -> Run:
    if settings.tracking() == "off" or is_unrecorded():
        return cast("Run", stand_in())
    try:
        run = find_run()
    except HeadwaterError as error:
        if not lenient(error):
            raise
        return cast("Run", stand_in())
    if run is not None:
        return run
    missing = StateError(
        what=f"{asking} was called outside a run",
        fix="call it in a function with @hw.step or inside `with hw.start_run(…)`; a thread needs a copy of the "
        "context: contextvars.copy_context().run(function)",
    )
    if not lenient(missing):
        raise missing
    return cast("Run", stand_in())


@overload
def use(name: str, *, role: str | None = None, fresh: bool = False) -> Version[Any]: ...
@overload
def use(name: Version[A], *, role: str | None = None, fresh: bool = False) -> Version[A]: ...
@overload
def use(name: str | Version[Any], as_: type[A], *, role: str | None = None, fresh: bool = False) -> Version[A]: ...
def use(name: Any, as_: Any = None, *, role: str | None = None, fresh: bool = False) -> Any:
    """Record that the current run uses a version, and return it.

    Args:
        name: `artifact`, `project/artifact:alias`, `:v3`, `@blake3:…`, or a handle.
        as_: What its `load()` shall give.
        role: What it is to the run.
        fresh: What the name means now, whatever the group has resolved it to.

    Raises:
        StateError: Outside a run.
        InvalidInputError, ArtifactNotFoundError, VersionNotFoundError
    """
    version = _run(f"use({str(name)!r})").use_artifact(name, role=role, fresh=fresh)
    return version if as_ is None else version.typed(as_)


@overload
def log(name: str, value: Version[A], **options: Any) -> Version[A]: ...
@overload
def log(name: str, value: Artifact, **options: Any) -> Version[Any]: ...
@overload
def log(name: str, value: A, **options: Any) -> Version[A]: ...
def log(name: str, value: Any, **options: Any) -> Any:
    """Log a version of artifact `name` from the current run, published at once.

    Args:
        name: `artifact` or `project/artifact`.
        value: A value a codec knows, a `Path`, an `Artifact`, or a `Version` to point at.
        **options: As `Run.log_artifact`: aliases, tags, type, metadata, description, role, derived_from, publish, …

    Raises:
        StateError: Outside a run.
        HeadwaterError: As `Run.log_artifact`.
    """
    run = _run(f"log({name!r})")
    try:
        use_pointed(run, value)
        return run.log_artifact(value, name, **options)
    except HeadwaterError as error:
        if not lenient(error):
            raise
        return stand_in().log_artifact(value, name)


def scratch() -> Path:
    """The current run's own directory, made when first asked for and removed after its results are published.

    Raises:
        StateError: Outside a run.
    """
    return _run("scratch()").scratch()
