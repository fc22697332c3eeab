"""Every error Headwater raises, grouped by what its reader can do about it.

    HeadwaterError
    ├── InvalidInputError   (ValueError)       fix the call
    ├── NotFoundError       (LookupError)      look elsewhere, or create it
    │   ├── ArtifactNotFoundError
    │   ├── VersionNotFoundError
    │   ├── RunNotFoundError
    │   ├── EntryNotFoundError
    │   ├── ReferenceMissingError              the referenced bytes are gone
    │   └── PurgedError                        the content was removed on purpose
    ├── ConflictError                          somebody was first: read again, then decide
    ├── StateError                             not now: finished, frozen, foreign, deleted
    ├── AccessError         (PermissionError)  ask for rights
    │   └── CredentialsError                   no credentials were found at all
    ├── StorageError        (OSError)          the outside failed; `retryable` says if waiting may help
    └── IntegrityError                         the bytes are not what was recorded: stop, never retry
        ├── DigestMismatchError
        ├── MissingBlobError
        ├── ReferenceChangedError
        ├── SourceChangedError                 a file changed while it was read
        └── FormatError                        damaged, or written by a newer Headwater

An error is built from facts, given as keyword arguments; the class writes one
line that says what happened, where, and what to do next. The facts survive
pickling and a trip over HTTP (`to_json`, `from_json`), so a reader may compare
`error.facts` instead of text. `code` is stable: codes are only ever added.
"""

from __future__ import annotations

from typing import Any, ClassVar


