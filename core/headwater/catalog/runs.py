"""Runs: opened and closed by key from any process, kept alive by leases, taken over by fences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from headwater.catalog import facts
from headwater.catalog.drafts import discard_drafts_of
from headwater.catalog.edges import Edges
from headwater.catalog.rows import RUN, SECOND, dump, event, load, merged, run_record
from headwater.catalog.search import find_runs
from headwater.errors import ConflictError, InvalidInputError, RunNotFoundError, StateError
from headwater.model.records import ENDED, RunOpening, RunRecord, RunState

if TYPE_CHECKING:
    import builtins
    from collections.abc import Mapping

    from headwater.catalog.engine import Row, Tx
    from headwater.model.records import Query

LEASE = 3 * 60 * SECOND
"""How long a run lives without renewal."""

_SELECT = f"SELECT {RUN} FROM runs r"


class Runs(Edges):
    """`ports.RunCatalog` in SQL."""

    def open(self, opening: RunOpening) -> RunRecord:
        return self._db.write(lambda tx: _open(tx, opening))

    def get(self, id_or_key: str) -> RunRecord:
        def work(tx: Tx) -> RunRecord:
            row = tx.row(f"{_SELECT} WHERE r.uid = :wanted", wanted=id_or_key) or tx.row(
                f"{_SELECT} WHERE r.key = :wanted ORDER BY r.attempt DESC LIMIT 1", wanted=id_or_key
            )
            if row is None:
                raise RunNotFoundError(id=id_or_key)
            return run_record(row, tx.now)

        return self._db.read(work)

    def attempts(self, key: str) -> builtins.list[RunRecord]:
        return self._db.read(lambda tx: [
            run_record(row, tx.now) for row in tx.rows(f"{_SELECT} WHERE r.key = :key ORDER BY r.attempt", key=key)
        ])  # fmt: skip

    def renew(self, run_ids: Mapping[str, int]) -> dict[str, RunRecord]:
        def work(tx: Tx) -> dict[str, RunRecord]:
            alive = {}
            for uid, fence in sorted(run_ids.items()):
                row = locked(tx, uid)
                if row is not None and row.fence == fence and row.state in ("running", "lost"):
                    come_back(tx, row)
                    alive[uid] = run_record(_by_key(tx, row.id), tx.now)
            return alive

        return self._db.write(work)

    def pause(self, run_id: str, seconds: float, *, fence: int | None = None) -> RunRecord:
        def work(tx: Tx) -> RunRecord:
            row = locked(tx, run_id)
            if row is None:
                raise RunNotFoundError(id=run_id)
            refuse_fenced(row, fence)
            if row.state in ENDED and row.state != "lost":
                raise StateError(what=f"run {row.uid} has already ended ({row.state})", run=row.uid, state=row.state)
            come_back(tx, row, max(LEASE, round(seconds * SECOND)))
            tx.events.append(event("run.paused", project=row.project, actor=row.actor, run=row.uid, seconds=seconds))
            return run_record(_by_key(tx, row.id), tx.now)

        return self._db.write(work)

    def close(
        self, run_id: str, state: RunState, *, fence: int | None = None, error: str | None = None,
        cached_from: str | None = None,
    ) -> RunRecord:  # fmt: skip
        def work(tx: Tx) -> RunRecord:
            row = locked(tx, run_id)
            if row is None:
                raise RunNotFoundError(id=run_id)
            refuse_fenced(row, fence)
            end(tx, row, state, error=error, cached_from=cached_from)
            return run_record(_by_key(tx, row.id), tx.now)

        return self._db.write(work)

    def close_group(self, group: str, state: RunState, error: str | None = None) -> builtins.list[RunRecord]:
        def work(tx: Tx) -> list[RunRecord]:
            rows = tx.rows(
                f"{_SELECT} WHERE r.grp = :grp AND r.state = 'running' ORDER BY r.id" + tx.dialect.for_update, grp=group
            )
            for row in rows:
                end(tx, row, state, error=error)
            return [run_record(_by_key(tx, row.id), tx.now) for row in rows]

        return self._db.write(work)

    def update(
        self, run_id: str, *, config: Mapping[str, Any] | None = None, summary: Mapping[str, Any] | None = None,
        links: Mapping[str, str] | None = None, code: Mapping[str, Any] | None = None,
    ) -> RunRecord:  # fmt: skip
        given = {"config": config, "summary": summary, "links": links, "code": code}

        def work(tx: Tx) -> RunRecord:
            row = locked(tx, run_id)
            if row is None:
                raise RunNotFoundError(id=run_id)
            for field, new in given.items():
                if new:
                    _merge(tx, row, field, new)
            return run_record(_by_key(tx, row.id), tx.now)

        return self._db.write(work)

    def list(self, query: Query) -> builtins.list[RunRecord]:
        return self._db.read(lambda tx: find_runs(tx, query))

    def sweep(self) -> builtins.list[RunRecord]:
        """Looks before it writes, so that asking often costs nothing."""
        overdue = "r.state = 'running' AND r.lease_until < :now"
        if not self._db.read(lambda tx: tx.value(f"SELECT 1 FROM runs r WHERE {overdue} LIMIT 1", now=tx.now)):
            return []

        def work(tx: Tx) -> list[RunRecord]:
            rows = tx.rows(f"{_SELECT} WHERE {overdue} ORDER BY r.id LIMIT 500{tx.dialect.for_update}", now=tx.now)
            for row in rows:
                end(tx, row, "lost", error="the run stopped renewing its lease")
            return [run_record(_by_key(tx, row.id), tx.now) for row in rows]

        return self._db.write(work)


def locked(tx: Tx, uid: str) -> Row | None:
    """The run's row, locked until the transaction ends."""
    return tx.row(f"{_SELECT} WHERE r.uid = :uid{tx.dialect.for_update}", uid=uid)


