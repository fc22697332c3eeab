"""The data everything is measured on: made once, the same on every machine, incompressible."""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path

MIB = 1 << 20
RACY_SECONDS = 3.2
"""A stat cache may not trust files younger than 3 s: let new data grow older before it is measured."""


def small_files(folder: Path, count: int, size: int, per_folder: int = 200) -> Path:
    """`count` files of `size` bytes in folders of `per_folder`; kept if they are there already."""
    done = folder.with_suffix(".made")
    if done.exists() and done.read_text() == f"{count} {size}":
        restore(folder)
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    content = random.Random(count)
    for number in range(count):
        path = folder / f"{number // per_folder:04}" / f"{number:07}.bin"
        if number % per_folder == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(content.randbytes(size))
    done.write_text(f"{count} {size}")
    settle()
    return folder


def changed_one(folder: Path, count: int, per_folder: int = 200) -> Path:
    """Change the file in the middle; `restore` undoes it."""
    number = count // 2
    path = folder / f"{number // per_folder:04}" / f"{number:07}.bin"
    kept = folder.with_suffix(".kept")
    kept.write_bytes(path.read_bytes())
    folder.with_suffix(".kept-path").write_text(str(path))
    path.write_bytes(bytes(reversed(path.read_bytes())))
    return path


def restore(folder: Path) -> None:
    """Undo `changed_one`, if it was done."""
    kept, where = folder.with_suffix(".kept"), folder.with_suffix(".kept-path")
    if kept.exists():
        Path(where.read_text()).write_bytes(kept.read_bytes())
        kept.unlink()
        settle()


def large_file(path: Path, size: int) -> Path:
    """One file of `size` bytes."""
    if not path.exists() or path.stat().st_size != size:
        content = random.Random(size)
        with path.open("wb") as file:
            for _ in range(size // MIB):
                file.write(content.randbytes(MIB))
        settle()
    return path


def with_insertion(path: Path, target: Path, at: int, inserted: bytes) -> Path:
    """`target` becomes `path` with bytes inserted at an offset."""
    with path.open("rb") as source, target.open("wb") as file:
        for _ in range(at // MIB):
            file.write(source.read(MIB))
        file.write(inserted)
        shutil.copyfileobj(source, file, 4 * MIB)
    return target


def settle() -> None:
    """Write everything out, and let it grow older than the racy window."""
    os.sync()
    time.sleep(RACY_SECONDS)


def bytes_below(folder: Path) -> tuple[int, int]:
    """(files, bytes) of everything in a folder."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return len(sizes), sum(sizes)
