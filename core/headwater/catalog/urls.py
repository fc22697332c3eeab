"""What the URL of a catalog may look like."""

from __future__ import annotations

import re
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from headwater.errors import InvalidInputError

_FORMS = "write sqlite:////path or postgresql://…"


_SEVERAL = re.compile(r"(postgres(?:ql)?(?:\+psycopg)?://(?:[^/?#]*@)?)([^/?#@]+,[^/?#@]+)([^?#]*)(\?[^#]*)?")


def parse_url(url: str) -> URL:
    """Read a catalog's URL.

    Raises:
        InvalidInputError: Not one; it is not repeated, as it may hold a password.
    """
    try:
        parsed = make_url(_with_hosts(url))
    except (ArgumentError, ValueError):
        raise InvalidInputError(what="that is not a catalog URL", fix=_FORMS) from None
    backend = parsed.get_backend_name()
    if backend == "postgres":
        parsed, backend = parsed.set(drivername="postgresql"), "postgresql"
    if parsed.drivername not in ("sqlite", "postgresql", "postgresql+psycopg"):
        raise InvalidInputError(what=f"no catalog speaks {backend!r}", fix=_FORMS)
    return parsed.set(drivername=backend)


def _with_hosts(url: str) -> str:
    """`user@one:1,two:2/db`, as libpq has it, in SQLAlchemy's spelling: a query parameter for each host."""
    match = _SEVERAL.fullmatch(url)
    if match is None:
        return url
    hosts = "&".join(f"host={host if ':' in host else host + ':5432'}" for host in match[2].split(","))
    return f"{match[1]}{match[3]}?{hosts}" + (f"&{match[4][1:]}" if match[4] else "")


def file_of(url: URL) -> Path | None:
    """The file of an SQLite catalog; None in memory and on a server."""
    if url.drivername != "sqlite" or not url.database or url.database == ":memory:":
        return None
    return Path(url.database).absolute()