def _by_key(tx: Tx, key: int) -> Row:
    row = tx.row(f"{_SELECT} WHERE r.id = :key", key=key)
    assert row is not None
    return row


def _open(tx: Tx, opening: RunOpening) -> RunRecord:
    row = locked(tx, opening.id)
    if row is not None:
        _take(tx, row, opening)
        return run_record(_by_key(tx, row.id), tx.now)
    attempt = opening.attempt
    if attempt is None:
        attempt = 1 + (tx.value("SELECT max(attempt) FROM runs WHERE key = :key", key=opening.key) or 0)
    key = _insert(tx, opening, attempt)
    if key is None:  # somebody opened it in the same moment
        return _second(tx, opening, attempt)
    _supersede(tx, opening, attempt)
    facts.put(tx, "run_facts", key, list(facts.leaves("config", opening.config)))
    tx.events.append(_event("run.started", opening, opening.id, attempt=attempt, key=opening.key, name=opening.name))
    return run_record(_by_key(tx, key), tx.now)


def _insert(tx: Tx, opening: RunOpening, attempt: int) -> int | None:
    key: int | None = tx.value(
        "INSERT INTO runs (uid, key, attempt, project, name, grp, parent, state, config, links, code, actor, host, pid,"
        " started_at, lease_until) VALUES (:uid, :key, :attempt, :project, :name, :grp, :parent, 'running', :config,"
        " :links, :code, :actor, :host, :pid, :now, :until) ON CONFLICT DO NOTHING RETURNING id",
        uid=opening.id, key=opening.key, attempt=attempt, project=opening.project, name=opening.name,
        grp=opening.group, parent=opening.parent, config=dump(opening.config, "config"),
        links=dump(opening.links, "links"), code=dump(opening.code, "code"), actor=opening.actor, host=opening.host,
        pid=opening.pid, now=tx.now, until=tx.now + LEASE,
    )  # fmt: skip
    return key


def _second(tx: Tx, opening: RunOpening, attempt: int) -> RunRecord:
    row = locked(tx, opening.id)
    if row is not None:
        _take(tx, row, opening)
        return run_record(_by_key(tx, row.id), tx.now)
    if opening.attempt is None:
        return _open(tx, opening)
    other = tx.value("SELECT uid FROM runs WHERE key = :key AND attempt = :n", key=opening.key, n=attempt)
    raise ConflictError(
        what=f"attempt {attempt} of {opening.key} is run {other}, not {opening.id}",
        fix="derive the run's id from its key and attempt",
    )


