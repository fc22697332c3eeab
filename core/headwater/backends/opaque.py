"""URIs that no source knows: recorded as they are, never read, always *unverified*."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from headwater.backends.uris import holds_secret
from headwater.errors import InvalidInputError
from headwater.model.manifest import Pin
from headwater.ports import Checked, Found

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class OpaqueSource:
    """Records any text as a URI of one object of unknown size."""

    def walk(self, uri: str, *, pin: bool | Literal["digest"] = True) -> Iterator[Found]:
        """See `ports.Source.walk`; asks nobody, so nothing is ever missing. One entry.

        Raises:
            InvalidInputError: Empty, holds a password or a signature, or a digest is asked for.
        """
        if not uri.strip():
            raise InvalidInputError(what="a reference needs a URI")
        if holds_secret(uri):
            raise InvalidInputError(
                what="the URI holds a password or a signature, which would be in the manifest for ever",
                fix="leave it out and let the environment supply it",
            )
        if pin == "digest":
            raise InvalidInputError(what=f"nothing here can read {uri}", fix="leave pin='digest' out")
        last = re.split(r"[?#]", uri)[0].rstrip("/").rpartition("/")[2]
        return iter([Found(path=last or uri, uri=uri, size=None, pin=Pin())])

    def read(self, uri: str, pin: Pin, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Always refuses: nobody knows how.

        Raises:
            InvalidInputError: Always.
        """
        del pin, start, length
        raise InvalidInputError(
            what=f"nothing here can read {uri}",
            fix='install a package that registers its scheme, or skip it with references="skip"',
        )

    def check(self, references: Iterable[tuple[str, Pin]]) -> Iterator[Checked]:
        """Everything is unverified."""
        return (Checked(uri, "unverified", None) for uri, _ in references)
