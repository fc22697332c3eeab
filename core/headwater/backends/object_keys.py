"""Keys of a store: what they look like, and where they lie in a bucket."""

from __future__ import annotations

import re

from headwater.errors import InvalidInputError

_KEY = re.compile(r"(?!.*(?:^|/)\.{1,2}(?:/|$))[a-z0-9._-]+(?:/[a-z0-9._-]+)*\Z")


def check_key(key: str, where: str) -> str:
    """Return `key` if it is one of `ports.ObjectStore`, so that it leads nowhere outside of the store.

    Raises:
        InvalidInputError: It is not.
    """
    if not _KEY.match(key):
        raise InvalidInputError(what=f"{key!r} cannot be a key", where=where)
    return key


class Prefix:
    """A store's own part of a bucket: `prefix/` or all of it."""

    def __init__(self, prefix: str) -> None:
        self._prefix = f"{prefix.strip('/')}/".lstrip("/")

    def __str__(self) -> str:
        return self._prefix

    def key(self, key: str) -> str:
        """The service's key.

        Raises:
            InvalidInputError: As `check_key`.
        """
        return self._prefix + check_key(key, self._prefix)

    def start(self, prefix: str) -> str:
        """The service's form of a listing prefix."""
        return self._prefix + prefix

    def meets(self, other: str) -> bool:
        """Whether keys that start with `other` (of the service) may be keys of this store."""
        return self._prefix.startswith(other) or other.startswith(self._prefix)

    def without(self, key: str) -> str:
        """The store's key again."""
        return key[len(self._prefix) :]
