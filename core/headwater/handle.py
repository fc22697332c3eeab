"""The small thing that one step gives the next: a version by id, with its facts loaded when asked.

A handle pickles, and writes as JSON, as a few ids and names without URL or
credentials; it opens again with the connection of the process that reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self

from headwater.errors import HeadwaterError, StateError
from headwater.model.graph import label
from headwater.model.naming import LATEST, Name, check_alias, check_part, several
from headwater.model.values import mask, to_object

if TYPE_CHECKING:
    from datetime import datetime

    from headwater.home import Home
    from headwater.model.records import Event, VersionRecord

HANDLE_FORMAT = 1


def _connect_first() -> Home:
    """The roof, which knows how to connect, puts its own way in this one's place as it is loaded."""
    import_module("headwater.connect")
    return Hooks.open_home()


class Hooks:
    """What higher floors lend to versions: set once, when they are imported."""

    open_home: Callable[[], Home] = _connect_first
    """How a handle that arrived from elsewhere finds this process's repository."""
    on_read: Callable[[Any], None] | None = None
    """Told before bytes of a version are read, to notice reads without a use."""
    keep: Callable[[Home, Any, Any, HeadwaterError], HeadwaterError] | None = None
    """Told what could not be logged (repository, artifact, options, why), to keep it; gives the error to raise."""


