"""What this process was told: where the repository is, which project, how strict.

| setting  | environment            | default                    |
|----------|------------------------|----------------------------|
| url      | HEADWATER_URL          | ~/.headwater               |
| project  | HEADWATER_PROJECT      | default                    |
| tracking | HEADWATER_TRACKING     | strict                     |
| actor    | HEADWATER_ACTOR        | user@host                  |
| cache    | HEADWATER_CACHE        | ~/.cache/headwater         |
| quota    | HEADWATER_CACHE_QUOTA  | 20GB, or a tenth of a smaller disk |
| objects  | HEADWATER_OBJECTS      | where the catalog says the packs are |

`configure` wins over `prefer` (an orchestrator's own configuration), that over the environment;
without all, the URL last given to `connect` is used. A child made by `fork` inherits; one made
by `spawn` reads the environment again.
"""

from __future__ import annotations

import getpass
import os
import re
import shutil
import socket
from pathlib import Path
from typing import Literal

import msgspec

from headwater.errors import InvalidInputError
from headwater.model.naming import check_part

Tracking = Literal["strict", "lenient", "off"]
DEFAULT_PROJECT = "default"
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One consistent reading of the table above."""

    url: str
    project: str
    tracking: Tracking
    actor: str
    cache: Path
    quota: int
    """Most bytes of this machine's copies: half for the file cache, half for each repository's shared trees."""
    objects: str | None = None
    """How this machine reaches the packs, if not as the catalog says: the same bucket by another endpoint."""


_configured: dict[str, str] = {}
_preferred: dict[str, str] = {}
_suggested: dict[str, str] = {}


def configure(*, url: str | None = None, project: str | None = None, tracking: Tracking | None = None) -> None:
    """Set what this process uses from now on; what is left out stays as it was.

    Raises:
        InvalidInputError: A value that cannot be meant; nothing is changed.
    """
    new = {"url": url, "project": project, "tracking": tracking}
    given = {name: value for name, value in new.items() if value is not None}
    _check(given)
    _configured.update(given)


def prefer(*, url: str | None = None, project: str | None = None, tracking: str | None = None) -> None:
    """For adapters: what the orchestrator's own configuration says; it replaces what was preferred before.

    Raises:
        InvalidInputError: A value that cannot be meant; nothing is changed.
    """
    new = {"url": url, "project": project, "tracking": tracking}
    given = {name: value for name, value in new.items() if value}
    _check(given)
    _preferred.clear()
    _preferred.update(given)


def suggest(url: str) -> None:
    """Use `url` from now on where neither `configure` nor the environment names one."""
    _suggested["url"] = url


def current() -> Settings:
    """What holds now.

    Raises:
        InvalidInputError: An environment variable that cannot be meant; names it.
    """
    cache = Path(os.environ.get("HEADWATER_CACHE") or _default_cache()).expanduser()
    values = {
        "url": _setting("url", str(Path.home() / ".headwater")),
        "project": _setting("project", DEFAULT_PROJECT),
        "tracking": _setting("tracking", "strict"),
    }
    _check(values)
    quota = os.environ.get("HEADWATER_CACHE_QUOTA")
    return Settings(
        url=values["url"],
        project=values["project"],
        tracking=values["tracking"],  # type: ignore[arg-type]  # _check proved it
        actor=os.environ.get("HEADWATER_ACTOR") or _whoami(),
        cache=cache,
        objects=os.environ.get("HEADWATER_OBJECTS") or None,
        quota=parse_size(quota, "HEADWATER_CACHE_QUOTA") if quota else _default_quota(cache),
    )


def parse_size(text: str, where: str = "size") -> int:
    """Read `20GB`, `1.5 GiB`, `512k` or plain bytes.

    Raises:
        InvalidInputError: Not a size.
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt]i?)?b?\s*", str(text), re.IGNORECASE)
    if match is None:
        raise InvalidInputError(what=f"{text!r} is not a size", where=where, fix="write for example 500MB or 20GiB")
    return int(float(match[1]) * _UNITS[(match[2] or "").lower()])


def _setting(name: str, default: str) -> str:
    environment = os.environ.get(f"HEADWATER_{name.upper()}")
    return _configured.get(name) or _preferred.get(name) or environment or _suggested.get(name) or default


def _check(values: dict[str, str]) -> None:
    if "project" in values:
        check_part(values["project"], "project")
    if values.get("tracking", "strict") not in ("strict", "lenient", "off"):
        raise InvalidInputError(
            what=f"tracking is strict, lenient or off, not {values['tracking']!r}", where="HEADWATER_TRACKING"
        )


def _default_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "headwater"


def _default_quota(cache: Path) -> int:
    existing = next((p for p in (cache, *cache.parents) if p.exists()), Path("/"))
    return min(20 * 10**9, shutil.disk_usage(existing).total // 10)


def _whoami() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's uid without a passwd entry
        user = str(os.getuid()) if hasattr(os, "getuid") else "unknown"
    return f"{user}@{socket.gethostname()}"


def tracking() -> Tracking:
    """How strict recording is now; cheaper than `current()`, every step asks.

    Raises:
        InvalidInputError: `HEADWATER_TRACKING` cannot be meant.
    """
    value = _setting("tracking", "strict")
    _check({"tracking": value})
    return value  # type: ignore[return-value]  # _check proved it
