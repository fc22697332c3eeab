"""Conditions and orders as SQL. Whatever comes from outside is a bound parameter; names of columns come from here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from headwater.catalog.facts import searchable, typed
from headwater.catalog.grammar import Condition, parse_condition, parse_order, parse_time
from headwater.catalog.rows import (
    RUN,
    VERSION,
    VERSIONS,
    aliases_of,
    artifact_record,
    microseconds,
    run_record,
    version_record,
)
from headwater.errors import InvalidInputError
from headwater.model.digest import Digest
from headwater.model.naming import LATEST

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headwater.catalog.engine import Row, Tx
    from headwater.model.records import ArtifactRecord, Query, RunRecord, VersionRecord

ARTIFACT = (
    "a.uid, a.project, a.name, a.partition, a.type, a.description, a.tags,"
    " (SELECT count(*) FROM versions n JOIN artifacts b ON b.id = n.artifact WHERE b.project = a.project"
    " AND b.name = a.name AND n.state = 'published' AND (a.partition = '' OR b.id = a.id)) AS n_versions,"
    " (SELECT count(*) FROM artifacts b WHERE a.partition = '' AND b.project = a.project AND b.name = a.name"
    " AND b.partition <> '') AS n_partitions,"
    " (SELECT max(n.number) FROM versions n WHERE n.artifact = a.id AND n.state = 'published') AS latest,"
    " a.created_at, (SELECT max(b.updated_at) FROM artifacts b WHERE b.project = a.project AND b.name = a.name"
    " AND (a.partition = '' OR b.id = a.id)) AS updated"
)
"""What `artifact_record` needs, selected FROM `artifacts a`."""

_NEWEST = (
    "(v.state = 'published' AND v.number = (SELECT max(n.number) FROM versions n"
    " WHERE n.artifact = v.artifact AND n.state = 'published'))"
)
_NOTHING = "NULL"
_RUN_STATE = "(CASE WHEN r.state = 'running' AND r.lease_until < :clock THEN 'lost' ELSE r.state END)"


class Subject(NamedTuple):
    """What can be searched: where it is selected from and what its fields are in SQL."""

    alias: str
    source: str
    fields: dict[str, tuple[str, str]]
    """Name → (SQL, kind): text, number, time, digest."""
    lists: dict[str, tuple[str, str]]
    """Name → (SQL that is true if one member is so, what a member is called in it)."""
    facts: dict[str, tuple[str, str, str]]
    """Prefix → (table of leaves, its column for whose they are, what that is here)."""


_VERSIONS = Subject(
    "v", VERSIONS,
    {
        "type": ("a.type", "text"), "artifact": ("a.name", "text"), "name": ("a.name", "text"),
        "project": ("a.project", "text"), "partition": ("a.partition", "text"), "state": ("v.state", "text"),
        "description": ("v.description", "text"), "actor": ("v.created_by", "text"), "id": ("v.uid", "text"),
        "run": ("r.uid", "text"), "number": ("v.number", "number"), "size": ("v.stored_size", "number"),
        "entries": ("v.n_entries", "number"), "created": ("v.created_at", "time"),
        "published": ("v.published_at", "time"), "digest": ("v.root", "digest"),
    },
    {
        "tag": (
            "EXISTS (SELECT 1 FROM version_facts t WHERE t.version = v.id AND t.path = 'tag' AND {member})",
            "t.text",
        ),
        "alias": ("EXISTS (SELECT 1 FROM aliases x WHERE x.version = v.id AND {member})", "x.alias"),
    },
    {
        "metadata": ("version_facts", "version", "v.id"),
        "config": ("run_facts", "run", "v.run"), "summary": ("run_facts", "run", "v.run"),
    },
)  # fmt: skip
_RUNS = Subject(
    "r", "runs r",
    {
        "state": (_RUN_STATE, "text"), "group": ("r.grp", "text"), "key": ("r.key", "text"), "name": ("r.name", "text"),
        "project": ("r.project", "text"), "parent": ("r.parent", "text"), "actor": ("r.actor", "text"),
        "host": ("r.host", "text"), "error": ("r.error", "text"), "id": ("r.uid", "text"),
        "attempt": ("r.attempt", "number"), "started": ("r.started_at", "time"), "created": ("r.started_at", "time"),
        "ended": ("r.finished_at", "time"),
    },
    {}, {"config": ("run_facts", "run", "r.id"), "summary": ("run_facts", "run", "r.id")},
)  # fmt: skip
_ARTIFACTS = Subject(
    "a", "artifacts a",
    {
        "type": ("a.type", "text"), "artifact": ("a.name", "text"), "name": ("a.name", "text"),
        "project": ("a.project", "text"), "partition": ("a.partition", "text"), "id": ("a.uid", "text"),
        "description": ("a.description", "text"), "created": ("a.created_at", "time"),
        "updated": ("a.updated_at", "time"),
    },
    {"tag": ("EXISTS (SELECT 1 FROM artifact_tags t WHERE t.artifact = a.id AND {member})", "t.tag")},
    {},
)  # fmt: skip


def _number(c: Condition) -> float:
    if not isinstance(c.value, float):
        raise c.refuse(f"{c.text!r} is no number")
    return c.value


_READ: dict[str, Callable[[Condition], Any]] = {
    "text": lambda c: c.text,
    "number": _number,
    "time": lambda c: microseconds(parse_time(c)),
    "digest": lambda c: bytes(Digest.parse(c.text)),
}
"""Kind of column → its value in a condition."""


def find_versions(tx: Tx, query: Query, *, drafts: bool = False, deleted: bool = False) -> list[VersionRecord]:
    """Versions that match."""
    search = Search(tx, _VERSIONS, query)
    states = ["published", *(["draft"] if drafts else []), *(["deleted"] if deleted else [])]
    search.require(f"v.state IN ({', '.join(repr(state) for state in states)})")
    search.only(("a.project", query.project), ("a.type", query.type), ("a.name", query.artifact),
                ("a.partition", query.partition))  # fmt: skip
    if query.group is not None:
        search.require("EXISTS (SELECT 1 FROM logs l JOIN runs g ON g.id = l.run WHERE l.version = v.id"
                       " AND g.grp = :grp)", grp=query.group)  # fmt: skip
    rows = search.rows(VERSION, "published" if query.artifact is not None else None)
    aliases = aliases_of(tx, [row[0] for row in rows])
    return [version_record(row[:-3], aliases.get(row[0], ())) for row in rows]


def find_runs(tx: Tx, query: Query, *, using: int | None = None) -> list[RunRecord]:
    """Runs that match; with `using` only those that used that version."""
    search = Search(tx, _RUNS, query)
    search.only(("r.project", query.project), ("r.grp", query.group))
    if using is not None:
        search.require("r.id IN (SELECT run FROM uses WHERE version = :using)", using=using)
    if query.artifact is not None or query.type is not None:
        raise InvalidInputError(
            what="runs have no artifact and no type", fix="search versions, or use project and group"
        )
    return [run_record(row[:-3], tx.now) for row in search.rows(RUN)]


def find_artifacts(tx: Tx, query: Query) -> list[ArtifactRecord]:
    """Artifacts that match."""
    search = Search(tx, _ARTIFACTS, query)
    search.only(("a.project", query.project), ("a.type", query.type), ("a.name", query.artifact),
                ("a.partition", query.partition or ""))  # fmt: skip
    return [artifact_record(row[:-3]) for row in search.rows(ARTIFACT, "name")]


class Search:
    """One question being put together.

    Raises:
        InvalidInputError: A condition, the order or the position cannot be understood.
    """

    def __init__(self, tx: Tx, subject: Subject, query: Query) -> None:
        self._tx, self._subject, self._query = tx, subject, query
        self._conditions: list[str] = []
        self._values: dict[str, Any] = {}
        self._narrow = query.artifact is not None or query.group is not None
        for source in query.where:
            condition = parse_condition(source)
            positive = self._positive(condition)
            self._conditions.append(f"NOT ({positive})" if condition.op == "!=" else positive)

    def require(self, condition: str, **values: Any) -> None:
        """One more thing that must hold."""
        self._conditions.append(condition)
        self._values |= values

    def only(self, *columns: tuple[str, str | None]) -> None:
        """Columns that must equal what was asked for."""
        for column, value in columns:
            if value is not None:
                self._conditions.append(f"{column} = {self._bind(value)}")

    def rows(self, columns: str, default: str | None = None) -> Sequence[Row]:
        """The rows, with three columns more: rank, number and text of what they are ordered by."""
        subject, key = self._subject, f"{self._subject.alias}.id"
        order = self._query.order or (default and (default if default == "name" else f"-{default}"))
        rank, number, text, join, down = self._order(order) if order else ("0", _NOTHING, _NOTHING, "", True)
        direction = "DESC" if down else "ASC"
        head = f"SELECT {columns}, {rank}, {number}, {text} FROM {subject.source}{join}"
        if ":clock" in head or any(":clock" in condition for condition in self._conditions):
            self._values["clock"] = self._tx.now
        if self._query.after is not None:
            self._after(
                f"SELECT {rank}, {number}, {text}, {key} FROM {subject.source}{join}", (rank, number, text), down=down
            )
        where = f" WHERE {' AND '.join(self._conditions)}" if self._conditions else ""
        sorted_by = [f"{column} {direction}" for column in (number, text) if column != _NOTHING]
        by = ", ".join([rank, *sorted_by, f"{key} DESC"] if order else [f"{key} DESC"])
        limit = "" if self._query.limit is None else f" LIMIT {self._bind(int(self._query.limit))}"
        return self._tx.rows(f"{head}{where} ORDER BY {by}{limit}", **self._values)

    # -------------------------------------------------------------- conditions
    def _positive(self, condition: Condition) -> str:
        """SQL of the condition; of `=` where it says `!=`."""
        if condition.field in self._subject.fields:
            return self._on_column(condition, *self._subject.fields[condition.field])
        if condition.field in self._subject.lists:
            return self._on_list(condition, *self._subject.lists[condition.field])
        return self._on_facts(condition)

    def _on_column(self, c: Condition, column: str, kind: str) -> str:
        op = "=" if c.op == "!=" else c.op
        if c.value is None and not c.quoted:
            self._only_equals(c)
            return f"{column} IS NULL"
        if op == "~":
            if kind != "text":
                raise c.refuse(f"{c.field} is no text, ~ cannot look into it")
            return f"coalesce({self._tx.dialect.position}({column}, {self._bind(c.text)}), 0) > 0"
        if kind == "digest":
            self._only_equals(c)
        return f"({column} IS NOT NULL AND {column} {op} {self._bind(_READ[kind](c))})"

    def _on_list(self, c: Condition, exists: str, member: str) -> str:
        if c.op not in ("=", "!=", "~"):
            raise c.refuse(f"{c.field} can be compared with =, != and ~ only")
        if c.field == "alias" and c.op != "~" and c.text == LATEST:
            return _NEWEST
        value = self._bind(searchable(c.text) if c.op != "~" else c.text)
        inner = f"{self._tx.dialect.position}({member}, {value}) > 0" if c.op == "~" else f"{member} = {value}"
        return exists.replace("{member}", inner)

    def _on_facts(self, c: Condition) -> str:
        self._check_path(c.field, c)
        if c.value is None:
            self._only_equals(c)
            given = self._exists(c.field, "f.kind <> 'z'")
            return f"NOT {given}"
        if c.op == "~":
            return self._exists(c.field, self._contains(c))
        kind, number, text = typed(c.value)
        if kind == "b":
            self._only_equals(c)
        column, value = ("f.text", text) if kind == "t" else ("f.num", number)
        op = "=" if c.op == "!=" else c.op
        return self._exists(c.field, f"f.kind = '{kind}' AND {column} {op} {self._bind(value)}")

    def _contains(self, c: Condition) -> str:
        kind, number, _ = typed(c.value)
        text = self._bind(searchable(c.text))
        found = [
            f"f.kind = 't' AND {self._tx.dialect.position}(f.text, {text}) > 0",
            f"f.kind = 'T' AND f.text = {text}",
        ]
        if kind in "nb":
            found.append(f"f.kind = '{kind.upper()}' AND f.num = {self._bind(number)}")
        return "(" + " OR ".join(f"({one})" for one in found) + ")"

    def _exists(self, path: str, inner: str) -> str:
        """Some leaf at `path` is so: asked of each row where few are asked for, else of the index on leaves."""
        table, owner, key = self._subject.facts[path.partition(".")[0]]
        leaf = f"FROM {table} f WHERE f.path = {self._bind(path)} AND {inner}"
        if self._narrow:
            return f"EXISTS (SELECT 1 {leaf} AND f.{owner} = {key})"
        return f"({key} IS NOT NULL AND {key} IN (SELECT f.{owner} {leaf}))"

    def _only_equals(self, c: Condition) -> None:
        if c.op not in ("=", "!="):
            raise c.refuse(f"{c.text!r} can be compared with = and != only")

    def _check_path(self, field: str, condition: Condition | None) -> None:
        if field.partition(".")[0] in self._subject.facts and "." in field:
            return
        known = [*self._subject.fields, *self._subject.lists, *(f"{p}.…" for p in self._subject.facts)]
        what, fix = f"there is no field {field!r} here", f"one of {', '.join(sorted(known))}"
        if condition is None:
            raise InvalidInputError(what=what, position=0, fix=fix)
        raise condition._replace(position=0).refuse(what, fix)

    # ------------------------------------------------------------------- order
    def _order(self, source: str) -> tuple[str, str, str, str, bool]:
        """(rank, number, text, join, descending): ranks put numbers before booleans, text, then nothing at all."""
        field, down = parse_order(source)
        if field in self._subject.fields:
            column, kind = self._subject.fields[field]
            rank = f"(CASE WHEN {column} IS NULL THEN 3 ELSE 0 END)"
            worded = kind in ("text", "digest")
            return rank, _NOTHING if worded else column, column if worded else _NOTHING, "", down
        self._check_path(field, None)
        table, owner, key = self._subject.facts[field.partition(".")[0]]
        path = self._bind(field)
        join = (
            f" LEFT JOIN {table} o ON o.{owner} = {key} AND o.path = {path}"
            f" AND o.seq = (SELECT min(m.seq) FROM {table} m WHERE m.{owner} = {key} AND m.path = {path}"
            " AND m.kind IN ('n', 'b', 't'))"
        )
        rank = "(CASE o.kind WHEN 'n' THEN 0 WHEN 'b' THEN 1 WHEN 't' THEN 2 ELSE 3 END)"
        return rank, "o.num", "o.text", join, down

    def _after(self, select: str, columns: tuple[str, str, str], *, down: bool) -> None:
        """Go on behind the record with the id `query.after`."""
        key = f"{self._subject.alias}.id"
        anchor = self._tx.row(
            f"{select} WHERE {self._subject.alias}.uid = :anchor", **self._values, anchor=self._query.after
        )
        if anchor is None:
            raise InvalidInputError(what=f"nothing with the id {self._query.after!r} to go on after")
        rank, number, text, last = anchor
        behind = f"{key} < {self._bind(last)}"
        for column, value in ((columns[1], number), (columns[2], text)):
            if value is not None:
                mark, op = self._bind(value), "<" if down else ">"
                behind = f"({column} {op} {mark} OR ({column} = {mark} AND {behind}))"
        here = self._bind(rank)
        self._conditions.append(f"({columns[0]} > {here} OR ({columns[0]} = {here} AND {behind}))")

    def _bind(self, value: Any) -> str:
        name = f"q{len(self._values)}"
        self._values[name] = value
        return f":{name}"