class Handle:
    """Identity and facts of one version. Equal by version id."""

    def __init__(self, record: VersionRecord, home: Home) -> None:
        self._handle: dict[str, Any] | None = None
        self._home: Home | None = home
        self._adopt(record)

    def adopt(self, record: VersionRecord) -> None:
        """Become the handle of that version, e.g. of what this draft was published as; edits not saved are dropped."""
        self._adopt(record)
        self._handle = None if self._home is not None else self._handle

    def _adopt(self, record: VersionRecord) -> None:
        self._record: VersionRecord | None = record
        self.aliases: list[str] = list(record.aliases)
        self.tags: list[str] = list(record.tags)
        self.metadata: dict[str, Any] = _copy(record.metadata)
        self.description: str = record.description

    # -- facts -------------------------------------------------------------------
    if not TYPE_CHECKING:  # else every misspelt attribute would type, and a handle would pass for any protocol

        def __getattr__(self, attribute: str) -> Any:
            # Only reached on a handle from elsewhere, for the editable facts it has not loaded yet.
            if attribute in ("aliases", "tags", "metadata", "description") and "_handle" in self.__dict__:
                self._adopt(self.record)
                return self.__dict__[attribute]
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {attribute!r}")

    @property
    def home(self) -> Home:
        """The repository it lives in, opened by this process.

        Raises:
            StateError: This process is connected to another repository.
        """
        if self._home is None:
            assert self._handle is not None
            home = Hooks.open_home()
            if home.repository_id != self._handle["repository"]:
                raise StateError(
                    what=f"{self._handle['name']} belongs to repository {self._handle['repository']}, "
                    f"this process is connected to {home.repository_id}",
                    fix="set HEADWATER_URL to its repository",
                )
            self._home = home
        return self._home

    @property
    def record(self) -> VersionRecord:
        """Everything the catalog knows about it, as it was when loaded."""
        if self._record is None:
            assert self._handle is not None
            self._record = self.home.catalog.versions.get(self._handle["id"])
        return self._record

    @property
    def id(self) -> str:
        """Stable, unique everywhere."""
        return str(self._handle["id"]) if self._handle else self.record.id

    @property
    def project(self) -> str:
        """The namespace of its artifact."""
        return self.record.project

    @property
    def name(self) -> str:
        """`project/artifact[partition]`."""
        return self._bare.bare

    @property
    def partition(self) -> str:
        """Partition key, empty if the artifact has none."""
        return self.record.partition

    @property
    def number(self) -> int | None:
        """3 for v3; None while a draft."""
        return self.record.number

    @property
    def version(self) -> str:
        """`v3`, or `draft`."""
        return "draft" if self.record.number is None else f"v{self.record.number}"

    @property
    def state(self) -> str:
        """draft, published, deleted or discarded, as it was when loaded."""
        return self.record.state

    @property
    def digest(self) -> str:
        """Of its manifest's root: equal digests, equal content."""
        return str(self._handle["digest"]) if self._handle else self.record.digest

    @property
    def type(self) -> str:
        """The artifact's type."""
        return self.record.type

    @property
    def size(self) -> int | None:
        """Bytes of all entries, stored and referenced; None if some reference's size is unknown."""
        record = self.record
        return None if record.referenced_size is None else record.stored_size + record.referenced_size

    @property
    def created_at(self) -> datetime:
        """When it was logged, UTC."""
        return self.record.created_at

    @property
    def _bare(self) -> Name:
        r = self.record
        return Name(project=r.project, artifact=r.artifact, partition=r.partition)

    def __str__(self) -> str:
        if self._record is None and self._handle is not None:
            return str(self._handle["name"])
        return f"{self.name}:{self.version}"

    def __repr__(self) -> str:
        return f"<Version {self}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Handle) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    # -- edits -------------------------------------------------------------------
    def save(self) -> None:
        """Send what was changed since loading: aliases, tags, metadata, description; each change is in the history.

        Raises:
            ConflictError: Somebody changed the same fact meanwhile; nothing is sent, load it again.
            InvalidInputError: Something that cannot be an alias, tag or JSON.
        """
        changes = self._changes()
        if changes:
            home = self.home
            self._adopt(home.catalog.versions.edit(self.id, self.record, changes, home.actor))

    def _changes(self) -> dict[str, Any]:
        base = self.record
        new = {
            "aliases": tuple(sorted({check_alias(a) for a in several(self.aliases, "aliases") if a != LATEST})),
            "tags": tuple(sorted({check_part(t, "tag") for t in several(self.tags, "tags")})),
            "metadata": mask(to_object(self.metadata, "metadata")),
            "description": str(self.description),
        }
        old = {
            "aliases": tuple(a for a in base.aliases if a != LATEST),
            "tags": base.tags,
            "metadata": base.metadata,
            "description": base.description,
        }
        return {field: value for field, value in new.items() if value != old[field]}

    def reload(self) -> Self:
        """Read its facts again, dropping edits that were not saved; return itself."""
        self._adopt(self.home.catalog.versions.get(self.id))
        return self

    def history(self) -> list[Event]:
        """Every change to this version, oldest first, with who and when."""
        return self.home.catalog.versions.history(self._bare, self.id)

    # -- crossing processes ------------------------------------------------------
    def to_json(self) -> dict[str, Any]:
        """The small form that travels: repository, id, name, digest. No URL, no credentials."""
        if self._handle is not None:
            return dict(self._handle)
        return {
            "headwater": HANDLE_FORMAT,
            "repository": self.home.repository_id,
            "id": self.id,
            "name": str(self),
            "digest": self.digest,
        }

    @classmethod
    def from_json(cls, handle: dict[str, Any]) -> Self:
        """The handle that `to_json` wrote; nothing is asked until it is used.

        Raises:
            StateError: Written by a newer Headwater, or not a handle.
        """
        whole = isinstance(handle, dict) and {"repository", "id", "name", "digest"} <= handle.keys()
        if not whole or handle.get("headwater") != HANDLE_FORMAT:
            raise StateError(what=f"not a version handle of this Headwater: {handle!r}", fix="upgrade headwater")
        version = cls.__new__(cls)
        text = {k: str(v) if k != "headwater" else v for k, v in handle.items()}
        version.__dict__.update(_handle=text, _home=None, _record=None)
        return version

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self).from_json, (self.to_json(),))

    __version__ = HANDLE_FORMAT
    """Airflow's word for the format that `serialize` writes."""

    def serialize(self) -> dict[str, Any]:
        """What Airflow keeps of a handle in an XCom: `to_json`."""
        return self.to_json()

    @classmethod
    def deserialize(cls, data: dict[str, Any], version: int) -> Self:  # noqa: ARG003 - the handle says it itself
        """What Airflow reads an XCom with: `from_json`."""
        return cls.from_json(data)

    # -- inside ------------------------------------------------------------------
    def readable(self) -> Home:
        """Its repository, once it is clear that its bytes may be read.

        Raises:
            StateError: It is deleted or discarded.
        """
        if self.record.state in ("deleted", "discarded"):
            raise StateError(what=f"{self} is {self.record.state}, its bytes may be gone")
        return self.home

    def reading(self) -> Home:
        """As `readable`, and told to whoever watches for reads without a use."""
        home = self.readable()
        if Hooks.on_read is not None:
            Hooks.on_read(self)
        return home

    @property
    def label(self) -> str:
        """`artifact:v3`, for pictures and lines of text."""
        return label(self.record)


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _copy(v) for k, v in value.items()}
    return [_copy(v) for v in value] if isinstance(value, list) else value
