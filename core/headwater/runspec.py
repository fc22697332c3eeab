"""What a run is opened with, and which run that is."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from headwater.errors import InvalidInputError

if TYPE_CHECKING:
    from headwater.home import Home

_NAMESPACE = uuid.UUID("8d7c5f0e-6c0f-5d6e-9a53-68656164776a")


def run_id(repository_id: str, key: str, attempt: int) -> str:
    """The id of that attempt, the same in every process (UUIDv5, RFC 9562)."""
    return str(uuid.uuid5(_NAMESPACE, f"{repository_id}\n{key}\n{attempt}"))


class RunSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is opened with; fields as the arguments of `start_run`."""

    name: str
    project: str | None = None
    config: dict[str, Any] | None = None
    group: str | None = None
    parent: str | None = None
    parent_key: str | None = None
    """Instead of the parent's id: its key, where it has one attempt."""
    key: str | None = None
    attempt: int | None = None
    id: str | None = None
    links: dict[str, str] | None = None
    resume: bool = False
    shared: bool = False
    """Several processes are in it side by side, e.g. the tasks of a DAG run: none takes it over from the others."""
    capture: tuple[str, ...] = ("code",)
    """What to record of the program: any of `code`, `diff`, `arguments`."""


def spec_of(name: str, arguments: Mapping[str, Any]) -> RunSpec:
    """A `RunSpec` of keyword arguments.

    Raises:
        InvalidInputError: An argument it does not know.
    """
    unknown = arguments.keys() - set(RunSpec.__struct_fields__)
    if unknown:
        raise InvalidInputError(what=f"start_run() knows no argument {min(unknown)!r}")
    return RunSpec(name=name, **arguments)


def parent_of(home: Home, spec: RunSpec) -> str | None:
    """The id of the run it belongs to, where it says one."""
    return spec.parent or (run_id(home.repository_id, spec.parent_key, 1) if spec.parent_key else None)


def next_attempt(home: Home, spec: RunSpec) -> int:
    """The number after the newest attempt of its key."""
    if spec.key is None:
        return 1
    return max((r.attempt for r in home.catalog.runs.attempts(spec.key)), default=0) + 1