def _take(tx: Tx, row: Row, opening: RunOpening) -> None:
    """Find the run again, or take it over from an older executor (which is fenced)."""
    if row.key != opening.key:
        raise ConflictError(what=f"run {row.uid} has the key {row.key}, not {opening.key}")
    if row.state in ENDED and not opening.resume and row.state != "lost":
        raise StateError(what=f"run {row.uid} has ended ({row.state})", fix="resume it, or open another attempt")
    if row.state == "lost" and not opening.resume and superseded(tx, row):
        raise StateError(what=f"a newer attempt of {row.key} has taken over from run {row.uid}")
    same = (row.host, row.pid) == (opening.host, opening.pid) or not opening.pid
    tx.run(
        "UPDATE runs SET state = 'running', fence = fence + :step, lease_until = :until, finished_at = NULL,"
        " error = NULL, host = :host, pid = :pid, actor = :actor WHERE id = :id",
        step=0 if same else 1, until=tx.now + LEASE, id=row.id,
        host=row.host if same else opening.host, pid=row.pid if same else opening.pid, actor=opening.actor,
    )  # fmt: skip
    for field in ("config", "links", "code"):
        new = {k: v for k, v in getattr(opening, field).items() if load(getattr(row, field)).get(k, tx) != v}
        if new:
            _merge(tx, row, field, new)
    if not same or row.state != "running":
        tx.events.append(_event("run.resumed", opening, row.uid, was=row.state, fence=row.fence + (not same)))


def superseded(tx: Tx, row: Row) -> bool:
    """Whether a later attempt of the same key was opened."""
    later = tx.value("SELECT 1 FROM runs WHERE key = :key AND attempt > :n LIMIT 1", key=row.key, n=row.attempt)
    return later is not None


def _supersede(tx: Tx, opening: RunOpening, attempt: int) -> None:
    """Close earlier attempts that still run: their executor is dead, or must not go on."""
    rows = tx.rows(
        f"{_SELECT} WHERE r.key = :key AND r.attempt < :n AND r.state IN ('running', 'lost')"
        f" ORDER BY r.id{tx.dialect.for_update}",
        key=opening.key, n=attempt,
    )  # fmt: skip
    for row in rows:
        if row.state == "running":
            end(tx, row, "lost", error=f"attempt {attempt} took over")
        tx.run("UPDATE runs SET fence = fence + 1 WHERE id = :id", id=row.id)


def refuse_fenced(row: Row, fence: int | None) -> None:
    """Raise StateError if the caller holds an older fence of the run than its newest executor."""
    if fence is not None and fence != row.fence:
        raise StateError(
            what=f"run {row.uid} was taken over by another executor", run=row.uid, fence=row.fence,
            fix="stop: what this process logs would come twice",
        )  # fmt: skip


def come_back(tx: Tx, row: Row, lease: int = LEASE) -> None:
    """The owner shows itself: extend the lease, never shorten that of a paused run; a lost run runs again."""
    tx.run(
        "UPDATE runs SET state = 'running', lease_until = :until, finished_at = NULL, error = NULL WHERE id = :id",
        until=max(row.lease_until, tx.now + lease), id=row.id,
    )  # fmt: skip
    if row.state == "lost":
        tx.events.append(event("run.resumed", project=row.project, actor=row.actor, run=row.uid, was="lost"))


def end(tx: Tx, row: Row, state: RunState, *, error: str | None = None, cached_from: str | None = None) -> None:
    """End a locked run; a run that is `lost` may still learn its true end.

    Raises:
        StateError: It ended in another state.
        InvalidInputError: `state` is no end.
    """
    if state not in ENDED:
        ends = ", ".join(get_args(RunState)[1:])
        raise InvalidInputError(what=f"a run cannot end as {state!r}", fix=f"one of {ends}")
    if row.state == state:
        return
    if row.state in ENDED and row.state != "lost":
        raise StateError(what=f"run {row.uid} has already ended ({row.state})", run=row.uid, state=row.state)
    tx.run(
        "UPDATE runs SET state = :state, finished_at = :now, error = :error, cached_from = :cached WHERE id = :id",
        state=state, now=max(tx.now, row.started_at), error=error, cached=cached_from, id=row.id,
    )  # fmt: skip
    if state != "finished":
        discard_drafts_of(tx, row.id, row.actor)
    tx.events.append(event(
        "run.ended", project=row.project, actor=row.actor, run=row.uid, state=state, key=row.key,
        attempt=row.attempt, name=row.name,
    ))  # fmt: skip


def _merge(tx: Tx, row: Row, field: str, new: Mapping[str, Any]) -> None:
    whole = merged(load(getattr(row, field)), dict(new))
    tx.run(f"UPDATE runs SET {field} = :value WHERE id = :id", value=dump(whole, field), id=row.id)
    if field in ("config", "summary"):
        facts.replace(tx, "run_facts", row.id, field, list(facts.leaves(field, whole)))


def _event(kind: str, opening: RunOpening, run: str, **details: Any) -> dict[str, Any]:
    return event(kind, project=opening.project, actor=opening.actor, run=run, group=opening.group, **details)
