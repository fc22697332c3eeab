"""Trying out a store before anything depends on it: what must be possible there, and whether its clock is right.

Every answer is a sentence for people. The objects that are made are removed again; they
lie under `checks/`, where nothing else looks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from headwater.errors import AccessError, ConflictError, HeadwaterError, NotFoundError
from headwater.model.keys import MARKER, decode_marker
from headwater.ports.health import Examined, examine_clock
from headwater.store.ulids import new_ulid

if TYPE_CHECKING:
    from headwater.ports import ObjectStore

_DATA = b"headwater tries whether it may write here\n"
_RIGHTS = {
    "s3": {"write": "s3:PutObject", "read": "s3:GetObject", "list": "s3:ListBucket", "delete": "s3:DeleteObject"},
    "gs": {"write": "storage.objects.create", "read": "storage.objects.get", "list": "storage.objects.list",
           "delete": "storage.objects.delete"},
    "az": {"write": "Storage Blob Data Contributor", "read": "Storage Blob Data Reader",
           "list": "Storage Blob Data Reader", "delete": "Storage Blob Data Contributor"},
}  # fmt: skip
_UNSEEN = {"az": "Azure keeps such rules with the account, where who may read and write blobs does not see them"}
"""Where there may be rules that expire objects, and nobody can be asked."""


def examine_store(objects: ObjectStore) -> Iterator[Examined]:
    """Write, write conditionally, read, list, delete; compare clocks; ask for rules that expire objects.

    About twelve requests. Never raises for what it finds; a step whose ground is missing is left out.
    """
    key = f"checks/{new_ulid().lower()}"
    trial = _Trial(objects, key)
    wrote = yield from trial.step("write", "packs can be written", trial.write)
    if wrote:
        yield from trial.step("read", "they can be read, whole and in part", trial.read)
        listed = yield from trial.step("list", "they can be listed", trial.find)
        if listed and trial.modified is not None:
            yield examine_clock("store clock", trial.modified.timestamp(), time.time())
        yield from trial.step("condition", "conditional writes are honoured", trial.swap)
        yield from trial.step("delete", "they can be deleted", trial.delete)
    yield from _lifecycle(objects)


def examine_marker(objects: ObjectStore, repository_id: str) -> Examined:
    """Whether the store is this repository's."""
    try:
        found = objects.read_marker(MARKER)
    except HeadwaterError as error:
        return Examined("marker", False, str(error), exit_code=error.exit_code)
    if found is None:
        return Examined("marker", False, f"{objects.url} has no marker: it is empty, or another place", "check its URL")
    owner = decode_marker(found[0]).repository
    if owner != repository_id:
        return Examined("marker", False, f"{objects.url} belongs to repository {owner}", "give each its own prefix")
    return Examined("marker", True, f"{objects.url} is this repository's")


def _lifecycle(objects: ObjectStore) -> Iterator[Examined]:
    ask: Callable[[], tuple[str, ...]] | None = getattr(objects, "expiring_rules", None)
    if ask is None:
        unseen = _UNSEEN.get(urlsplit(objects.url).scheme)
        if unseen:
            fix = "look under Lifecycle management that none deletes packs"
            yield Examined("lifecycle", True, f"not known: {unseen}", fix)
        return
    try:
        rules = ask()
    except HeadwaterError as error:
        yield Examined("lifecycle", True, f"not known: {error}", "look that no rule of the bucket deletes packs")
        return
    if rules:
        what = f"the bucket deletes packs by itself: {'; '.join(rules)}"
        yield Examined("lifecycle", False, what, "remove the rule, or restrict it to other prefixes")
    else:
        yield Examined("lifecycle", True, "no rule of the bucket expires packs")


class _Trial:
    """One object's short life."""

    def __init__(self, objects: ObjectStore, key: str) -> None:
        self._objects, self._key = objects, key
        self.modified: datetime | None = None

    def step(self, name: str, good: str, work: Callable[[], str | None]) -> Generator[Examined, None, bool]:
        try:
            wrong = work()
        except HeadwaterError as error:
            yield Examined(f"store {name}", False, str(error), self._right(name, error), error.exit_code)
            return False
        yield Examined(f"store {name}", wrong is None, wrong or good)
        return wrong is None

    def _right(self, name: str, error: HeadwaterError) -> str:
        rights = _RIGHTS.get(urlsplit(self._objects.url).scheme, {})
        right = rights.get({"condition": "write"}.get(name, name))
        return f"allow {right}" if isinstance(error, AccessError) and right else ""

    def write(self) -> str | None:
        self._objects.put(self._key, _DATA)
        return None

    def read(self) -> str | None:
        if self._objects.get(self._key) != _DATA:
            return "what was written reads differently"
        if self._objects.get(self._key, 5, 9) != _DATA[5:14]:
            return "reading a part of an object gives other bytes"
        return None

    def find(self) -> str | None:
        found = [info for info in self._objects.list("checks/") if info.key == self._key]
        if not found:
            return "an object that was just written is not listed"
        self.modified = found[0].modified_at.astimezone(UTC)
        return None

    def swap(self) -> str | None:
        key = f"{self._key}.marker"
        first = self._objects.swap_marker(key, b"1", None)
        return self._ignored(key, None) or self._swapped(key, first)

    def _swapped(self, key: str, first: str) -> str | None:
        self._objects.swap_marker(key, b"2", first)
        return self._ignored(key, first)

    def _ignored(self, key: str, stale: str | None) -> str | None:
        try:
            self._objects.swap_marker(key, b"wrong", stale)
        except ConflictError:
            return None
        return "a conditional write went through although its condition did not hold: clean-up cannot be safe here"

    def delete(self) -> str | None:
        for key in (f"{self._key}.marker", self._key):
            self._objects.delete(key)
        try:
            self._objects.get(self._key)
        except NotFoundError:
            return None
        return "an object that was deleted can still be read"
