"""Comparing many references with the world by listing, not by asking for each.

A listing request answers for up to 1,000 keys. Where the service lists in byte
order and may start anywhere, every request begins at the next wanted key: so
none is spent on a gap, and there are never more requests than references.
"""

from __future__ import annotations

import os.path
from collections.abc import Iterable, Iterator
from itertools import islice

from headwater.backends.buckets import Address, Cloud, Seen
from headwater.backends.proofs import contrast, describe, same
from headwater.errors import AccessError, CredentialsError, InvalidInputError, NotFoundError, StorageError
from headwater.model.manifest import Pin
from headwater.ports import Checked, outcome_of

BATCH = 50_000
"""References compared at a time: bounds the memory."""

Wanted = tuple[str, Pin, Address]


def check_in_bulk(cloud: Cloud, references: Iterable[tuple[str, Pin]]) -> Iterator[Checked]:
    """Yield one answer per reference, in their order; see `ports.Source.check`."""
    stream = iter(references)
    while batch := list(islice(stream, BATCH)):
        buckets: dict[tuple[str, str], list[int]] = {}
        answers: dict[int, Checked] = {}
        wanted: dict[int, Wanted] = {}
        for number, (uri, pin) in enumerate(batch):
            try:
                address = cloud.parse(uri)
            except InvalidInputError as error:
                answers[number] = Checked(uri, "missing", str(error))
                continue
            wanted[number] = (uri, pin, address)
            buckets.setdefault((address.root, address.bucket), []).append(number)
        for numbers in buckets.values():
            group = _Group(cloud, [wanted[number] for number in numbers])
            answers.update(zip(numbers, group.answers()))
        yield from (answers[number] for number in range(len(batch)))


class _Group:
    """References into one bucket."""

    def __init__(self, cloud: Cloud, wanted: list[Wanted]) -> None:
        self._cloud, self._wanted = cloud, wanted
        self._address = wanted[0][2]._replace(version=None)
        self._seen: dict[str, list[Seen]] = {address.key: [] for _, _, address in wanted}
        self._keys = sorted(self._seen, key=str.encode)
        self._unlisted: set[str] = set()
        """Keys that listing did not settle: to be looked at one by one."""

    def answers(self) -> list[Checked]:
        try:
            self._list()
        except (CredentialsError, StorageError) as error:
            return [Checked(uri, outcome_of(error), str(error)) for uri, _, _ in self._wanted]
        except AccessError:
            self._unlisted = {key for key, seen in self._seen.items() if not seen}
        except NotFoundError:
            return [Checked(uri, "missing", f"there is no {self._address.bucket}") for uri, _, _ in self._wanted]
        return [self._answer(*wanted) for wanted in self._wanted]

    def _list(self) -> None:
        prefix = os.path.commonprefix(self._keys)  # noqa: RUF071 (a listing's prefix is of characters)
        if self._cloud.seeks(self._address):
            self._list_seeking(prefix)
        else:
            self._list_through(prefix)

    def _list_seeking(self, prefix: str) -> None:
        at = 0
        while at < len(self._keys):
            for page in self._cloud.pages(self._address, prefix, self._keys[at], versions=True):
                self._note(page)
                last = page[-1].key.encode() if page else None
                if last is None:
                    continue
                before = at
                while at < len(self._keys) and self._keys[at].encode() < last:
                    at += 1
                if at == len(self._keys) or (at > before and self._keys[at].encode() != last):
                    break  # the next wanted key is further on: ask from there
            else:
                return  # the listing has ended: everything is settled

    def _list_through(self, prefix: str) -> None:
        """List everything below the common prefix, as long as that is cheaper than asking for each key."""
        open_keys = set(self._keys)
        for pages, page in enumerate(self._cloud.pages(self._address, prefix, versions=True), start=1):
            self._note(page)
            open_keys.difference_update(seen.key for seen in page)
            if not open_keys:
                return
            if pages >= len(self._keys):
                self._unlisted = open_keys
                return

    def _note(self, page: list[Seen]) -> None:
        for seen in page:
            if (known := self._seen.get(seen.key)) is not None:
                known.append(seen)

    def _answer(self, uri: str, pin: Pin, address: Address) -> Checked:
        if address.version is not None and pin.version is None:
            pin = Pin(version=address.version, checksum=pin.checksum, etag=pin.etag, modified=pin.modified)
        try:
            seen = self._seen[address.key]
            if address.key in self._unlisted:
                seen = [self._cloud.look(address._replace(version=None))]
            return self._look_closer(pin, address, compare(uri, pin, seen))
        except NotFoundError:
            return self._look_closer(pin, address, Checked(uri, "missing", None))
        except (AccessError, StorageError) as error:
            return Checked(uri, outcome_of(error), str(error))

    def _look_closer(self, pin: Pin, address: Address, answer: Checked) -> Checked:
        """A listing may lack older versions, or the checksum that the pin has: ask before crying wolf."""
        if answer.outcome not in ("changed", "missing"):
            return answer
        if pin.version is not None:
            if self._cloud.shows_versions(self._address) and address.key not in self._unlisted:
                return answer
            return self._look_for_version(pin.version, address, answer)
        if answer.outcome == "changed" and pin.checksum is not None:
            return compare(answer.uri, pin, [self._cloud.look(address)])
        return answer

    def _look_for_version(self, version: str, address: Address, answer: Checked) -> Checked:
        try:
            self._cloud.look(address._replace(version=version))
        except NotFoundError:
            return answer
        since = f"overwritten since: {answer.found} is current" if answer.outcome == "changed" else "deleted since"
        return Checked(answer.uri, "same", f"{since}; the pinned version is still kept")


def compare(uri: str, pin: Pin, seen: list[Seen]) -> Checked:
    """Judge one reference by everything that was seen at its key."""
    current = next((each for each in seen if each.current), None)
    if pin.strength == "unverified":
        found = None if current is None else describe(current.pin)
        return Checked(uri, "missing" if current is None else "unverified", found, current and current.size)
    if current is not None and same(pin, current.pin):
        return Checked(uri, "same", None, current.size)
    if pin.version is not None and any(each.pin.version == pin.version for each in seen):
        since = f"overwritten since: {describe(current.pin)} is current" if current else "deleted since"
        return Checked(uri, "same", f"{since}; the pinned version is still kept")
    if current is None:
        return Checked(uri, "missing", "only older versions are left" if seen else None)
    if same(pin, current.pin) is None:
        return Checked(uri, "unverified", f"{describe(current.pin)}: only reading can tell", current.size)
    return Checked(uri, "changed", contrast(pin, current.pin)["found"])
