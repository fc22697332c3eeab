"""Bad days on order: a wrapper that fails at the Nth call, in the way asked for.

    store = Faulty(FileStore(root), Fault("raise", on="put", at=3))
    store = Faulty(MemoryStore(), Fault("lose", on="put"))       # acted, but the answer never came
    catalog = Faulty(catalog, Fault("exit", on="versions.commit"))  # nested parts are wrapped too

It wraps any port (object store, catalog, source): calls are named by the dotted
path of the method. Every call is recorded in `calls`, so it counts requests too.
`Faulty(x)` without a fault only counts. A process that is to be killed reads
its fault from the environment: `Fault.from_environment()` understands
`HEADWATER_TEST_FAULT="exit:put:3"`, and None means none.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

from headwater.errors import StorageError

Kind = Literal["raise", "lose", "exit", "exit-after", "truncate", "flip"]
KILLED = 137
"""Exit status of a process that `exit` ended, as after `kill -9`."""


@dataclass
class Fault:
    """What goes wrong, and when.

    Kinds: `raise` fails before acting; `lose` acts, then fails; `exit` ends the
    process at once before acting, `exit-after` after it; `truncate` and `flip`
    damage the bytes that are put or that get returned, and tell nobody.
    """

    kind: Kind
    on: str = "*"
    """Dotted method name (`put`, `packs.seal`), or `*` for every call."""
    at: int = 1
    """The how-manieth matching call, from 1."""
    times: int = 1
    """How many calls in a row fail, from `at` on."""
    error: BaseException | None = None
    """Raised instead of a retryable StorageError."""

    @classmethod
    def from_environment(cls) -> Fault | None:
        """The fault that `HEADWATER_TEST_FAULT` describes as `kind:method:at`."""
        kind, _, rest = os.environ.get("HEADWATER_TEST_FAULT", "").partition(":")
        on, _, at = rest.partition(":")
        return cls(kind, on or "*", int(at or 1)) if kind else None  # type: ignore[arg-type]


@dataclass
class _Record:
    calls: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)
    matching: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Faulty:
    """Any port, with a fault in it. Thread-safe; attributes that are ports themselves are wrapped as well."""

    def __init__(self, inner: Any, fault: Fault | None = None, *, _name: str = "", _record: _Record | None = None):
        self._inner, self._fault, self._name = inner, fault, _name
        self._record = _record or _Record()

    @property
    def calls(self) -> list[tuple[str, tuple[Any, ...]]]:
        """(dotted method name, positional arguments) of every call so far."""
        return self._record.calls

    def counts(self) -> Counter[str]:
        """How often each method was called."""
        return Counter(name for name, _ in self.calls)

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        value, name = getattr(self._inner, attribute), f"{self._name}{attribute}"
        if callable(value):
            return lambda *args, **options: self._call(name, value, args, options)
        if isinstance(value, str | bytes | int | float | tuple | os.PathLike | None):
            return value
        return Faulty(value, self._fault, _name=f"{name}.", _record=self._record)

    def _call(self, name: str, method: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        fault = self._due(name, args)
        if fault is None:
            return method(*args, **options)
        if fault.kind == "raise":
            raise self._error(fault, name)
        if fault.kind == "exit":
            os._exit(KILLED)
        if fault.kind in ("truncate", "flip") and name.endswith("put"):
            return method(args[0], _damaged(fault.kind, args[1]), *args[2:], **options)
        result = method(*args, **options)
        if fault.kind == "exit-after":
            os._exit(KILLED)
        if fault.kind == "lose":
            raise self._error(fault, name)
        return _damaged(fault.kind, result) if isinstance(result, bytes) else result

    def _due(self, name: str, args: tuple[Any, ...]) -> Fault | None:
        record, fault = self._record, self._fault
        with record.lock:
            record.calls.append((name, args))
            if fault is None or fault.on not in ("*", name):
                return None
            record.matching += 1
            return fault if fault.at <= record.matching < fault.at + fault.times else None

    @staticmethod
    def _error(fault: Fault, name: str) -> BaseException:
        return fault.error or StorageError(what=f"injected fault in {name}", retryable=True)


def _damaged(kind: str, data: Any) -> bytes:
    raw = bytearray(data)
    if kind == "truncate":
        return bytes(raw[: len(raw) // 2])
    if raw:
        raw[len(raw) // 2] ^= 1
    return bytes(raw)
