"""What changed between two versions: files, and on request how they were made."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from headwater.model.digest import Digest
from headwater.model.entries import entry_json
from headwater.model.manifest import Change, Entry, StoredEntry, diff_roots

if TYPE_CHECKING:
    from headwater.handle import Handle
    from headwater.home import Home
    from headwater.model.manifest import Root
    from headwater.model.records import RunRecord


class Rename(msgspec.Struct, frozen=True):
    """The same content under another path."""

    old: Entry
    new: Entry


class LineageDiff(msgspec.Struct, frozen=True):
    """How the two producers differ: each a mapping from name to (old, new); None where one has nothing."""

    inputs: dict[str, tuple[str | None, str | None]]
    config: dict[str, tuple[Any, Any]]
    code: dict[str, tuple[Any, Any]]


class Diff(msgspec.Struct, frozen=True, kw_only=True):
    """The change from `old` to `new`; every list in path order."""

    old: str
    new: str
    added: tuple[Entry, ...]
    removed: tuple[Entry, ...]
    changed: tuple[tuple[Entry, Entry], ...]
    renamed: tuple[Rename, ...]
    lineage: LineageDiff | None = None

    def __bool__(self) -> bool:
        """Whether any entry differs."""
        return bool(self.added or self.removed or self.changed or self.renamed)

    def to_json(self) -> dict[str, Any]:
        """Plain values: paths and sizes per kind of change."""
        body: dict[str, Any] = {
            "old": self.old,
            "new": self.new,
            "added": [entry_json(e) for e in self.added],
            "removed": [entry_json(e) for e in self.removed],
            "changed": [{"path": a.path, "old": entry_json(a), "new": entry_json(b)} for a, b in self.changed],
            "renamed": [{"from": r.old.path, "to": r.new.path, "size": r.new.size} for r in self.renamed],
        }
        if self.lineage is not None:
            body["lineage"] = msgspec.to_builtins(self.lineage)
        return body


def diff_versions(old: Handle, new: Handle, *, lineage: bool = False) -> Diff:
    """Compare two versions of one repository; reads only the manifest pages that differ."""
    changes = list(diff_roots(_root(old), _root(new), old.home.blobs.read_page))
    added, removed, renamed = _find_renames(changes)
    return Diff(
        old=str(old),
        new=str(new),
        added=added,
        removed=removed,
        renamed=renamed,
        changed=tuple((c.old, c.new) for c in changes if c.kind == "changed" and c.old and c.new),
        lineage=_compare_producers(old, new) if lineage else None,
    )


def _root(version: Handle) -> Root:
    return version.readable().blobs.read_root(Digest.parse(version.digest))


def _find_renames(changes: list[Change]) -> tuple[tuple[Entry, ...], tuple[Entry, ...], tuple[Rename, ...]]:
    # Files without content are all alike: calling one the other's new name would mislead.
    gone: dict[Digest, list[StoredEntry]] = defaultdict(list)
    for change in changes:
        if change.kind == "removed" and isinstance(change.old, StoredEntry) and change.old.size:
            gone[change.old.digest].append(change.old)
    added: list[Entry] = []
    renamed: list[Rename] = []
    for change in changes:
        if change.kind != "added" or change.new is None:
            continue
        twins = gone.get(change.new.digest) if isinstance(change.new, StoredEntry) else None
        if twins:
            renamed.append(Rename(twins.pop(0), change.new))
        else:
            added.append(change.new)
    moved = {rename.old.path for rename in renamed}
    removed = [c.old for c in changes if c.kind == "removed" and c.old and c.path not in moved]
    return tuple(added), tuple(removed), tuple(renamed)


def _compare_producers(old: Handle, new: Handle) -> LineageDiff:
    a, b = (_producer(v) for v in (old, new))
    return LineageDiff(
        inputs=_differing(_inputs(old.home, a), _inputs(new.home, b)),
        config=_differing(_flat(a.config if a else {}), _flat(b.config if b else {})),
        code=_differing(_flat(a.code if a else {}), _flat(b.code if b else {})),
    )


def _producer(version: Handle) -> RunRecord | None:
    run_id = version.record.run_id
    return version.home.catalog.runs.get(run_id) if run_id else None


def _inputs(home: Home, run: RunRecord | None) -> dict[str, Any]:
    if run is None:
        return {}
    inputs: dict[str, Any] = {}
    for edge in home.catalog.runs.used(run.id):
        v = edge.version
        name = f"{v.project}/{v.artifact}" + (f"[{v.partition}]" if v.partition else "")
        key = f"{edge.role}: {name}" if edge.role else name
        inputs[key] = f"v{v.number}" if v.number is not None else v.digest
    return inputs


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat |= _flat(item, f"{prefix}{key}.") if isinstance(item, dict) else {f"{prefix}{key}": item}
    return flat


def _differing(old: dict[str, Any], new: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    keys = sorted(old.keys() | new.keys())
    return {k: (old.get(k), new.get(k)) for k in keys if old.get(k) != new.get(k)}
