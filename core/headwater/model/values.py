"""Facts a user hands over (metadata, config, summary) become plain JSON values.

- NumPy scalars become numbers, small arrays lists; dates ISO text; paths text; sets sorted lists;
  dataclasses and enums their content.
- NaN and the infinities become the texts `NaN`, `Infinity`, `-Infinity` (JSON has no word for them).
- What looks like a secret is masked: by its key, by its own look (`ghp_…`, `AKIA…`), or as the password of a URL.
  Numbers called tokens are counts (`max_tokens`), not secrets.
"""

from __future__ import annotations

import dataclasses
import enum
import math
import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import date, datetime, timedelta
from pathlib import PurePath
from typing import Any

from headwater.errors import InvalidInputError

MASK = "***"
MAX_ITEMS = 10_000
"""Most items of one array or collection; larger data belongs into an artifact."""

_NAMES = r"passw|pwd\b|secret|api[_-]?key|access[_-]?key|credential|private[_-]?key|auth\b|authorization|bearer"
_TOKEN = r"token(?!i[sz])"  # noqa: S105  # but no tokenizer
_SECRET_KEY = re.compile(_NAMES, re.IGNORECASE)
_TOKEN_KEY = re.compile(_TOKEN, re.IGNORECASE)
_ASSIGNED = re.compile(rf"((?:{_NAMES}|{_TOKEN})[\w-]*=[\"']?)([^\s\"'&;,]+)", re.IGNORECASE)
_WRITTEN = re.compile(rf"((?:{_NAMES}|{_TOKEN})[\w-]*[\"']?\]?\s*[=:]\s*[\"'])([^\"'\n]+)", re.IGNORECASE)
_KNOWN = re.compile(
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{20,}|\bsk-[A-Za-z0-9_-]{20,}|\bxox[abprs]-[A-Za-z0-9-]{10,}"
    r"|(?<=Bearer )[A-Za-z0-9._~+/=-]{8,}|(?<=Basic )[A-Za-z0-9+/=]{8,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)
"""Credentials that are known by their look: AWS, GitHub, OpenAI and the like, Slack, HTTP headers, PEM keys."""
_URL_PASSWORD = re.compile(r"(\b[a-z][a-z0-9+.-]*://)([^/\s:@]*):([^/\s@]+)@", re.IGNORECASE)
_SIGNATURE = re.compile(
    r"([?&](?:X-Amz-(?:Signature|Credential|Security-Token)|X-Goog-(?:Signature|Credential)"
    r"|sig|signature|AWSAccessKeyId|token|access_token)=)[^&\s]+",
    re.IGNORECASE,
)


def to_plain(value: Any, where: str, depth: int = 0) -> Any:  # noqa: PLR0911  # one line per kind of value
    """Return `value` as JSON (None, bool, int, float, str, list, dict with text keys).

    Raises:
        InvalidInputError: Something in it has no JSON form, or it nests deeper than 32; names the place.
    """
    if value is None or (isinstance(value, bool | str) and not isinstance(value, enum.Enum)):
        return value
    if depth > 32:
        raise InvalidInputError(what="values nest deeper than 32 levels", where=where)
    if isinstance(value, enum.Enum):
        return to_plain(value.value, where, depth + 1)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return _finite(float(value))
    if isinstance(value, Mapping):
        return {_key(k, where): to_plain(v, f"{where}.{k}", depth + 1) for k, v in _bounded(value, where).items()}
    if isinstance(value, list | tuple):
        return [to_plain(v, f"{where}[{i}]", depth + 1) for i, v in enumerate(_bounded(value, where))]
    if isinstance(value, AbstractSet):
        return sorted((to_plain(v, where, depth + 1) for v in _bounded(value, where)), key=repr)
    return _foreign(value, where, depth)


def _foreign(value: Any, where: str, depth: int) -> Any:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, PurePath):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return to_plain(fields, where, depth + 1)
    if hasattr(value, "dtype") and hasattr(value, "tolist"):  # NumPy, without importing it
        if getattr(value, "size", 1) > MAX_ITEMS:
            raise _too_many(where)
        return to_plain(value.tolist(), where, depth + 1)
    raise InvalidInputError(
        what=f"a value of type {type(value).__qualname__} has no JSON form",
        where=where,
        fix="log it as an artifact, or convert it",
    )


def _finite(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _key(key: Any, where: str) -> str:
    if isinstance(key, str):
        return key
    if isinstance(key, int | float | bool):
        return str(key)
    raise InvalidInputError(what=f"the key {key!r} is not text", where=where)


def _bounded(value: Any, where: str) -> Any:
    if len(value) > MAX_ITEMS:
        raise _too_many(where)
    return value


def _too_many(where: str) -> InvalidInputError:
    return InvalidInputError(what=f"more than {MAX_ITEMS} items", where=where, fix="log large data as an artifact")


def to_object(value: Mapping[str, Any] | None, where: str) -> dict[str, Any]:
    """`to_plain` for the top level, which must be a mapping.

    Raises:
        InvalidInputError: Not a mapping, or not JSON.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidInputError(what=f"a mapping is wanted, not a {type(value).__qualname__}", where=where)
    plain: dict[str, Any] = to_plain(value, where)
    return plain


def mask(value: Any) -> Any:
    """Return the JSON value with secrets replaced by `***`; everything else as it is."""
    if isinstance(value, dict):
        return {k: MASK if _is_secret(k, v) else mask(v) for k, v in value.items()}
    if isinstance(value, list):
        return [mask(v) for v in value]
    return mask_text(value) if isinstance(value, str) else value


def _is_secret(key: str, value: Any) -> bool:
    if _SECRET_KEY.search(key):
        return value not in (None, "") and not isinstance(value, bool)
    return isinstance(value, str) and value != "" and _TOKEN_KEY.search(key) is not None


def names_secret(option: str) -> bool:
    """Whether what follows this option of a command line is a secret, as after `--password`."""
    return (
        option.startswith("-") and "=" not in option and bool(_SECRET_KEY.search(option) or _TOKEN_KEY.search(option))
    )


def mask_text(text: str) -> str:
    """Return `text` without the passwords and signatures of the URLs in it, `password=…`, and what looks like a key."""
    text = _SIGNATURE.sub(rf"\1{MASK}", _URL_PASSWORD.sub(rf"\1\2:{MASK}@", text))
    return _ASSIGNED.sub(rf"\1{MASK}", _KNOWN.sub(MASK, text))


def mask_source(text: str) -> str:
    """`mask_text` for programs: also what is assigned to a name like a secret's, `API_KEY = "…"`."""
    return mask_text(_WRITTEN.sub(rf"\1{MASK}", text))
