"""Bytes of references brought into files, to become entries of ours."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from headwater import disk
from headwater.download.borrowed import Proof, Unreadable, read_pinned
from headwater.download.crew import REMOTE_WORKERS, Crew

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from headwater.model.manifest import ReferenceEntry
    from headwater.ports import Progress


def copy_references(
    entries: Iterable[ReferenceEntry], folder: Path, progress: Progress | None = None
) -> Iterator[tuple[str, Path]]:
    """(path, file) of each reference, in their order; several are read at once, each checked against its size and pin.

    Args:
        entries: What to read, just asked of its source.
        folder: Where the files go, named by numbers; made if absent.
        progress: Told `copy`, bytes so far, and bytes in all where every size is known.

    Raises:
        ReferenceMissingError, ReferenceChangedError, AccessError, StorageError: Files already given stay.
    """
    wanted = list(entries)
    sizes = [entry.size for entry in wanted]
    total = None if None in sizes else sum(size or 0 for size in sizes)
    done = 0
    with disk.explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with Crew(REMOTE_WORKERS) as crew:
        jobs = (partial(_copy, entry, folder / str(number)) for number, entry in enumerate(wanted))
        for entry, file in zip(wanted, crew.run(jobs)):
            done += file.stat().st_size
            if progress:
                progress("copy", done, total)
            yield entry.path, file


def _copy(entry: ReferenceEntry, file: Path) -> Path:
    proof = Proof(entry, None)
    try:
        with disk.explained(file), file.open("xb", buffering=0) as new:
            for piece in read_pinned(entry):
                proof.update(piece)
                disk.write_all(new.fileno(), piece)
        proof.finish()
    except Unreadable as refused:
        raise refused.error from None
    return file
