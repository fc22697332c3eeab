"""Retention: which versions may go, by rules that each artifact has in the catalog.

A rule says what is kept; what no rule of its artifact keeps is deleted by the next
`gc`, as `artifact rm` would, tombstone and all. Unless a rule says otherwise, the
newest version stays, and one with an alias of its own. What a running run uses stays
whatever the rules say.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from headwater.errors import FormatError, InvalidInputError
from headwater.model.naming import LATEST, parse_name
from headwater.model.records import Query
from headwater.upkeep.epochs import caretaker

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from headwater.home import Home
    from headwater.model.records import VersionRecord

PREFIX = "retention:"
"""Rules are settings of the catalog under this and `project/name`."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """What of an artifact is kept, in each of its partitions; a version that any of these keeps stays."""

    keep_last: int = 1
    """The newest so many."""
    keep_younger_seconds: int | None = None
    """Published within this time."""
    keep_aliased: bool = True
    """With an alias other than latest; if such a one goes, its aliases go with it."""
    keep_tagged: bool = False
    keep_upstream: bool = False
    """What something that stays was made from, at any distance."""


class Retired(msgspec.Struct, frozen=True):
    """A version that no rule keeps."""

    version_id: str
    name: str
    size: int
    why: str
    aliases: tuple[str, ...] = ()
    """Other than latest: they go with it."""


def set_rule(home: Home, artifact: str, rule: Rule) -> str:
    """Give an artifact its rule, in place of the one it had; return its full name. It need not exist yet.

    Raises:
        InvalidInputError: A rule that cannot be meant.
    """
    if rule.keep_last < 0 or (rule.keep_younger_seconds or 0) < 0:
        raise InvalidInputError(what="a rule cannot keep less than nothing")
    name = full_name(home, artifact)
    caretaker(home).repairs.put_setting(PREFIX + name, msgspec.json.encode(rule).decode())
    return name


def drop_rule(home: Home, artifact: str) -> bool:
    """Take an artifact's rule away: all its versions stay. Whether there was one."""
    key = PREFIX + full_name(home, artifact)
    there = home.catalog.setting(key) is not None
    caretaker(home).repairs.put_setting(key, None)
    return there


def rules(home: Home) -> dict[str, Rule]:
    """Every rule, by `project/name`."""
    found = {}
    for key, text in caretaker(home).survey.settings(PREFIX).items():
        try:
            found[key.removeprefix(PREFIX)] = msgspec.json.decode(text, type=Rule)
        except msgspec.MsgspecError as error:
            raise FormatError(what=f"a retention rule cannot be read: {error}", where=key) from None
    return found


def full_name(home: Home, artifact: str) -> str:
    """`project/name` of a whole artifact.

    Raises:
        InvalidInputError: A partition, a version, or no name.
    """
    name = parse_name(artifact).within(home.project)
    if name.partition or name.alias not in (None, LATEST) or name.number is not None:
        raise InvalidInputError(what=f"{artifact} is no whole artifact", fix="write project/name")
    return f"{name.project}/{name.artifact}"


def overdue(home: Home, now: datetime | None = None) -> list[Retired]:
    """What the rules would delete now.

    Args:
        home: The repository.
        now: By default the catalog's clock.
    """
    survey = caretaker(home).survey
    now = now or _moment(survey.now())
    used = survey.in_use()
    known = rules(home)
    candidates: dict[str, tuple[VersionRecord, Rule, str]] = {}
    for artifact, rule in known.items():
        for version, why in _unkept(_versions(home, artifact), rule, now):
            if version.id not in used:
                candidates[version.id] = (version, rule, why)
    return [
        Retired(version.id, _label(version), version.stored_size, why, _own_aliases(version))
        for version, rule, why in candidates.values()
        if not (rule.keep_upstream and _has_survivor(home, version.id, candidates.keys()))
    ]


def retire(home: Home, overdue: Iterable[Retired]) -> list[Retired]:
    """Delete them; those that a run has come to use, or that have got their first alias meanwhile, stay. What went.

    Raises:
        StorageError, AccessError
    """
    repairs = caretaker(home).repairs
    return [
        v for v in overdue if repairs.retire(v.version_id, actor=home.actor, why=v.why, spare_aliased=not v.aliases)
    ]


def _versions(home: Home, artifact: str) -> dict[str, list[VersionRecord]]:
    """By partition, newest first."""
    project, _, name = artifact.rpartition("/")
    found: dict[str, list[VersionRecord]] = {}
    for version in home.catalog.versions.versions(Query(project=project, artifact=name)):
        found.setdefault(version.partition, []).append(version)
    for versions in found.values():
        versions.sort(key=lambda v: -(v.number or 0))
    return found


def _unkept(
    partitions: dict[str, list[VersionRecord]], rule: Rule, now: datetime
) -> Iterator[tuple[VersionRecord, str]]:
    for versions in partitions.values():
        for place, version in enumerate(versions, 1):
            age = now - (version.published_at or version.created_at)
            young = rule.keep_younger_seconds is not None and age < timedelta(seconds=rule.keep_younger_seconds)
            named = rule.keep_aliased and _own_aliases(version)
            if not (place <= rule.keep_last or young or named or (rule.keep_tagged and version.tags)):
                yield version, f"{place - rule.keep_last} older than the newest {rule.keep_last}, {age.days} days old"


def _own_aliases(version: VersionRecord) -> tuple[str, ...]:
    return tuple(alias for alias in version.aliases if alias != LATEST)


def _has_survivor(home: Home, version_id: str, leaving: Iterable[str]) -> bool:
    lineage, leaving = home.catalog.lineage, set(leaving)
    downstream, _ = lineage.nodes(lineage.closure([version_id], "downstream"), ())
    return any(v.state in ("published", "draft") and v.id not in leaving for v in downstream)


def _label(version: VersionRecord) -> str:
    part = f"[{version.partition}]" if version.partition else ""
    return f"{version.project}/{version.artifact}{part}:v{version.number}"


def _moment(microseconds: int) -> datetime:
    from datetime import UTC

    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=microseconds)
