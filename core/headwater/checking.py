"""Is everything a version points at still as it was recorded? Asked in bulk, before a job reads it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from headwater.model.manifest import ReferenceEntry
from headwater.sources import SOURCES

if TYPE_CHECKING:
    from headwater.model.manifest import Pin
    from headwater.ports import Checked, Progress, Source
    from headwater.version import Version

BATCH = 50_000
"""References held in memory at a time."""


class Drift(msgspec.Struct, frozen=True):
    """One reference that is not known to be as recorded."""

    path: str
    uri: str
    outcome: str
    """`changed`, `missing`, `denied`, `no-credentials`, `unavailable`; `unverified` where the pin proves nothing."""
    recorded: str
    """The pin's strength: `version`, `checksum`, `etag`, `stat` or `unverified`."""
    found: str | None
    """What is there instead, in words."""


class CheckReport(msgspec.Struct, frozen=True, kw_only=True):
    """How a version's references compare with the world."""

    version: str
    n_references: int
    counts: dict[str, int]
    """References by outcome, `same` included."""
    drifts: tuple[Drift, ...]
    """Every reference whose outcome is not `same`, in path order."""

    @property
    def ok(self) -> bool:
        """Whether every reference is there as recorded, or is one whose pin never promised anything."""
        return all(drift.outcome == "unverified" for drift in self.drifts)

    def __bool__(self) -> bool:
        return self.ok


def check(version: Version[Any], *, prefix: str = "", progress: Progress | None = None) -> CheckReport:
    """Compare a version's references with the world, by listings: about one request per 1,000 of them.

    Bytes that Headwater keeps are not looked at (`headwater verify` does that).

    Args:
        version: Whose references.
        prefix: Only those below this path.
        progress: Told `check`, references done, and None.

    Raises:
        EntryNotFoundError: Nothing has that prefix.
        StateError: The version is deleted.
        IntegrityError, StorageError, AccessError: Its manifest cannot be read. What the sources say becomes a finding.
    """
    counts: Counter[str] = Counter()
    drifts: list[Drift] = []
    references = (e for e in version.entries(prefix) if isinstance(e, ReferenceEntry))
    while batch := list(islice(references, BATCH)):
        for entry, answer in _ask(batch):
            counts[answer.outcome] += 1
            if answer.outcome != "same":
                drifts.append(Drift(entry.path, entry.uri, answer.outcome, entry.pin.strength, answer.found))
            if progress:
                progress("check", counts.total(), None)
    drifts.sort(key=lambda drift: drift.path.encode())
    return CheckReport(
        version=str(version), n_references=counts.total(), counts=dict(sorted(counts.items())), drifts=tuple(drifts)
    )


def _ask(entries: list[ReferenceEntry]) -> Iterator[tuple[ReferenceEntry, Checked]]:
    by_source: dict[int, tuple[Source, list[ReferenceEntry]]] = {}
    for entry in entries:
        source = SOURCES.find(entry.uri)
        by_source.setdefault(id(source), (source, []))[1].append(entry)
    for source, asked in by_source.values():
        for entry, answer in zip(asked, source.check(_pins(asked))):
            yield entry, _with_size(entry, answer)


def _with_size(entry: ReferenceEntry, answer: Checked) -> Checked:
    """Pins hold no size, entries do: a source may find the same time, and other bytes all the same."""
    if answer.outcome not in ("same", "unverified") or None in (entry.size, answer.size) or entry.size == answer.size:
        return answer
    return answer._replace(outcome="changed", found=f"{answer.size} bytes instead of {entry.size}")


def _pins(entries: Iterable[ReferenceEntry]) -> Iterator[tuple[str, Pin]]:
    return ((entry.uri, entry.pin) for entry in entries)
