"""A file of versions: a whole small repository (catalog and packs) in one tar, so that any Headwater can read it.

Written beside its name and renamed when complete. Nothing is unpacked from a file but the
catalog and objects whose names are those of a repository.
"""

from __future__ import annotations

import re
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from headwater import disk
from headwater.connect import CATALOG_FILE, OBJECTS_FOLDER, open_folder
from headwater.errors import FormatError, InvalidInputError
from headwater.exchange.copying import Copied, Wishes, copy_versions
from headwater.exchange.selecting import select

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headwater.home import Home
    from headwater.ports import Progress

_MEMBER = re.compile(rf"(?:{re.escape(CATALOG_FILE)}|{OBJECTS_FOLDER}/[a-z0-9][a-z0-9/._-]*)\Z")


def export_file(
    home: Home, path: Path, version_ids: Sequence[str], wishes: Wishes, progress: Progress | None = None
) -> Copied:
    """Write versions with their lineage to a new file.

    Raises:
        InvalidInputError: The file exists.
        As `copy_versions`; StorageError, AccessError: The file could not be written; it is not there then.
    """
    target = Path(path).absolute()
    if target.exists():
        raise InvalidInputError(what="the file exists already", where=target, fix="choose another name, or remove it")
    with _scratch(target.parent) as folder:
        with open_folder(folder / "repository") as small:
            done = copy_versions(home, small.home, version_ids, wishes, progress)
        with disk.explained(target):
            unfinished = folder / "export"
            _pack(folder / "repository", unfinished)
            unfinished.replace(target)
    return done


def import_file(home: Home, path: Path, wishes: Wishes, progress: Progress | None = None) -> Copied:
    """Take over everything in a file that `export_file` wrote. Idempotent.

    Raises:
        FormatError: Not such a file, or a damaged one.
        As `copy_versions`.
    """
    with _scratch(None) as folder:
        _unpack(Path(path), folder / "repository")
        with open_folder(folder / "repository") as small:
            return copy_versions(small.home, home, select(small.home, ()), wishes, progress)


@contextmanager
def _scratch(parent: Path | None) -> Iterator[Path]:
    with disk.explained(parent or Path(tempfile.gettempdir())):
        folder = Path(tempfile.mkdtemp(prefix=".headwater-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _pack(repository: Path, target: Path) -> None:
    with tarfile.open(target, "x", format=tarfile.PAX_FORMAT) as archive:
        archive.add(repository / CATALOG_FILE, CATALOG_FILE)
        for found in sorted((repository / OBJECTS_FOLDER).rglob("*")):
            name = found.relative_to(repository).as_posix()
            if found.is_file() and _MEMBER.match(name):
                archive.add(found, name, recursive=False)


def _unpack(path: Path, repository: Path) -> None:
    keep: Callable[[tarfile.TarInfo], bool] = lambda m: m.isfile() and bool(_MEMBER.match(m.name))  # noqa: E731
    with disk.explained(path):
        try:
            with tarfile.open(path, "r:") as archive:
                for member in archive:
                    if not keep(member) or ".." in member.name:
                        raise FormatError(what=f"this file holds {member.name!r}, so no export made it", where=path)
                    data = archive.extractfile(member)
                    assert data is not None
                    place = repository / member.name
                    place.parent.mkdir(parents=True, exist_ok=True)
                    with place.open("xb") as file:
                        shutil.copyfileobj(data, file, 1 << 20)
        except tarfile.TarError as error:
            raise FormatError(what=f"this is no export, or a damaged one: {error}", where=path) from None
    if not (repository / CATALOG_FILE).exists():
        raise FormatError(what="this file holds no catalog, so no export made it", where=path)
