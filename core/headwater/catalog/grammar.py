"""The grammar of `where=` and `order=`: text to values, no SQL.

    condition   field op value           summary.val_acc >= 0.9
    op          = != >= <= > < ~         ~ : the text holds the value, or the list has it as an element
    field       letters, digits, _ - .   further characters of a key in double quotes: metadata."my key".x
    value       a number, true, false, null, "text in double quotes", or any other text as it stands,
                unless it begins like an operator

Numbers compare with numbers, text with text: `metadata.year=2024` does not find
the text "2024", `metadata.year="2024"` does. `!=` is true wherever `=` is not,
so also where the field is absent. `=null` is true where there is no value.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import NamedTuple

from headwater.errors import InvalidInputError

OPERATORS = ("!=", ">=", "<=", "=", ">", "<", "~")
_OPERATOR_SIGNS = frozenset("".join(OPERATORS))

Value = str | float | bool | None

_FIELD = re.compile(r'\s*((?:[A-Za-z_][\w-]*)(?:\.(?:[\w-]+|"(?:[^"\\]|\\.)*"))*)\s*', re.UNICODE)
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\Z")
_PART = re.compile(r'"((?:[^"\\]|\\.)*)"|([^."]+)')


class Condition(NamedTuple):
    """One parsed condition."""

    field: str
    """As facts write paths: `metadata.my key.x`."""
    op: str
    value: Value
    text: str
    """The value as it was written, without quotes: what a text field is compared with."""
    quoted: bool
    source: str
    """The whole condition, for errors."""
    position: int
    """Where the value begins in it."""

    def refuse(self, why: str, fix: str | None = None) -> InvalidInputError:
        """An error about this condition that names the position."""
        return bad(self.source, self.position, why, fix)


class Order(NamedTuple):
    """One parsed order."""

    field: str
    descending: bool


def bad(source: str, position: int, why: str, fix: str | None = None) -> InvalidInputError:
    """An error that points into a condition."""
    return InvalidInputError(
        what=f"{source!r}, character {position + 1}: {why}", position=position,
        fix=fix or "write conditions like summary.val_acc>=0.9, tag=gold, created>2026-01-01",
    )  # fmt: skip


def parse_condition(source: str) -> Condition:
    """Read one condition.

    Raises:
        InvalidInputError: It does not parse; names the position.
    """
    if not isinstance(source, str):
        raise InvalidInputError(what=f"a condition is text, not {source!r}")
    match = _FIELD.match(source)
    if match is None:
        raise bad(source, 0, "no field name here")
    end = match.end()
    op = next((known for known in OPERATORS if source.startswith(known, end)), None)
    if op is None:
        raise bad(source, end, f"no operator here, one of {' '.join(OPERATORS)}")
    rest = source[end + len(op) :]
    start = end + len(op) + len(rest) - len(rest.lstrip())
    value, text, quoted = _value(source, start, rest.strip())
    return Condition(_plain(match[1]), op, value, text, quoted, source, start)


def parse_order(source: str) -> Order:
    """Read `field` or `-field`.

    Raises:
        InvalidInputError: Not a field name.
    """
    name = source.removeprefix("-")
    match = _FIELD.fullmatch(name)
    if match is None:
        raise bad(source, len(source) - len(name), "no field name here", "order by a field: created, -summary.val_acc")
    return Order(_plain(match[1]), source.startswith("-"))


def parse_time(condition: Condition) -> datetime:
    """The value as a time: a date, or a date and time; UTC unless it says otherwise."""
    try:
        time = datetime.fromisoformat(condition.text)
    except ValueError:
        raise condition.refuse(
            f"{condition.text!r} is no time", "write 2026-01-31 or 2026-01-31T12:00:00+00:00"
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _plain(field: str) -> str:
    return ".".join(
        json.loads(f'"{quoted}"') if quoted or not plain else plain for quoted, plain in _PART.findall(field)
    )


def _value(source: str, start: int, text: str) -> tuple[Value, str, bool]:
    if not text:
        raise bad(source, start, "no value here", 'write "" for empty text')
    if text[0] == '"':
        try:
            value = json.loads(text)
        except ValueError:
            raise bad(source, start, "the quoted text does not end, or goes on after its end") from None
        return value, value, True
    if text[0] in _OPERATOR_SIGNS:
        raise bad(source, start, f"an operator follows an operator, one of {' '.join(OPERATORS)} is enough",
                  'put text that begins so in double quotes: name="=a"')  # fmt: skip
    if text in ("true", "false"):
        return text == "true", text, False
    if text == "null":
        return None, text, False
    return (float(text) if _NUMBER.match(text) else text), text, False
