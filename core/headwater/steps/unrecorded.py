"""What stands in for versions and runs while nothing is recorded: tracking is off, or lenient and failing.

The user's code runs as ever; nothing pretends to have been recorded.
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from headwater import settings
from headwater.callers import user_level
from headwater.errors import HeadwaterError, StateError
from headwater.lookup import find_version
from headwater.steps.ambient import default_home
from headwater.version import Version

if TYPE_CHECKING:
    from headwater.steps.inspection import Plan

T = TypeVar("T", covariant=True)  # noqa: PLC0105 - as Version's

_warned: set[str] = set()


def lenient(error: HeadwaterError) -> bool:
    """Whether to go on without recording; says so, once per kind of error."""
    if settings.tracking() == "strict":
        return False
    if error.code not in _warned:
        _warned.add(error.code)
        warnings.warn(f"not recorded: {error}", stacklevel=user_level())
    return True


def read_only(name: str, project: str | None = None) -> Version[Any]:
    """The version that `name` means, without any record that it was used."""
    home = default_home()
    return Version(find_version(home, name, project=project), home)


class Unrecorded(Version[T]):
    """The handle of a result that was not recorded: it holds the value itself, so that the next step can load it.

    Everything that only a version has (id, digest, name, aliases, …) is a StateError.

    Args:
        value: What `load()` gives back.
        name: The artifact it would have become.
    """

    def __init__(self, value: T, name: str) -> None:
        self._value = value
        self._name = name
        self._handle = None
        self._record = None
        self._home = None

    def load(self, as_: Any = None, *, allow_pickle: bool = False) -> Any:  # noqa: ARG002 - nothing is converted
        """The value that the step returned."""
        return self if as_ is Version else self._value

    def download(self, root: str | Path | None = None, **_: Any) -> Path:
        """The returned path, where it is.

        Raises:
            StateError: The value is no path, or a copy at `root` is wanted.
        """
        if isinstance(self._value, Path) and root is None:
            return self._value
        return self._refuse()

    @property
    def id(self) -> NoReturn:
        """There is none."""
        self._refuse()

    @property
    def digest(self) -> NoReturn:
        """There is none."""
        self._refuse()

    @property
    def record(self) -> NoReturn:
        """There is none."""
        self._refuse()

    @property
    def home(self) -> NoReturn:
        """There is none."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise StateError(what=f"{self} is no version", fix="what steps return is recorded with strict tracking")

    if not TYPE_CHECKING:  # as in Handle

        def __getattr__(self, attribute: str) -> Any:
            if attribute in ("aliases", "tags", "metadata", "description"):
                self._refuse()
            raise AttributeError(f"'Unrecorded' object has no attribute {attribute!r}")

    def __str__(self) -> str:
        return f"{self._name} (not recorded)"

    def __repr__(self) -> str:
        return f"<Unrecorded {self._name}>"

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return (Unrecorded, (self._value, self._name))

    def serialize(self) -> dict[str, Any]:
        """What Airflow keeps of it in an XCom: the value itself, which must be one that Airflow can keep."""
        return {"value": self._value, "name": self._name}

    @classmethod
    def deserialize(cls, data: dict[str, Any], version: int) -> Unrecorded[Any]:  # noqa: ARG003
        """What Airflow reads an XCom with."""
        return cls(data["value"], data["name"])


def hand_back(plan: Plan, result: Any) -> Any:
    """What the caller gets of an unrecorded call: handles where handles are expected, holding the values."""
    outputs = plan.outputs
    if outputs.shape == "nothing":
        return result
    values = outputs.split(result, plan.where)
    return outputs.join([_held(value, log.name) for log, value in zip(outputs.logs, values)])


def _held(value: Any, name: str) -> Version[Any]:
    return value if isinstance(value, Version) else Unrecorded(value, name)


class UnrecordedRun:
    """What `hw.current_run()` gives while nothing is recorded: the two verbs work on plain data, facts go nowhere."""

    def __init__(self) -> None:
        self.config: dict[str, Any] = {}
        self.summary: dict[str, Any] = {}
        self._scratch: Path | None = None

    def use_artifact(self, artifact: Any, **_: Any) -> Version[Any]:
        """The version, read without a record."""
        return artifact if isinstance(artifact, Version) else read_only(artifact)

    def log_artifact(self, artifact: Any, name: str | None = None, **_: Any) -> Version[Any]:
        """A handle that holds the value."""
        return _held(artifact, name or str(getattr(artifact, "name", "a value")))

    def scratch(self) -> Path:
        """A directory that is removed with this object."""
        if self._scratch is None:
            self._scratch = Path(tempfile.mkdtemp(prefix="headwater-"))
            weakref.finalize(self, shutil.rmtree, self._scratch, ignore_errors=True)
        return self._scratch

    def knows(self, version: Version[Any]) -> bool:  # noqa: ARG002 - there is nothing to remember
        """As if used, so that nothing is warned of."""
        return True

    def finish(self, *_: Any, **__: Any) -> None:
        """Nothing to end."""

    def __getattr__(self, attribute: str) -> NoReturn:
        if attribute.startswith("__"):  # copy and pickle probe for these
            raise AttributeError(attribute)
        raise StateError(what=f"there is no run whose {attribute} to give", fix="runs exist with strict tracking")


_around: ContextVar[UnrecordedRun | None] = ContextVar("headwater_unrecorded_run", default=None)


@contextmanager
def unrecorded_run() -> Iterator[None]:
    """Inside the block `stand_in` is one run of its own."""
    token = _around.set(UnrecordedRun())
    try:
        yield
    finally:
        _around.reset(token)


def is_unrecorded() -> bool:
    """Whether the step around the caller is not recorded, which has been said already."""
    return _around.get() is not None


def stand_in() -> UnrecordedRun:
    """What takes the place of the current run: that of the unrecorded step around, else one for the process."""
    return _around.get() or _for_process()


@cache
def _for_process() -> UnrecordedRun:
    return UnrecordedRun()