class HeadwaterError(Exception):
    """The root: `except HeadwaterError` catches everything of ours and nothing else.

    Args:
        what: What happened, naming the thing concerned.
        where: The file, URI, name or setting it happened at.
        fix: What the reader can do next.
        **facts: Anything a program may want to compare.
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1
    """What the command line exits with."""

    def __init__(self, **facts: Any) -> None:
        self.facts: dict[str, Any] = facts
        super().__init__(" ".join(self._sentence().splitlines()))  # one line, whatever a name or a service said

    def _what(self) -> str:
        return str(self.facts.get("what", "something failed"))

    def _fix(self) -> str | None:
        fix = self.facts.get("fix")
        return None if fix is None else str(fix)

    def _sentence(self) -> str:
        where, fix = self.facts.get("where"), self._fix()
        line = self._what() + (f" (at {where})" if where is not None else "")
        return line + (f": {fix}" if fix else "")

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.facts))

    def to_json(self) -> dict[str, Any]:
        """The wire form: `{"code", "message", "facts"}`, facts as JSON values."""
        facts = {name: _plain(value) for name, value in self.facts.items()}
        return {"code": self.code, "message": str(self), "facts": facts}


class InvalidInputError(HeadwaterError, ValueError):
    """The call cannot mean anything: fix the argument."""

    code = "invalid-input"
    exit_code = 2


class NotFoundError(HeadwaterError, LookupError):
    """What was asked for is not there."""

    code = "not-found"
    exit_code = 3


class ArtifactNotFoundError(NotFoundError):
    """No artifact of that name. Facts: name."""

    code = "artifact-not-found"

    def _what(self) -> str:
        return f"no artifact is called {self.facts.get('name')}"

    def _fix(self) -> str | None:
        return super()._fix() or "`headwater artifact ls` lists what there is"


class VersionNotFoundError(NotFoundError):
    """The artifact may exist, that version of it does not. Facts: name, at (the time that was asked for)."""

    code = "version-not-found"

    def _what(self) -> str:
        at = self.facts.get("at")
        return f"no version answer{'s' if at is None else 'ed'} to {self.facts.get('name')}{f' at {at}' if at else ''}"

    def _fix(self) -> str | None:
        return super()._fix() or "`headwater artifact ls PROJECT/NAME` lists its versions and aliases"


class RunNotFoundError(NotFoundError):
    """No run has that id or key. Facts: id."""

    code = "run-not-found"

    def _what(self) -> str:
        return f"no run has the id or key {self.facts.get('id')}"

    def _fix(self) -> str | None:
        return super()._fix() or "`headwater run ls` lists the runs"


class EntryNotFoundError(NotFoundError):
    """The version has no such path, and nothing below it. Facts: path, where, close (paths that may be meant)."""

    code = "entry-not-found"

    def _what(self) -> str:
        return f"no entry is called {self.facts.get('path')!r}"

    def _fix(self) -> str | None:
        close = " or ".join(map(repr, self.facts.get("close") or ()))
        return super()._fix() or (f"did you mean {close}?" if close else None)


class ReferenceMissingError(NotFoundError):
    """The referenced object is gone from its source. Facts: uri."""

    code = "reference-missing"

    def _what(self) -> str:
        return f"nothing is at {self.facts.get('uri')}"


class PurgedError(NotFoundError):
    """The content was removed on purpose, from every version. Facts: digest, at, actor, reason."""

    code = "purged"

    def _what(self) -> str:
        facts = self.facts
        return f"{facts.get('digest')} was purged on {facts.get('at')} by {facts.get('actor')}: {facts.get('reason')}"

    def _fix(self) -> str | None:
        return super()._fix() or "it cannot be read or logged again; the rest of the version can"


class ConflictError(HeadwaterError):
    """Somebody else was first, or two things want one place: read again, then decide."""

    code = "conflict"
    exit_code = 4


class StateError(HeadwaterError):
    """Not now: the run is finished, the version deleted, the repository another one."""

    code = "state"
    exit_code = 4


class AccessError(HeadwaterError, PermissionError):
    """The outside says no: ask for rights. Facts: where."""

    code = "access-denied"
    exit_code = 5


class CredentialsError(AccessError):
    """No credentials were found for the place asked. Facts: where."""

    code = "no-credentials"


class StorageError(HeadwaterError, OSError):
    """The outside failed. Facts: what, where, retryable (default false)."""

    code = "storage"
    exit_code = 6

    @property
    def retryable(self) -> bool:
        """Whether waiting and trying again may help."""
        return bool(self.facts.get("retryable", False))


class IntegrityError(HeadwaterError):
    """The bytes are not what was recorded: stop, never retry."""

    code = "integrity"
    exit_code = 7


class DigestMismatchError(IntegrityError):
    """Bytes do not have the digest they should. Facts: expected, actual, where."""

    code = "digest-mismatch"

    def _what(self) -> str:
        return f"expected {self.facts.get('expected')}, the bytes are {self.facts.get('actual')}"

    def _fix(self) -> str | None:
        return super()._fix() or "`headwater verify` shows what else is damaged"


class MissingBlobError(IntegrityError):
    """A manifest names a blob that the store does not hold. Facts: digest, where."""

    code = "missing-blob"

    def _what(self) -> str:
        return f"the store has lost {self.facts.get('digest')}"

    def _fix(self) -> str | None:
        return super()._fix() or "`headwater verify` lists what else is missing"


class ReferenceChangedError(IntegrityError):
    """The source has other bytes than those recorded. Facts: uri, pinned, found."""

    code = "reference-changed"

    def _what(self) -> str:
        pinned, found = self.facts.get("pinned"), self.facts.get("found")
        return f"{self.facts.get('uri')} has changed since it was logged ({pinned} → {found})"

    def _fix(self) -> str | None:
        return super()._fix() or "log a new version to accept the new bytes"


class SourceChangedError(IntegrityError):
    """A file changed while Headwater was reading it. Facts: where."""

    code = "source-changed"

    def _what(self) -> str:
        return "the file changed while it was being read; nothing was logged"

    def _fix(self) -> str | None:
        return super()._fix() or "log it when its writer is done"


class FormatError(IntegrityError):
    """Damaged, or written by a newer Headwater. Facts: what, where."""

    code = "format"


def not_installed(who: str, package: str, extra: str) -> StateError:
    """The error of `who`, a URL scheme or a feature, that needs an outside package and does not find it."""
    what = f"{who} needs {package}, which is not installed"
    return StateError(what=what, fix=f'pip install "headwater[{extra}]"')


def from_json(body: dict[str, Any]) -> HeadwaterError:
    """Rebuild the error that `to_json` described; one of an unknown code is the root class, in the same words."""
    cls, facts = _BY_CODE.get(str(body.get("code"))), dict(body.get("facts") or {})
    if cls is not None and facts:
        return cls(**facts)
    said = {"what": body.get("message"), "where": None, "fix": None}
    return (cls or HeadwaterError)(**{**facts, **said})


def _rebuild(cls: type[HeadwaterError], facts: dict[str, Any]) -> HeadwaterError:
    return cls(**facts)


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each) for each in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _tree(cls: type[HeadwaterError]) -> dict[str, type[HeadwaterError]]:
    found = {cls.code: cls}
    for child in cls.__subclasses__():
        found |= _tree(child)
    return found


_BY_CODE = _tree(HeadwaterError)
