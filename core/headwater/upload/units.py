"""Units of reading: neighbouring items whose files are read by one thread in one go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from headwater.model.chunker import MIN_FILE
from headwater.store.intake import Given, Item
from headwater.store.listing import Segment
from headwater.store.reading import Habit, Whole, read_whole

UNIT_BYTES: Final = 4 << 20
UNIT_FILES: Final = 512
UNIT_ENTRIES: Final = 8_192


class Read(NamedTuple):
    """One file to be read."""

    segment: Segment
    at: int
    path: str

    @property
    def file(self) -> str:
        return self.segment.listing.file(self.at)

    @property
    def size(self) -> int:
        return self.segment.listing.stats[self.at][2]


class Unit:
    """Neighbouring items that are read together."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.new: list[Read | Given] = []
        """What needs a place in the store, in path order."""
        self.large: Read | Given | None = None
        self.n_bytes = 0
        self.n_entries = 0

    @property
    def full(self) -> bool:
        return self.n_bytes >= UNIT_BYTES or len(self.new) >= UNIT_FILES or self.n_entries >= UNIT_ENTRIES

    def add(self, item: Item, new: Sequence[Read | Given]) -> None:
        self.items.append(item)
        self.new += new
        self.n_entries += len(item)
        self.n_bytes += sum(thing.size for thing in new)

    def read(self) -> list[Whole]:
        habit = Habit()
        return [read_whole(thing.file, habit) for thing in self.new if isinstance(thing, Read)]


def units(items: Iterator[Item]) -> Iterator[Unit]:
    """Cut a stream of items into units; a large file is a unit of its own."""
    unit = Unit()
    for item in items:
        for part, new in _parts(item):
            is_large = len(new) == 1 and new[0].size >= MIN_FILE
            if unit.items and (is_large or unit.full):
                yield unit
                unit = Unit()
            if is_large:
                unit.large = new[0]
                unit.add(part, ())
                yield unit
                unit = Unit()
            else:
                unit.add(part, new)
    if unit.items:
        yield unit


def _parts(item: Item) -> Iterator[tuple[Item, Sequence[Read | Given]]]:
    """Cut a segment so that no part has more to read than a unit may, and a large file stands alone."""
    if isinstance(item, Given):
        yield item, [item] if isinstance(item.content, bytes) else ()
        return
    start, size, low = 0, 0, item.low
    reads: list[Read] = []
    unread, paths = item.unread(), item.paths
    for place in unread:
        read = Read(item, place, paths[place - low])
        is_full = size >= UNIT_BYTES or len(reads) >= UNIT_FILES
        if reads and (is_full or read.size >= MIN_FILE or reads[-1].size >= MIN_FILE):
            yield from _split(item, start, place - low, reads)
            start, size, reads = place - low, 0, []
        reads.append(read)
        size += read.size
    yield from _split(item, start, len(item), reads)


def _split(item: Segment, start: int, stop: int, reads: list[Read]) -> Iterator[tuple[Item, Sequence[Read | Given]]]:
    """A large file is the first of its part; what follows it is known and may be a part of its own."""
    if len(reads) == 1 and reads[0].size >= MIN_FILE:
        at = reads[0].at - item.low
        for low, high, new in ((start, at, []), (at, at + 1, reads), (at + 1, stop, [])):
            part = item.part(low, high)
            if part is not None:
                yield part, new
        return
    part = item.part(start, stop)
    if part is not None:
        yield part, reads
