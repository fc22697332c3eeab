"""What an execution is called, and how a program that it starts finds it.

Light: an adapter says it of every task of its orchestrator, most of which never record anything.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headwater.errors import InvalidInputError

if TYPE_CHECKING:
    from headwater.version import Version

VARIABLE = "HEADWATER_RUN"
JOINED = "HEADWATER_JOINED"
"""A file that a program makes as it joins: who started it learns so that there is a run, and ends it."""
_TRAVELS = ("key", "attempt", "group", "parent", "parent_key", "name", "project")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunIdentity:
    """Which execution this is, in the words of the orchestrator that runs it.

    Key and attempt alone decide the run's id, so that any process finds the same run without asking.
    """

    key: str
    """Stable for all attempts and unique among all that share a repository, e.g. `prefect:task-run/<id>`."""
    attempt: int = 1
    group: str | None = None
    """What the orchestrator calls a run of the whole pipeline."""
    parent: str | None = None
    """Id of the run it belongs to."""
    parent_key: str | None = None
    """Or the key of that run, its first attempt: without a repository to ask for the id."""
    config: Mapping[str, Any] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    name: str | None = None
    """What the run is called; the key if left out."""
    project: str | None = None
    shared: bool = False
    """Other processes are in the same execution, which none of them takes over: those that an operator starts."""
    container: bool = False
    """It is made of other runs, as a flow or a DAG run is: steps called in it become its children."""
    drafts: list[Version[Any]] | None = None
    """Where to note what the run logs, which then stays drafts that the adapter publishes or discards."""


def to_environment(identity: RunIdentity) -> str:
    """What a program started inside this execution finds in `HEADWATER_RUN`, to join it: ids and names, no config."""
    shown = {name: getattr(identity, name) for name in _TRAVELS}
    return json.dumps({name: value for name, value in shown.items() if value is not None}, sort_keys=True)


def inherited() -> RunIdentity | None:
    """The execution whose process started this one.

    Raises:
        InvalidInputError: The variable holds something else.
    """
    text = os.environ.get(VARIABLE)
    if not text:
        return None
    try:
        found = {name: value for name, value in json.loads(text).items() if name in _TRAVELS}
        return RunIdentity(**found, shared=True)
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidInputError(
            what=f"{VARIABLE} does not say which run this is", fix="it is set by orchestrators; unset it"
        ) from error


def tell_starter() -> None:
    """Let who started this program know that it has joined the run of the execution it was started in."""
    if place := os.environ.get(JOINED):
        with suppress(OSError):  # another machine's place: there nobody looks
            Path(place).touch()
