r"""Patterns that leave files out, as `.gitignore` writes them.

- `*.tmp` without a slash matches a name at any depth; `/build` or `a/b` are anchored at the top.
- `cache/` matches directories only; what lies in a directory that is left out is left out too.
- `*` and `?` stop at slashes, `**` does not; `[a-z]` and `[!a-z]` are classes; `\\` quotes the next character.
- `!keep.tmp` takes a file back in; the last pattern that matches decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from headwater.errors import InvalidInputError


class Ignore:
    """Tells which paths are left out. Immutable; safe between threads.

    Args:
        patterns: In order; the last one that matches decides.

    Raises:
        InvalidInputError: A pattern is empty or not text.
    """

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self.patterns = (patterns,) if isinstance(patterns, str) else tuple(patterns)
        self._rules = [_rule(pattern) for pattern in reversed(self.patterns)]

    def __bool__(self) -> bool:
        return bool(self._rules)

    def __call__(self, path: str, *, is_directory: bool) -> bool:
        """Whether `path`, relative to the top and without a slash at its end, is left out itself."""
        for keeps, directories_only, expression in self._rules:
            if (is_directory or not directories_only) and expression.match(path):
                return not keeps
        return False


def _rule(pattern: str) -> tuple[bool, bool, re.Pattern[str]]:
    if not isinstance(pattern, str) or not pattern.strip("!/"):
        raise InvalidInputError(what=f"{pattern!r} is not an ignore pattern", fix="write it as in a .gitignore")
    keeps = pattern.startswith("!")
    body = pattern[1:] if keeps else pattern
    directories_only = body.endswith("/")
    body = body.rstrip("/")
    anchored = "/" in body
    body = body.removeprefix("/")
    expression = _translate(body)
    return keeps, directories_only, re.compile(("" if anchored else r"(?:.*/)?") + expression + r"\Z", re.DOTALL)


def _translate(body: str) -> str:
    out, at = [], 0
    while at < len(body):
        piece, at = _token(body, at)
        out.append(piece)
    return "".join(out)


_WILDCARDS = (("**", ".*"), ("*", "[^/]*"), ("?", "[^/]"))


def _token(body: str, at: int) -> tuple[str, int]:
    if body.startswith("**/", at) and (at == 0 or body[at - 1] == "/"):
        return r"(?:.*/)?", at + 3
    for wildcard, expression in _WILDCARDS:
        if body.startswith(wildcard, at):
            return expression, at + len(wildcard)
    c = body[at]
    if c == "\\" and at + 1 < len(body):
        return re.escape(body[at + 1]), at + 2
    end = body.find("]", at + 2 + (body[at + 1 : at + 2] in "!^")) if c == "[" else -1
    if end > 0:
        return _character_class(body[at + 1 : end]), end + 1
    return re.escape(c), at + 1


def _character_class(inside: str) -> str:
    negated = inside[:1] in ("!", "^")
    members = inside[1:] if negated else inside
    quoted = members.replace("\\", r"\\").replace("[", r"\[").replace("]", r"\]").replace("^", r"\^")
    try:
        re.compile(f"[{quoted}]")
    except re.error:
        return re.escape(f"[{inside}]")
    return f"(?!/)[{'^' if negated else ''}{quoted}]"
