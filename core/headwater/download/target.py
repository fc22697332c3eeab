"""A directory that files are placed in, and nothing outside it: every step down is taken without following links.

Paths are walked by directory descriptors, so a symbolic link that somebody
plants inside the target, before or while we write, leads nowhere. Finished
temporary files are renamed into place; unfinished ones lie in one directory of
a name of ours at the top of the target, so that the rename stays on one file
system and the next call finds and removes what a killed one left.
"""
# os functions throughout: pathlib knows no directory descriptors

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import threading
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from headwater import disk
from headwater.errors import ConflictError, FormatError, HeadwaterError, InvalidInputError
from headwater.model.naming import check_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

TEMPORARY: Final = ".headwater-unfinished"
"""The directory of unfinished files, at the top of the target."""

_HERE: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_FOLDER: Final = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | _HERE
_NEW: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
_READ: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _HERE


_PART: Final = r"[^/\x00-\x1f\x7f\ud800-\udfff]+"
_PLAIN: Final = re.compile(rf"(?:(?!\.\.?/){_PART}/)*(?!\.\.?/?\Z){_PART}/?\Z")
"""Surely a path that `check_path` takes, if it is short."""
_SHORT: Final = 1000


class Target:
    """An open target directory. Safe between threads; use as a context manager.

    Args:
        root: The directory; made with its parents unless `create` is false. It may itself be
            reached by a symbolic link: where it lies is the caller's choice.
        create: Make it if absent.
    """

    def __init__(self, root: Path, *, create: bool = True) -> None:
        with disk.explained(root):
            if create:
                root.mkdir(parents=True, exist_ok=True)
            self.root = root.resolve()
            self._fd = os.open(self.root, _FOLDER)
        self.made: list[str] = []
        """Directories created below the root, each with a `/` at its end."""
        self._unfinished = -1
        self._local = threading.local()
        self._open: set[int] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            fds, self._open = {*self._open, self._fd}, set()
            if self._unfinished >= 0:
                fds.add(self._unfinished)
                with contextlib.suppress(OSError):
                    disk.remove_tree(self.root / TEMPORARY)
        for fd in fds:
            os.close(fd)

    # -- looking -----------------------------------------------------------------
    def is_empty(self) -> bool:
        """Whether nothing is here but what `begin` makes."""
        with disk.explained(self.root):
            return all(path.name == TEMPORARY for path in self.root.iterdir())

    def look(self, path: str) -> os.stat_result | None:
        """What is at `path`, links not followed; None if nothing.

        Raises:
            ConflictError: A part of the way there is a link or a file.
        """
        with disk.explained(self.root, path):
            try:
                folder, leaf = self._parent(path)
                return os.stat(leaf, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                return None

    def read(self, path: str) -> int:
        """A descriptor of the regular file at `path`; the caller closes it."""
        with disk.explained(self.root, path):
            folder, leaf = self._parent(path)
            return os.open(leaf, _READ, dir_fd=folder)

    def read_link(self, path: str) -> str:
        """Where the symbolic link at `path` points."""
        with disk.explained(self.root, path):
            folder, leaf = self._parent(path)
            return os.readlink(leaf, dir_fd=folder)

    # -- changing ----------------------------------------------------------------
    def begin(self) -> None:
        """Make the directory of unfinished files; what is in it was left by a killed process and goes."""
        with disk.explained(self.root):
            disk.remove_tree(self.root / TEMPORARY)
            os.mkdir(TEMPORARY, 0o700, dir_fd=self._fd)
            self._unfinished = os.open(TEMPORARY, _FOLDER, dir_fd=self._fd)

    def new_file(self, *, executable: bool = False) -> tuple[str, int]:
        """(name, descriptor) of a new unfinished file."""
        name = disk.temporary_name()
        with disk.explained(self.root):
            return name, os.open(name, _NEW, 0o777 if executable else 0o666, dir_fd=self._unfinished)

    def new_link(self, text: str) -> str:
        """The name of a new unfinished symbolic link."""
        name = disk.temporary_name()
        with disk.explained(self.root):
            os.symlink(text, name, dir_fd=self._unfinished)
        return name

    def new_hard_link(self, link: Callable[[str, int], bool]) -> str | None:
        """The name of a new unfinished file that `link(name, folder)` makes; None if it cannot."""
        name = disk.temporary_name()
        return name if link(name, self._unfinished) else None

    def drop(self, name: str) -> None:
        """Remove an unfinished file."""
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=self._unfinished)

    def place(self, name: str, path: str) -> os.stat_result:
        """Give an unfinished file its final name, replacing a file that is there; return its stat."""
        with disk.explained(self.root, path):
            folder, leaf = self._parent(path, create=True)
            try:
                os.rename(name, leaf, src_dir_fd=self._unfinished, dst_dir_fd=folder)
            except IsADirectoryError:
                raise ConflictError(what="a directory is where a file should be", where=str(self.root / path)) from None
            return os.stat(leaf, dir_fd=folder, follow_symlinks=False)

    def make_folder(self, path: str) -> None:
        """Make a directory and its parents."""
        with disk.explained(self.root, path):
            self._parent(path.rstrip("/") + "/x", create=True)

    def remove(self, path: str) -> None:
        """Remove a file or link."""
        with disk.explained(self.root, path), contextlib.suppress(FileNotFoundError):
            folder, leaf = self._parent(path)
            os.unlink(leaf, dir_fd=folder)

    def remove_folder(self, path: str) -> bool:
        """Remove a directory if it is empty; whether it is gone."""
        self._forget_folder()
        try:
            folder, leaf = self._parent(path.rstrip("/"))
            os.rmdir(leaf, dir_fd=folder)
        except FileNotFoundError:
            return True
        except (OSError, HeadwaterError):  # not empty, or not ours to remove: it stays
            return False
        return True

    def set_executable(self, path: str, *, executable: bool) -> os.stat_result:
        """Set or clear the executable bits of a file of ours; return its stat."""
        fd = self.read(path)
        with disk.explained(self.root, path):
            try:
                mode = stat.S_IMODE(os.fstat(fd).st_mode)
                os.fchmod(fd, mode | (mode & 0o444) >> 2 if executable else mode & ~0o111)
                return os.fstat(fd)
            finally:
                os.close(fd)

    # -- walking -----------------------------------------------------------------
    def _parent(self, path: str, *, create: bool = False) -> tuple[int, str]:
        """(descriptor of the directory, last part). A thread keeps its last directory: entries come in path order."""
        parent, _, leaf = path.rpartition("/")
        known: tuple[str, int] | None = getattr(self._local, "folder", None)
        if known and known[0] == parent:
            return known[1], leaf
        fd = self._descend(parent, create=create) if parent else os.dup(self._fd)
        self._forget_folder()
        with self._lock:
            self._open.add(fd)
        self._local.folder = (parent, fd)
        return fd, leaf

    def _forget_folder(self) -> None:
        known: tuple[str, int] | None = getattr(self._local, "folder", None)
        if known:
            self._local.folder = None
            with self._lock:
                self._open.discard(known[1])
            os.close(known[1])

    def _descend(self, folder: str, *, create: bool) -> int:
        fd, walked = os.dup(self._fd), ""
        for part in folder.split("/"):
            walked += part + "/"
            try:
                below = self._step(fd, part, walked, create=create)
            except NotADirectoryError:
                raise self._blocked(walked) from None
            except OSError as error:
                if error.errno == errno.ELOOP:  # a symbolic link, not followed
                    raise self._blocked(walked) from None
                raise
            finally:
                os.close(fd)
            fd = below
        return fd

    def _step(self, fd: int, part: str, walked: str, *, create: bool) -> int:
        try:
            return os.open(part, _FOLDER, dir_fd=fd)
        except FileNotFoundError:
            if not create:
                raise
        with contextlib.suppress(FileExistsError):
            os.mkdir(part, dir_fd=fd)
            self.made.append(walked)
        return os.open(part, _FOLDER, dir_fd=fd)

    def _blocked(self, walked: str) -> ConflictError:
        return ConflictError(
            what="a file or a symbolic link is where a directory should be", where=str(self.root / walked.rstrip("/")),
            fix="remove it, or choose another directory",
        )  # fmt: skip


