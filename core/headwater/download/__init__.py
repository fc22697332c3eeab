"""The journey back: from a manifest to files, every byte verified before its file gets its name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, get_args

from headwater.download.borrowed import References, Skipped
from headwater.download.filling import Filled, Home, Wishes, fill, walk_files
from headwater.download.reader import open_entry
from headwater.download.selection import Selection
from headwater.download.shared import shared_tree
from headwater.download.target import TEMPORARY
from headwater.download.verifying import VerifyReport, verify_tree
from headwater.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headwater.model.digest import Digest
    from headwater.ports import Progress

__all__ = [
    "CheckedOut", "Download", "Skipped", "VerifyReport",
    "checkout", "fetch", "open_entry", "shared_tree", "verify_tree",
]  # fmt: skip


class Download(NamedTuple):
    """What `fetch` brought."""

    path: Path
    """The directory, absolute."""
    skipped: tuple[Skipped, ...]
    """References that are not there, each with the reason."""


class CheckedOut(NamedTuple):
    """What `checkout` did, or with `dry_run` would do. Paths relative to the target."""

    placed: tuple[str, ...]
    removed: tuple[str, ...]
    kept: tuple[str, ...]
    """Files that are not Headwater's and stay."""


def fetch(  # noqa: PLR0913 - one parameter per wish a user may have
    home: Home,
    root: Digest,
    target: Path,
    *,
    prefix: str | None = None,
    glob: str | None = None,
    references: References = "copy",
    allow_missing_references: bool = False,
    link: bool = False,
    progress: Progress | None = None,
) -> Download:
    """Bring the entries of a manifest, or those selected, below `target`. Other files there stay.

    Resumable: what is right already is not fetched again. A file gets its name only when its bytes
    have been verified. Costs the pages that may hold the selection and the packs that hold its files.

    Args:
        home: The repository.
        root: Digest of the manifest's root.
        target: A directory; made if absent.
        prefix: A path inside the manifest: it and everything below it.
        glob: A pattern over whole paths; `**` crosses directories.
        references: Copy their bytes, make symbolic links to `file://` ones, or skip them.
        allow_missing_references: List references that cannot be had in `skipped` instead of raising.
        link: Make read-only hard links to the file cache, where there is one on the same file system.
        progress: Told bytes brought and in all.

    Raises:
        ConflictError: Files in the way, or names this file system cannot tell apart; before the first change.
        NotFoundError: Nothing has the prefix, or matches the glob; before the first change.
        InvalidInputError: A reference that cannot be left in place, or both prefix and glob.
        IntegrityError, AccessError, StorageError, ReferenceMissingError
    """
    if references not in get_args(References):
        raise InvalidInputError(what=f"references are 'copy', 'in-place' or 'skip', not {references!r}")
    selection = Selection(home.blobs, home.blobs.read_root(root), prefix=prefix, glob=glob)
    selection.require_any()
    wishes = Wishes(references=references, tolerant=allow_missing_references, link=link, progress=progress)
    filled = fill(home, selection, Path(target), wishes)
    return Download(Path(target).absolute(), tuple(filled.skipped))


def checkout(
    home: Home, root: Digest, target: Path, *, dry_run: bool = False, progress: Progress | None = None
) -> CheckedOut:
    """Make `target` exactly the manifest: files, executable bits, empty directories; removes what earlier calls placed.

    Files that Headwater did not place are never touched; they are listed in `kept`.

    Raises:
        ConflictError: A file to be replaced or removed is not ours, or was changed; before any change.
        IntegrityError, AccessError, StorageError, ReferenceMissingError
    """
    selection = Selection(home.blobs, home.blobs.read_root(root))
    filled = fill(home, selection, Path(target), Wishes(exact=True, dry_run=dry_run, progress=progress))
    kept = tuple(_kept(Path(target), selection, filled)) if Path(target).is_dir() else ()
    return CheckedOut(tuple(filled.placed), tuple(filled.removed), kept)


def _kept(target: Path, selection: Selection, filled: Filled) -> Iterator[str]:
    removed, wanted = set(filled.removed), selection.paths()
    current = next(wanted, None)
    for path in walk_files(target):
        while current is not None and current < path:
            current = next(wanted, None)
        if current != path and path not in removed and not path.startswith(TEMPORARY + "/"):
            yield path
