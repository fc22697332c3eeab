"""How artifacts, versions, aliases and paths are written.

    project/artifact            the newest version (same as :latest)
    project/artifact:prod       what the alias points to
    project/artifact:v3         version 3
    project/artifact@blake3:…   the newest version with that digest
    project/events[2024-01-01]:latest          one partition
    headwater://project/artifact:v3/path/inside

Without a project, the current one is meant. Inside the brackets `%`, `[`, `]`
and control characters are percent-encoded, everything else stands for itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

import msgspec

from headwater.errors import InvalidInputError
from headwater.model.digest import Digest

LATEST = "latest"
DRAFT_PREFIX = "draft."
"""`project/artifact:draft.<id>` names a draft exactly, where only text can travel."""
SCHEME = "headwater://"
MAX_NAME = 200
"""Longest project, artifact, alias or tag, characters."""
MAX_PARTITION = 1000
"""Longest partition key, characters."""
MAX_PATH = 4096
"""Longest path of an entry, UTF-8 bytes."""

_FORBIDDEN = set("/:@[]")
_NUMBER = re.compile(r"v(0|[1-9][0-9]*)\Z")
_LOOKS_NUMBERED = re.compile(r"v[0-9]+\Z")
_NAME = re.compile(
    r"(?:(?P<project>[^/:@\[\]]+)/)?(?P<artifact>[^/:@\[\]]+)(?:\[(?P<partition>[^\[\]]*)\])?"
    r"(?::(?P<alias>[^/:@\[\]]+)|@(?P<digest>blake3:[0-9a-f]*))?(?:/(?P<path>.*))?\Z",
    re.DOTALL,
)


class Name(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed name: an artifact, and which of its versions.

    At most one of `alias`, `number` and `digest` is set; none means `latest`.
    """

    artifact: str
    project: str | None = None
    partition: str = ""
    """Partition key; empty for an artifact without partitions."""
    alias: str | None = None
    number: int | None = None
    digest: str | None = None
    """Public form, `blake3:<hex>`."""
    path: str = ""
    """Path inside the version; only in the URI form."""

    @property
    def selector(self) -> str:
        """The part after the artifact: `latest`, `prod`, `v3` or the digest."""
        if self.number is not None:
            return f"v{self.number}"
        return self.digest or self.alias or LATEST

    @property
    def bare(self) -> str:
        """`project/artifact[partition]`, without the selector."""
        head = f"{self.project}/{self.artifact}" if self.project else self.artifact
        return head + (f"[{quote_partition(self.partition)}]" if self.partition else "")

    def __str__(self) -> str:
        return f"{self.bare}{'@' if self.digest else ':'}{self.selector}"

    def within(self, project: str) -> Name:
        """This name, in `project` where it says none."""
        return self if self.project else msgspec.structs.replace(self, project=project)


def parse_name(text: str) -> Name:
    """Read a name in any of the forms of this module's docstring.

    Raises:
        InvalidInputError: It is not a name; says which part is wrong.
    """
    body = text.removeprefix(SCHEME) if isinstance(text, str) else text
    match = _NAME.match(body) if isinstance(body, str) else None
    if match is None or (match["path"] is not None and body is text):
        raise InvalidInputError(what=f"{text!r} is not a name", fix="write project/artifact:alias, :v3 or @blake3:…")
    alias, digest = match["alias"], match["digest"]
    number = _NUMBER.match(alias) if alias else None
    if alias and not number and not alias.startswith(DRAFT_PREFIX):
        check_alias(alias)
    return Name(
        project=check_part(match["project"], "project") if match["project"] else None,
        artifact=check_part(match["artifact"], "artifact"),
        partition=check_partition(unquote(match["partition"])) if match["partition"] is not None else "",
        alias=None if number else alias,
        number=int(number[1]) if number else None,
        digest=str(Digest.parse(digest)) if digest else None,
        path=unquote(match["path"] or ""),
    )


