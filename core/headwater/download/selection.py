"""Which entries of a manifest are wanted; only the pages that may hold them are read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from headwater.download.target import check_entry_path
from headwater.errors import InvalidInputError, NotFoundError
from headwater.model.digest import Digest
from headwater.model.manifest import Entry, StoredEntry, absent, select_pages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from headwater.model.manifest import Root
    from headwater.store.blobs import BlobStore

_WILD: Final = re.compile(r"[*?\[]")


class Selection:
    """The entries of one version that were asked for, page by page; may be walked several times.

    Args:
        blobs: Where the pages are.
        root: The manifest's root.
        prefix: A path: it and everything below it. Nothing else of the same beginning.
        glob: A pattern over whole paths: `*` and `?` stop at slashes, `**` does not.

    Raises:
        InvalidInputError: Both, or an empty one.
    """

    def __init__(self, blobs: BlobStore, root: Root, *, prefix: str | None = None, glob: str | None = None) -> None:
        if prefix is not None and glob is not None:
            raise InvalidInputError(what="prefix= and glob= were both given", fix="choose one")
        if glob == "":
            raise InvalidInputError(what="an empty glob matches nothing")
        self._blobs, self._root = blobs, root
        self._inside, self._glob = (prefix or "").strip("/"), glob
        inside = self._inside
        start = inside if glob is None else _WILD.split(glob, maxsplit=1)[0]
        self._matches = _below(inside) if glob is None else _pattern(glob)
        self.pages = select_pages(root, start)

    def __iter__(self) -> Iterator[list[Entry]]:
        for page in self.pages:
            found = [entry for entry in self._blobs.read_page(page) if self._matches(entry.path)]
            for entry in found:
                check_entry_path(entry.path)
            if found:
                yield found

    def require_any(self) -> None:
        """Refuse to bring nothing to who asked for something.

        Raises:
            EntryNotFoundError: Nothing has the prefix; names what may be meant.
            NotFoundError: Nothing matches the glob.
        """
        if (self._inside or self._glob) and next(self.paths(), None) is None:
            if self._glob:
                fix = "quote it, and write ** to cross directories"
                raise NotFoundError(what=f"no path of the version matches {self._glob!r}", fix=fix)
            raise absent(self._root, self._blobs.read_page, self._inside)

    def paths(self) -> Iterator[str]:
        """The wanted paths, in order."""
        for page in self:
            for entry in page:
                yield entry.path


def _below(inside: str) -> Callable[[str], bool]:
    start = inside + "/"
    if not inside:
        return lambda _: True
    return lambda path: path == inside or path.startswith(start)


def _pattern(glob: str) -> Callable[[str], bool]:
    expression = re.compile(translate(glob), re.DOTALL)
    return lambda path: expression.fullmatch(path.removesuffix("/")) is not None


def translate(glob: str) -> str:
    """The regular expression of a glob over whole paths."""
    out, at = "", 0
    while at < len(glob):
        end = glob.find("]", at + 2) if glob[at] == "[" else -1
        if glob.startswith("**/", at) and (at == 0 or glob[at - 1] == "/"):
            out, at = out + "(?:.*/)?", at + 3
        elif glob.startswith("**", at):
            out, at = out + ".*", at + 2
        elif glob[at] in "*?":
            out, at = out + ("[^/]*" if glob[at] == "*" else "[^/]"), at + 1
        elif end > 0:
            inside = glob[at + 1 : end].replace("\\", r"\\").replace("[", r"\[")
            negated = inside[0] in "!^"
            out, at = out + f"(?!/)[{'^' if negated else ''}{inside[negated:]}]", end + 1
        else:
            out, at = out + re.escape(glob[at]), at + 1
    return out


def key_of(entry: Entry) -> Digest:
    """What tells one entry's content from another's: the digest, or for a reference that of URI, size and pin."""
    if isinstance(entry, StoredEntry):
        return entry.digest
    return Digest.of(msgspec.msgpack.encode((entry.uri, entry.size, *msgspec.structs.astuple(entry.pin))))
