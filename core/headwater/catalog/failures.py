"""What a database's errors mean: which may pass if one tries again, and how the rest is told."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from headwater.errors import AccessError, FormatError, HeadwaterError, IntegrityError, StorageError

_CROWDED = "55P03"  # lock not available: asked for with a time limit
_TRANSIENT = ("40001", "40P01", _CROWDED)  # serialization failure, deadlock
_READ_ONLY = "25006"
_LOST = ("08", "57P")  # connection exceptions, shutdown and crash recovery


def translate(error: SQLAlchemyError, where: str) -> HeadwaterError:
    """The database's complaint, without its parameters."""
    cause = str(getattr(error, "orig", None) or type(error).__name__).strip().split("\n")[0]
    low = cause.lower()
    if "readonly" in low or "permission denied" in low or "authentication failed" in low:
        return AccessError(what=f"the catalog refuses: {cause}", where=where)
    if "malformed" in low or "not a database" in low:
        return FormatError(what=f"the catalog is damaged: {cause}", where=where, fix="restore a backup")
    if getattr(error, "orig", None).__class__.__name__ in ("IntegrityError", "UniqueViolation"):
        return IntegrityError(what=f"the catalog contradicts itself: {cause}", where=where)
    if is_crowded(error):
        what = "writers leave no gap in which the catalog could be cleaned up"
        return StorageError(what=what, where=where, retryable=True, fix="try again when fewer write at once")
    return StorageError(
        what=f"the catalog failed: {cause}", where=where, retryable=is_gone(error) or is_transient(error)
    )


def _state(error: SQLAlchemyError) -> str:
    return str(getattr(getattr(error, "orig", None), "sqlstate", None) or "")


def is_transient(error: SQLAlchemyError) -> bool:
    """Whether the same transaction may succeed when it is tried again."""
    return _state(error) in _TRANSIENT or "database is locked" in str(getattr(error, "orig", ""))


def is_crowded(error: SQLAlchemyError) -> bool:
    """Whether others were in the way for as long as one was ready to stand in theirs."""
    return _state(error) == _CROWDED


def is_gone(error: SQLAlchemyError) -> bool:
    """Whether another connection, perhaps a little later, may do: lost, refused, or to a server that is no primary."""
    return is_lost(error) or _state(error) == _READ_ONLY


def is_lost(error: SQLAlchemyError) -> bool:
    """Whether the connection broke, or could not be made."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    kind = type(getattr(error, "orig", None))
    unnamed = kind.__name__ == "OperationalError" and kind.__module__.startswith("psycopg") and not _state(error)
    return unnamed or _state(error).startswith(_LOST)