def check_part(text: str, what: str) -> str:
    """Return `text` if it may name a project, artifact or tag (`what`).

    Raises:
        InvalidInputError: Empty, too long, or holds `/ : @ [ ]`, blanks at an end, or control characters.
    """
    if not isinstance(text, str) or not text or len(text) > MAX_NAME:
        raise InvalidInputError(what=f"a {what} name has 1 to {MAX_NAME} characters, not {_shown(text)}")
    bad = sorted({c for c in text if c in _FORBIDDEN or not c.isprintable()})
    if bad or text != text.strip():
        wrong = f"{bad[0]!r}" if bad else "blanks at its ends"
        raise InvalidInputError(
            what=f"the {what} name {text!r} holds {wrong}", fix="headwater.name(*parts) makes a valid name of anything"
        )
    return text


def check_alias(text: str) -> str:
    """Return `text` if it may be an alias that a user sets.

    Raises:
        InvalidInputError: Not a valid name, or looks like a version number or a draft.
    """
    check_part(text, "alias")
    if text.startswith(DRAFT_PREFIX):
        raise InvalidInputError(what=f"an alias cannot begin with {DRAFT_PREFIX!r}, as {text!r} does")
    if _LOOKS_NUMBERED.match(text):
        raise InvalidInputError(what=f"an alias cannot look like a version number, as {text!r} does")
    return text


def several(texts: Iterable[str], what: str) -> tuple[str, ...]:
    """Return `texts`, the argument called `what`, as a tuple.

    Raises:
        InvalidInputError: One text, whose letters would each be taken for one.
    """
    if isinstance(texts, str):
        raise InvalidInputError(what=f"{what} is a list of texts, not one text", fix=f"write {what}=[{texts!r}]")
    return tuple(texts)


def check_partition(key: str) -> str:
    """Return `key` if it may be a partition key: any text of 1 to 1000 characters.

    Raises:
        InvalidInputError: Empty or too long.
    """
    if not isinstance(key, str) or not key or len(key) > MAX_PARTITION:
        raise InvalidInputError(what=f"a partition key is text of 1 to {MAX_PARTITION} characters, not {_shown(key)}")
    return key


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:50]}… ({len(text) - 2} characters)"  # fits a line


def quote_partition(key: str) -> str:
    """Write a partition key for use between brackets; `unquote` reads it back."""
    return "".join(
        "".join(f"%{byte:02X}" for byte in c.encode("utf-8", "surrogatepass"))
        if c in "%[]" or not c.isprintable()
        else c
        for c in key
    )


def name(*parts: Any) -> str:
    """Make a valid artifact name of anything; different parts give different names.

    Letters, digits, `_` and `-` stand for themselves, other bytes become `~XX`,
    parts are joined by dots. A result over 200 characters keeps its first 120
    and ends in `~~` and the digest of the whole.

    Raises:
        InvalidInputError: No parts.
    """
    if not parts:
        raise InvalidInputError(what="headwater.name() needs at least one part")
    joined = ".".join(_escape(str(part)) for part in parts)
    if len(joined) <= MAX_NAME:
        return joined
    return f"{joined[:120]}~~{Digest.of(joined.encode()).hex()}"


def _escape(part: str) -> str:
    if not part:
        return "~"
    keep = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
    return "".join(chr(b) if b in keep else f"~{b:02X}" for b in part.encode("utf-8", "surrogatepass"))


_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def check_path(path: str) -> str:
    """Return `path` if it may be an entry's path: relative, `/`-separated, nothing that leaves its root.

    A trailing `/` marks an empty directory. Paths are never normalised.

    Raises:
        InvalidInputError: Empty, absolute, not valid UTF-8, too long, or holds an empty, `.` or `..`
            part or a control character.
    """
    if not isinstance(path, str):
        raise InvalidInputError(what=f"a path is text, not {path!r}")
    try:
        raw = path.encode()
    except UnicodeEncodeError:
        raise InvalidInputError(
            what=f"the path {path!r} is not valid UTF-8", fix="rename the file, or leave it out with ignore="
        ) from None
    parts = path.removesuffix("/").split("/")
    if not path or len(raw) > MAX_PATH or any(part in ("", ".", "..") for part in parts):
        raise InvalidInputError(
            what=f"{path!r} is not a path inside a version", fix="use a relative path without empty, '.' or '..' parts"
        )
    if _CONTROL.search(path):
        raise InvalidInputError(what=f"the path {path!r} holds a control character", fix="rename the file")
    return path
