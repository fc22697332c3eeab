"""The guard against two catalogs on one store.

The store's marker holds an epoch; the catalog remembers which one it raised last.
Before a pass deletes anything it raises the epoch by compare-and-swap, and looks
again before every batch. A copy of the catalog (a staging database restored from
production, say) that finds another epoch than it remembers stops: some of the
bytes there belong to versions that it does not know.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import msgspec

from headwater.errors import StateError
from headwater.model.keys import MARKER, Marker, decode_marker, encode_marker

if TYPE_CHECKING:
    from headwater.home import Home
    from headwater.ports.care import CaredForCatalog

EPOCH = "collector_epoch"
"""The catalog's setting: `epoch` or `epoch pass` as it last raised it."""
INTENT = "collector_intent:"
"""Settings under this, one per pass that was about to raise it: such a pass is known again if it died before it could
say so. Of several at a time, whose swaps refuse each other, any may have been the one."""


def caretaker(home: Home) -> CaredForCatalog:
    """The repository's catalog, with the faces upkeep needs.

    Raises:
        StateError: It is a server's: upkeep runs where the database is.
    """
    if not hasattr(home.catalog, "repairs"):
        raise StateError(
            what="upkeep needs the database itself", where=home.url, fix="run it on the server, with the database's URL"
        )
    return home.catalog  # type: ignore[return-value]  # told by its faces


class Guard:
    """One pass's right to delete.

    Args:
        home: The repository.
    """

    def __init__(self, home: Home) -> None:
        self._objects = home.objects
        self._catalog = caretaker(home)
        self._token: str | None = None

    def check(self) -> tuple[Marker, str]:
        """The marker and its write token.

        Raises:
            StateError: Another catalog collects here, or it is another repository's store.
        """
        found = self._objects.read_marker(MARKER)
        if found is None:
            raise StateError(
                what="the store has lost its marker", where=self._objects.url, fix="run `headwater repair`"
            )
        marker = decode_marker(found[0])
        if marker.repository != self._catalog.repository_id:
            raise StateError(what=f"these packs belong to repository {marker.repository}", where=self._objects.url)
        known = {self._catalog.setting(EPOCH) or "0", *self._catalog.survey.settings(INTENT).values()}
        if _name(marker) not in known:
            raise StateError(
                what=f"another catalog has collected in this store (epoch {marker.epoch})", where=self._objects.url,
                epoch=marker.epoch, known=sorted(known),
                fix="stop the one that is a copy; `headwater repair` makes this catalog know the store again",
            )  # fmt: skip
        return marker, found[1]

    def advance(self) -> None:
        """Raise the epoch: from here on this pass may delete.

        Raises:
            StateError, ConflictError: Somebody else is collecting.
        """
        marker, token = self.check()
        self._raise(marker, token)

    def take_over(self) -> None:
        """As `advance`, whatever epoch is there: for `repair`, which has looked at every pack."""
        found = self._objects.read_marker(MARKER)
        marker = Marker(repository=self._catalog.repository_id) if found is None else decode_marker(found[0])
        self._raise(marker, None if found is None else found[1])

    def _raise(self, marker: Marker, token: str | None) -> None:
        raised = msgspec.structs.replace(marker, epoch=marker.epoch + 1, collector=secrets.token_hex(8))
        self._catalog.repairs.put_setting(INTENT + raised.collector, _name(raised))
        self._token = self._objects.swap_marker(MARKER, encode_marker(raised), token)
        self._catalog.repairs.settle_epoch(EPOCH, _name(raised), INTENT)

    def hold(self) -> None:
        """Look whether the epoch still is ours. One request; ask before every batch of deletions.

        Raises:
            StateError: It is not: stop.
        """
        found = self._objects.read_marker(MARKER)
        if self._token is None or found is None or found[1] != self._token:
            raise StateError(
                what="another collector has begun in this store meanwhile", where=self._objects.url,
                fix="nothing more was deleted; run `headwater gc` again when it is done",
            )  # fmt: skip


def _name(marker: Marker) -> str:
    return f"{marker.epoch} {marker.collector}".strip()
