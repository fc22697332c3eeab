"""The keys of objects in the store: written and read here and nowhere else.

    headwater.json                     the store marker
    packs/<xx>/<ulid>.pack             a pack; xx are the ULID's last two characters
    backups/<ulid>/<nnnn>.part         a piece of a snapshot of the catalog
    backups/<ulid>/backup.json         what the snapshot is; written last, so that one without it counts for nothing
    purged/<digest, hex>.json          a content that was removed on purpose

A key holds a ULID and is never used twice. The fan-out comes from the ULID's
random end, because its beginning is the time and would send one day's packs
to one partition of the service.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from headwater.errors import FormatError, InvalidInputError

MARKER: Final = "headwater.json"
PACKS: Final = "packs/"
"""What every pack's key starts with: list this to see them all."""
BACKUPS: Final = "backups/"
PURGED: Final = "purged/"
FORMAT: Final = 1
"""The newest store format this code reads, and the one it writes."""

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ULID: Final = re.compile(rf"[0-7][{_ALPHABET}]{{25}}\Z")
_BACKUP: Final = re.compile(r"backups/([0-9a-z]{26})/([a-z0-9.]+)\Z")
_PACK: Final = re.compile(r"packs/([0-9a-z]{2})/([0-9a-z]{26})\.pack\Z")


class Marker(msgspec.Struct, frozen=True, kw_only=True):
    """The store marker: whose store this is, and the collector's epoch."""

    format: int = FORMAT
    repository: str
    """The repository's id."""
    epoch: int = 0
    """Raised by compare-and-swap before any deletion."""
    collector: str = ""
    """The pass that raised it, so that an interrupted one recognises its own."""


def format_ulid(milliseconds: int, entropy: bytes) -> str:
    """Write a ULID: 48 bits of Unix time, 80 random bits, 26 characters that sort by time.

    Raises:
        InvalidInputError: The time does not fit, or `entropy` is not 10 bytes.
    """
    if not 0 <= milliseconds < 2**48 or len(entropy) != 10:
        raise InvalidInputError(what="a ULID is 48 bits of milliseconds and 10 random bytes")
    value = milliseconds << 80 | int.from_bytes(entropy, "big")
    return "".join(_ALPHABET[value >> shift & 31] for shift in range(125, -1, -5))


def check_ulid(text: str) -> str:
    """Return `text` if it is a ULID in its canonical upper-case form.

    Raises:
        InvalidInputError: It is not.
    """
    if not isinstance(text, str) or not _ULID.match(text):
        raise InvalidInputError(what=f"{text!r} is not a ULID")
    return text


def pack_key(pack_id: str) -> str:
    """The key of a pack's object.

    Raises:
        InvalidInputError: `pack_id` is not a ULID.
    """
    lower = check_ulid(pack_id).lower()
    return f"{PACKS}{lower[-2:]}/{lower}.pack"


def parse_pack_key(key: str) -> str | None:
    """The pack's id, or None if no pack of ours can have this key."""
    match = _PACK.match(key)
    pack_id = match[2].upper() if match else ""
    return pack_id if match and _ULID.match(pack_id) and match[1] == match[2][-2:] else None


def backup_key(backup: str, part: int | None = None) -> str:
    """The key of a backup's piece, or (None) of the object that completes it.

    Raises:
        InvalidInputError: `backup` is not a ULID.
    """
    name = "backup.json" if part is None else f"{part:04d}.part"
    return f"{BACKUPS}{check_ulid(backup).lower()}/{name}"


def parse_backup_key(key: str) -> tuple[str, str] | None:
    """(backup, name of the object in it), or None if the key is of no backup."""
    match = _BACKUP.match(key)
    return (match[1].upper(), match[2]) if match and _ULID.match(match[1].upper()) else None


def purged_key(digest_hex: str) -> str:
    """The key of what remains of a purged content."""
    return f"{PURGED}{digest_hex}.json"


def encode_marker(marker: Marker) -> bytes:
    """The marker as JSON, one line; without `collector` while nobody has collected."""
    fields = {name: value for name, value in msgspec.to_builtins(marker).items() if name != "collector" or value}
    return msgspec.json.encode(fields) + b"\n"


def decode_marker(data: bytes) -> Marker:
    """Read a marker.

    Raises:
        FormatError: Damaged, or the store was made by a newer Headwater.
    """
    try:
        head = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        newest = msgspec.json.decode(head.get("format", msgspec.Raw(b"0")), type=int)
        if newest > FORMAT:
            raise FormatError(
                what=f"the store has format {newest}, this Headwater reads up to {FORMAT}", where=MARKER,
                fix="upgrade headwater",
            )  # fmt: skip
        return msgspec.json.decode(data, type=Marker)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(what=f"the store marker is damaged: {error}", where=MARKER) from None
