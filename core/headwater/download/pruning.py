"""Shared trees take room: measuring them, and removing those that were not used for longest.

When a tree was last used is the time of its `.stats` file, which `shared_tree`
touches; access times are not, as many file systems do not keep them.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from headwater import disk
from headwater.errors import AccessError, StorageError

if TYPE_CHECKING:
    from headwater.download.filling import Home

TREES = "trees"
YOUNG_SECONDS = 3600.0
"""A tree used within this time is likely being read, and stays, unless everything is to go."""


def mark_used(tree: Path) -> None:
    """Remember that somebody uses the tree now; where that cannot be written, nothing happens."""
    with contextlib.suppress(OSError):
        os.utime(_stats_of(tree))


def folder_bytes(folder: Path) -> int:
    """Bytes of the files below a directory; 0 if it is not there. What vanishes meanwhile does not count."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += (Path(parent) / name).lstat().st_size
    return total


def prune_trees(home: Home, to_bytes: int = 0) -> int:
    """Remove shared trees, longest unused first, until they take at most `to_bytes`; return the bytes freed.

    Trees used within the last hour stay, except when everything is to go (`to_bytes=0`); one that is being
    filled stays in any case. They are copies: whoever asks again gets them again.

    Raises:
        AccessError, StorageError: One could not be removed.
    """
    folder = home.folder / TREES
    sizes = {tree: _size_of(tree) for tree in _trees(folder)}
    left, freed, now = sum(sizes.values()), 0, time.time()
    for tree in sorted(sizes, key=_last_used):
        if left - freed <= to_bytes:
            break
        if to_bytes == 0 or now - _last_used(tree) > YOUNG_SECONDS:
            freed += sizes[tree] if _remove(tree) else 0
    return freed


def keep_quota(home: Home, quota: int) -> int:
    """Remove shared trees, longest unused first, until they take at most `quota`; those of the last hour stay.

    Called after a tree was made. Best effort: a tree that cannot be removed is nobody's error here.
    """
    with contextlib.suppress(AccessError, StorageError):
        return prune_trees(home, max(1, quota))  # 0 would take the young ones too
    return 0


def _trees(folder: Path) -> list[Path]:
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as found:
        return [Path(entry.path) for entry in found if entry.is_dir(follow_symlinks=False)]
    return []


def record_size(tree: Path, size: int) -> None:
    """Keep a complete tree's size beside it: adding up needs no walk then."""
    with contextlib.suppress(OSError):
        _note_of(tree).write_text(str(size))


def _size_of(tree: Path) -> int:
    try:
        return int(_note_of(tree).read_text())
    except (OSError, ValueError):  # unfinished, or made by an older version
        return folder_bytes(tree)


def _note_of(tree: Path) -> Path:
    return tree.with_name(tree.name + ".bytes")


def _stats_of(tree: Path) -> Path:
    return tree.with_name(tree.name.removesuffix(".unfinished") + ".stats")


def _last_used(tree: Path) -> float:
    times = []
    for path in (tree, _stats_of(tree)):
        with contextlib.suppress(OSError):
            times.append(path.lstat().st_mtime)
    return max(times, default=0.0)


def _remove(tree: Path) -> bool:
    lock = _stats_of(tree).with_suffix(".lock")
    try:
        with disk.locked(lock, patience=0.0), disk.explained(tree):
            _stats_of(tree).unlink(missing_ok=True)
            _note_of(tree).unlink(missing_ok=True)
            disk.remove_tree(tree)
    except StorageError as error:
        if error.retryable:  # somebody is filling it
            return False
        raise
    return True
