"""What a name means now, inside a group, at a time, or under a lock."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headwater.errors import FormatError, InvalidInputError, StateError
from headwater.model.naming import DRAFT_PREFIX, parse_name
from headwater.model.records import RunRecord

if TYPE_CHECKING:
    from headwater.home import Home
    from headwater.model.records import VersionRecord

LOCK_FORMAT = 1

_pins: ContextVar[Mapping[str, Any] | None] = ContextVar("headwater_pins", default=None)
"""The lock whose block this is."""


def find_version(
    home: Home, name: str, *, project: str | None = None, at: datetime | None = None, group: str | None = None
) -> VersionRecord:
    """The version that `name` means.

    A lock (`pinned`) goes before a group, a group before what holds now. Numbers
    and digests mean one thing everywhere.

    Args:
        home: Where to look.
        name: Any form of `model.naming`.
        project: Of names that say none; the current one by default.
        at: What it meant then.
        group: The group that asks; its answer is remembered for the group.

    Raises:
        InvalidInputError, ArtifactNotFoundError, VersionNotFoundError
        StateError: That number was deleted; or names are pinned and this one is not in the lock.
    """
    parsed = parse_name(name).within(project or home.project)
    versions = home.catalog.versions
    if parsed.alias and parsed.alias.startswith(DRAFT_PREFIX):
        return versions.get(parsed.alias.removeprefix(DRAFT_PREFIX))
    lock = _pins.get()
    if lock is None or parsed.number is not None or parsed.digest or at is not None:
        return versions.find(parsed, group=group, at=at)
    if lock["repository"] != home.repository_id:
        raise StateError(
            what=f"names are pinned to what run {lock['run']} of repository {lock['repository']} used, "
            f"this is repository {home.repository_id}",
            fix="connect to that repository, or leave the pinned block",
        )
    if str(parsed) not in lock["names"]:
        raise StateError(what=f"names are pinned, and {parsed} is not among them", fix="leave the pinned block")
    return versions.get(lock["names"][str(parsed)]["id"])


def lock_of(home: Home, run_id: str) -> dict[str, Any]:
    """What a run used, as the JSON of a lock file: asked name → exact version."""
    names: dict[str, Any] = {}
    for edge in home.catalog.runs.used(run_id):
        v = edge.version
        if edge.asked:
            pin = {"id": v.id, "version": None if v.number is None else f"v{v.number}", "digest": v.digest}
            names[str(parse_name(edge.asked).within(v.project))] = pin
    return {"headwater-lock": LOCK_FORMAT, "repository": home.repository_id, "run": run_id, "names": names}


@contextmanager
def pinned(what: Any) -> Iterator[None]:
    """Inside the block names mean exactly what a run used, or what a lock file says.

    Args:
        what: A `Run`, or the path of a file that `headwater lock` wrote.

    Raises:
        InvalidInputError: Neither a run nor a file that can be read.
        FormatError: The file is not a lock file of this Headwater.
        StateError: Inside, for a name that is not pinned, and in another repository.
    """
    if isinstance(getattr(what, "record", None), RunRecord):
        lock = lock_of(what.home, what.id)
    elif isinstance(what, str | os.PathLike):
        lock = _read_lock(Path(what))
    else:
        raise InvalidInputError(what=f"pinned() takes a run or the path of a lock file, not {what!r}")
    token = _pins.set(lock)
    try:
        yield
    finally:
        _pins.reset(token)


def _read_lock(path: Path) -> dict[str, Any]:
    try:
        lock: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        whole = lock["headwater-lock"] == LOCK_FORMAT and {"repository", "run"} <= lock.keys()
        whole = whole and all("id" in pin for pin in lock["names"].values())
    except OSError as error:
        raise InvalidInputError(what=f"the lock file cannot be read: {error.strerror}", where=path) from error
    except (ValueError, KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise FormatError(what="not a lock file of this Headwater", where=path, fix="`headwater lock` writes one")
    return lock


def instant(at: date | str | None) -> datetime | None:
    """An aware time of what a user wrote; UTC where no zone is given, midnight where no time.

    Raises:
        InvalidInputError: Not a time.
    """
    if at is None:
        return None
    try:
        written = datetime.fromisoformat(at if isinstance(at, str) else at.isoformat())
    except (ValueError, AttributeError) as error:
        raise InvalidInputError(what=f"{at!r} is not a time", fix="write 2026-01-31 or 2026-01-31T12:00:00Z") from error
    return written.replace(tzinfo=UTC) if written.tzinfo is None else written