def check_entry_path(path: str) -> str:
    """Return a manifest's path if it can only mean a place inside the target.

    Raises:
        FormatError: It cannot: the manifest was not written by Headwater.
    """
    if len(path) > _SHORT or not _PLAIN.match(path):  # a million paths: the expression is ten times faster
        try:
            check_path(path)
        except InvalidInputError as error:
            raise FormatError(what=f"the manifest holds the path {path!r}, which could leave its directory") from error
    if path.split("/", 1)[0] == TEMPORARY or (os.name == "nt" and ("\\" in path or ":" in path)):
        raise FormatError(what=f"the manifest holds the path {path!r}, which cannot be used here")
    return path


# ------------------------------------------------------------------- collisions
class Folding:
    """What the target's file system takes for the same name."""

    def __init__(self, *, case: bool, unicode: bool) -> None:
        self.case, self.unicode = case, unicode

    def __bool__(self) -> bool:
        return self.case or self.unicode

    def __call__(self, path: str) -> str:
        """Equal for paths that the file system cannot hold beside each other."""
        if self.unicode:
            path = unicodedata.normalize("NFD", path)
        if self.case:
            path = path.casefold()
        return unicodedata.normalize("NFD", path) if self.unicode else path


def probe_folding(root: Path) -> Folding:
    """Ask the file system, with two names in the directory of unfinished files (see `Target.begin`)."""
    folder = root / TEMPORARY
    with disk.explained(folder):
        (folder / "Probe-\u00e9").touch()
        case = (folder / "pROBE-\u00e9").exists()
        unicode = (folder / "Probe-e\u0301").exists()
        (folder / "Probe-\u00e9").unlink()
    return Folding(case=case, unicode=unicode)


def refuse_collisions(paths: Iterable[str], fold: Folding) -> None:
    """Check that no two paths, nor their directories, fall together.

    Raises:
        ConflictError: Names the first two that do.
    """
    seen: dict[str, str] = {}
    for path in paths:
        at = len(path)
        while at > 0:
            part = path[:at].rstrip("/")
            other = seen.setdefault(fold(part), part)
            if other != part:
                raise ConflictError(
                    what=f"this file system cannot hold both {other!r} and {part!r}",
                    fix="choose another one, or fetch them apart with prefix=",
                )
            at = path.rfind("/", 0, at)
