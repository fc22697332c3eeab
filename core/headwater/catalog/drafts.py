"""Giving drafts up: by their maker, by the end of their run, by their time to live."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.catalog.rows import event
from headwater.errors import StateError, VersionNotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headwater.catalog.engine import Row, Tx

_SELECT = (
    "SELECT v.id, v.uid, v.state, v.artifact, v.expires_at, a.project FROM versions v"
    " JOIN artifacts a ON a.id = v.artifact"
)


_AWAITED = (
    "EXISTS (SELECT 1 FROM joins j JOIN runs r ON r.grp = j.grp WHERE r.state = 'running' AND r.lease_until >= :now"
    " AND (j.version = v.id OR EXISTS (SELECT 1 FROM join_parts p WHERE p.joint = j.id AND p.version = v.id)))"
)
"""A joint draft, or a part of one, whose group has a run at work that may yet hand in its part."""


def discard_drafts_of(tx: Tx, run: int, actor: str) -> None:
    """Discard the open drafts that a run created."""
    rows = tx.rows(f"{_SELECT} WHERE v.run = :run AND v.state = 'draft' ORDER BY v.id{_lock(tx)}", run=run)
    _discard(tx, rows, actor, "its run ended")


def discard_expired(tx: Tx, actor: str) -> int:
    """Discard up to 500 drafts past their time to live; how many."""
    rows = tx.rows(
        f"{_SELECT} WHERE v.state = 'draft' AND v.expires_at < :now AND NOT {_AWAITED} ORDER BY v.id"
        f" LIMIT 500{_lock(tx)}",
        now=tx.now,
    )
    _discard(tx, rows, actor, "its time to live passed")
    return len(rows)


def discard_named(tx: Tx, uids: Sequence[str], actor: str) -> None:
    """Discard drafts by id; those discarded before stay so.

    Raises:
        VersionNotFoundError
        StateError: One was published; nothing is discarded.
    """
    rows = []
    for uid in sorted(set(uids)):
        row = tx.row(f"{_SELECT} WHERE v.uid = :uid{_lock(tx)}", uid=uid)
        if row is None:
            raise VersionNotFoundError(name=uid)
        if row.state not in ("draft", "discarded"):
            raise StateError(what=f"version {uid} is {row.state}, no draft", fix="delete it instead")
        rows.append(row)
    _discard(tx, [row for row in rows if row.state == "draft"], actor, "on request")


def _discard(tx: Tx, rows: Sequence[Row], actor: str, why: str) -> None:
    """Nobody logged what was given up: its edges go. What used it keeps having used it."""
    for row in rows:
        tx.run("UPDATE versions SET state = 'discarded', deleted_at = :now, deleted_by = :actor WHERE id = :id",
               now=tx.now, actor=actor, id=row.id)  # fmt: skip
        tx.run("DELETE FROM logs WHERE version = :id", id=row.id)
        tx.run("DELETE FROM derivations WHERE version = :id", id=row.id)
        tx.events.append(event(
            "draft.discarded", project=row.project, actor=actor, artifact=row.artifact, version=row.id, why=why,
        ))  # fmt: skip


def _lock(tx: Tx) -> str:
    return f"{tx.dialect.for_update} OF v" if tx.dialect.for_update else ""
