"""Edits made from an older copy: what changed since is merged, what collides is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headwater.catalog.changes import Change, artifact_row, lock_artifact_row, locked_version
from headwater.catalog.rows import aliases_of, dump, event, load, names, sorted_names, version_by_key
from headwater.errors import ConflictError, InvalidInputError, StateError
from headwater.model.naming import LATEST, check_alias, check_part

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from headwater.catalog.engine import Tx
    from headwater.model.naming import Name
    from headwater.model.records import VersionRecord

FIELDS = frozenset(("metadata", "description", "tags", "aliases"))


def edit_version(tx: Tx, uid: str, base: VersionRecord, changes: Mapping[str, Any], actor: str) -> VersionRecord:
    """`VersionCatalog.edit`: three-way, key by key for metadata, member by member for tags and aliases.

    Raises:
        ConflictError: A metadata key, or the description, has another value than in `base` and than wanted.
    """
    _check(changes, FIELDS)
    row = locked_version(tx, uid)
    if row.state == "deleted":
        raise StateError(what=f"v{row.number} of {row.project}/{row.name} was deleted by {row.deleted_by}")
    change = Change(tx, row, actor)
    if "metadata" in changes:
        change.metadata(_merged_keys(load(row.metadata), base.metadata, changes["metadata"]))
    if "description" in changes:
        wanted = str(changes["description"] or "")
        if row.description not in (base.description, wanted):
            raise _moved("description", row.description)
        change.description(wanted)
    if "tags" in changes:
        tags = {check_part(tag, "tag") for tag in changes["tags"]}
        change.tags(_merged_set(set(names(row.tags)), set(base.tags), tags))
    if "aliases" in changes:
        _edit_aliases(tx, change, row.id, base, changes["aliases"])
    change.done()
    return version_by_key(tx, row.id)


def _check(changes: Mapping[str, Any], allowed: frozenset[str]) -> None:
    unknown = sorted(set(changes) - allowed)
    if unknown:
        raise InvalidInputError(what=f"{unknown[0]!r} cannot be changed", fix=f"one of {', '.join(sorted(allowed))}")


def _edit_aliases(tx: Tx, change: Change, key: int, base: VersionRecord, wanted: Iterable[str]) -> None:
    new, old = set(wanted) - {LATEST}, set(base.aliases) - {LATEST}
    here = set(aliases_of(tx, [key]).get(key, ()))
    for alias in sorted((new - old) - here):
        change.alias(check_alias(alias))
    for alias in sorted((old - new) & here):
        change.remove_alias(alias)


def _merged_keys(now: Mapping[str, Any], base: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    absent = object()
    merged = dict(now)
    for key in {**base, **wanted}:
        before, after, current = (side.get(key, absent) for side in (base, wanted, now))
        if _same(before, after, absent):
            continue  # the caller did not touch it
        if not _same(current, before, absent) and not _same(current, after, absent):
            raise _moved(f"metadata {key!r}", None if current is absent else current)
        if after is absent:
            merged.pop(key, None)
        else:
            merged[key] = after
    return merged


def _same(a: Any, b: Any, absent: object) -> bool:
    if a is absent or b is absent:
        return a is b
    return dump(a) == dump(b)  # as JSON: 1 and True differ, NaN equals itself


def _merged_set(now: set[str], base: set[str], wanted: set[str]) -> set[str]:
    return (now | (wanted - base)) - (base - wanted)


def _moved(field: str, current: Any) -> ConflictError:
    return ConflictError(
        what=f"somebody else changed the {field}", field=field, current=current, fix="load the version again, then edit"
    )


def edit_artifact(tx: Tx, artifact: Name, changes: Mapping[str, Any], actor: str) -> None:
    """`VersionCatalog.edit_artifact`, inside a transaction."""
    _check(changes, frozenset(("description", "tags")))
    key = lock_artifact_row(tx, artifact_row(tx, artifact).id).id
    row = artifact_row(tx, artifact)

    def note(kind: str, label: str = "", **details: Any) -> None:
        tx.events.append(event(kind, project=row.project, actor=actor, artifact=key, label=label, **details))

    if "description" in changes and changes["description"] != row.description:
        tx.run("UPDATE artifacts SET description = :text WHERE id = :id", text=changes["description"] or "", id=key)
        note("description.changed", old=row.description, new=changes["description"])
    if "tags" in changes:
        wanted, old = {check_part(tag, "tag") for tag in changes["tags"]}, set(names(row.tags))
        tx.run("UPDATE artifacts SET tags = :tags WHERE id = :id", tags=sorted_names(wanted), id=key)
        tx.run("DELETE FROM artifact_tags WHERE artifact = :id", id=key)
        tx.run_many("INSERT INTO artifact_tags (artifact, tag) VALUES (:id, :tag)",
                    [{"id": key, "tag": tag} for tag in sorted(wanted)])  # fmt: skip
        for tag in sorted(wanted - old):
            note("tag.added", label=tag, tag=tag)
        for tag in sorted(old - wanted):
            note("tag.removed", label=tag, tag=tag)
