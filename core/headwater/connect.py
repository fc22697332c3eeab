"""Open the repository at a URL; the only file that names concrete backends.

connect()                        what `configure` or $HEADWATER_URL says, else ~/.headwater
connect("path/to/folder")        SQLite and packs in one folder, made if it is not there
connect("memory://")             gone when the process ends
connect("postgresql://…")        a catalog that knows where its packs are (`headwater init` made it)
"""

from __future__ import annotations

import os
import threading
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from headwater import disk, settings
from headwater.backends.files import FileStore
from headwater.backends.memory import MemoryStore
from headwater.errors import (
    AccessError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    StateError,
    StorageError,
)
from headwater.examination import examine_store
from headwater.handle import Hooks
from headwater.heartbeat import Leases
from headwater.home import Home
from headwater.model.keys import MARKER, Marker, decode_marker, encode_marker
from headwater.model.values import mask_text
from headwater.repository import Repository
from headwater.run import Run
from headwater.spool import keep
from headwater.store.blobs import BlobStore
from headwater.store.cache import FileCache
from headwater.store.statcache import StatCache

if TYPE_CHECKING:
    from headwater.ports import Catalog, ObjectStore

CATALOG_FILE = "catalog.sqlite"
OBJECTS_FOLDER = "objects"
LOCAL_FOLDER = "local"
STORE_ROOT = "store_root"
"""The catalog's setting that says where the packs are, for a catalog in PostgreSQL."""

_CLOUD_STORES = {
    "s3": ("headwater.backends.s3", "S3Store"),
    "gs": ("headwater.backends.gcs", "GCSStore"),
    "az": ("headwater.backends.azure", "AzureStore"),
}

_SCHEMES = ("postgresql", "postgres", "postgresql+psycopg", "memory", "file", "http", "https", *_CLOUD_STORES)
"""A path that begins like one of these and has no colon was meant as a URL, not as a new folder of that name."""

_default: dict[str, Repository] = {}
_lock = threading.Lock()


def connect(url: str | Path | None = None, *, project: str | None = None) -> Repository:
    """Open a repository. Without `configure` or $HEADWATER_URL, the last one opened by URL is this process's default.

    Args:
        url: See the module; None for the default.
        project: The current project of this repository object.

    Raises:
        InvalidInputError: Not a URL of a repository.
        NotFoundError: No repository is there (a folder is made, a team's repository is not: `headwater init`).
        StateError: The packs belong to another repository.
        StorageError, AccessError, FormatError: It could not be opened.
    """
    if url is None:
        return default_repository() if project is None else _open(settings.current().url, project)
    repository = _open(str(url), project)
    settings.suggest(str(url))
    return repository


def default_repository() -> Repository:
    """This process's repository, opened once per URL."""
    now = settings.current()
    key = f"{now.url}\n{now.project}\n{now.actor}"
    with _lock:
        if key not in _default:
            _default[key] = _open(now.url, None)
        return _default[key]


def start_run(
    name: str,
    *,
    project: str | None = None,
    config: dict[str, Any] | None = None,
    group: str | None = None,
    parent: str | None = None,
    key: str | None = None,
    **more: Any,
) -> Run:
    """Open a run in the default repository; `with` makes it current and ends it, `run.finish()` ends it in a notebook.

    Args:
        name: What people call the step.
        project: Where its names live; the parent run's, else the current project.
        config: What the step was told, JSON; secrets are masked.
        group: The orchestrator run it belongs to: inside a group a name means one version. The parent's by default.
        parent: Id of the run it runs inside; the current run by default.
        key: The stable identity of the step's execution: opening it again is the next attempt.
        **more: `attempt`, `id`, `resume` (take up a run that has ended), `links`, `capture`
            (of `code`, `diff`, `arguments`).

    Raises:
        InvalidInputError: An argument that cannot be meant.
        StateError: The run has ended and `resume` is false.
    """
    known = {"project": project, "config": config, "group": group, "parent": parent, "key": key}
    return default_repository().start_run(name, **known, **more)


def create(url: str | Path, objects: str | None = None) -> Repository:
    """Make (or migrate) a repository and open it; what is there already stays.

    Args:
        url: A folder, or a `postgresql://` URL.
        objects: Where the packs go: `s3://bucket/prefix`, `gs://…`, `az://…`, `file:///…`; by default
            beside an SQLite catalog. PostgreSQL needs it the first time.

    Raises:
        InvalidInputError, StateError, StorageError, AccessError, FormatError
    """
    database, folder = catalog_url(str(url))
    if folder is not None:
        _make_folder(folder)
    existed = not _make_catalog(database)
    catalog = _open_upgraded(database)
    try:
        _settle_root(catalog, str(url), objects, folder if existed else None, needed=folder is None)
    finally:
        catalog.close()
    return _open(str(url), None)


def _settle_root(catalog: Catalog, url: str, objects: str | None, existing: Path | None, *, needed: bool) -> None:
    """Record where the packs go, once that place has been tried out."""
    known = catalog.setting(STORE_ROOT) or (str(existing / OBJECTS_FOLDER) if existing else None)
    if known and objects and known != objects:
        raise StateError(
            what=f"this repository keeps its packs in {mask_text(known)}, not in {mask_text(objects)}",
            where=mask_text(url), fix="to reach the same place by another endpoint, set HEADWATER_OBJECTS there",
        )  # fmt: skip
    if objects and not known:
        store = open_store(whole_place(objects))
        _try_out(store)
        _check_marker(catalog, store)
        catalog.set_setting(STORE_ROOT, whole_place(objects))
    elif needed and not known:
        raise InvalidInputError(what="a catalog in PostgreSQL needs a place for its packs", fix="add --objects s3://…")


def whole_place(objects: str) -> str:
    """Where packs are, a folder as its whole path: other processes stand elsewhere."""
    return objects if urlsplit(objects).scheme not in ("", "file") else str(_path_of(objects))


def _try_out(store: ObjectStore) -> None:
    """Raise what is wrong with a place for packs, before anything depends on it."""
    wrong = next((found for found in examine_store(store) if not found.ok), None)
    if wrong is not None:
        kind = AccessError if wrong.exit_code == AccessError.exit_code else StorageError
        what = f"packs cannot be kept at {store.url}: {wrong.name}: {wrong.what}"
        raise kind(what=what, **({"fix": wrong.fix} if wrong.fix else {}))


def _make_catalog(url: str) -> bool:
    """Make the catalog; False if one is there already, perhaps made this instant by another process."""
    try:
        _sql().create(url).close()
    except ConflictError:
        return False
    return True


def _open_upgraded(url: str) -> Catalog:
    """Open a catalog, bringing an older schema up to date first."""
    try:
        opened: Catalog = _sql().open_catalog(url)
    except StateError:
        import_module("headwater.catalog.migrate").upgrade(url)
        opened = _sql().open_catalog(url)
    return opened


# -- opening ---------------------------------------------------------------------
def _open(url: str, project: str | None) -> Repository:
    now = settings.current()
    if url.startswith("memory:"):
        return _assemble(url, _sql().create("sqlite://"), MemoryStore(), project, now.cache)
    database, folder = catalog_url(url)
    if folder is not None and not (folder / CATALOG_FILE).exists():
        _make_folder(folder)
        _make_catalog(database)
    catalog = _sql().open_catalog(database)
    try:
        objects = _objects_of(catalog, url, folder)
        return _assemble(mask_text(url), catalog, objects, project, _local_folder(folder, now.cache, catalog))
    except BaseException:
        catalog.close()
        raise


def _objects_of(catalog: Catalog, url: str, folder: Path | None) -> ObjectStore:
    """The store the catalog names, by this machine's own way if it has one; the marker proves that it is the same."""
    root, own = catalog.setting(STORE_ROOT), settings.current().objects
    if root is None and folder is None:
        raise NotFoundError(what="this database holds no repository", where=mask_text(url), fix="run `headwater init`")
    if root is None:
        return FileStore(_must(folder) / OBJECTS_FOLDER)
    objects = open_store(own or root)
    if own is not None and objects.read_marker(MARKER) is None:
        raise StateError(
            what=f"HEADWATER_OBJECTS leads to {objects.url}, which has no marker of a repository", where=mask_text(url),
            fix="name the same bucket and prefix as the catalog does, with another ?endpoint=",
        )  # fmt: skip
    return objects


def open_folder(folder: Path) -> Repository:
    """The repository in a folder, made if it is not there; it becomes nobody's default.

    Raises:
        As `connect`.
    """
    return _open(str(folder), None)


def open_other(url: str) -> Repository:
    """As `connect`, and it becomes nobody's default.

    Raises:
        As `connect`; NotFoundError: Nothing is there (a folder is not made).
    """
    _, folder = catalog_url(url)
    if folder is not None and not (folder / CATALOG_FILE).exists():
        raise NotFoundError(what="there is no repository", where=folder, fix="`headwater init` makes one")
    return _open(url, None)


def _assemble(url: str, catalog: Catalog, objects: ObjectStore, project: str | None, folder: Path) -> Repository:
    now = settings.current()
    if url.startswith("memory:"):
        folder = folder / catalog.repository_id
    _check_marker(catalog, objects)
    remote = not isinstance(objects, FileStore | MemoryStore)
    cache = FileCache(now.cache / "files", now.quota // 2)  # the other half is for shared trees
    home = Home(
        url=url,
        catalog=catalog,
        objects=objects,
        blobs=BlobStore(objects, catalog.packs),
        leases=Leases(catalog.packs, now.actor),
        folder=folder,
        project=project or now.project,
        actor=now.actor,
        statcache=StatCache(folder / "stat.sqlite"),
        cache=cache if remote else None,
        copies=cache,
    )
    return Repository(home)


def open_store(url: str) -> ObjectStore:
    """The object store at a URL; the client library is loaded now.

    Raises:
        InvalidInputError: A scheme no backend knows, or its extra is not installed.
    """
    scheme = urlsplit(url).scheme
    if scheme in ("", "file"):
        return FileStore(_path_of(url))
    if scheme not in _CLOUD_STORES:
        raise InvalidInputError(what=f"packs cannot be kept at {mask_text(url)}", fix="use file, s3, gs or az URLs")
    module, name = _CLOUD_STORES[scheme]
    store: ObjectStore = getattr(import_module(module), name)(url)
    return store


def _check_marker(catalog: Catalog, objects: ObjectStore) -> None:
    found = objects.read_marker(MARKER)
    if found is None:
        if next(iter(catalog.packs.packs("live")), None) is not None:
            raise StateError(
                what="the catalog knows packs, but its store is empty or another one",
                where=objects.url,
                fix="check the store's URL; `headwater doctor` says more",
            )
        objects.swap_marker(MARKER, encode_marker(Marker(repository=catalog.repository_id)), None)
    elif decode_marker(found[0]).repository != catalog.repository_id:
        raise StateError(
            what=f"these packs belong to repository {decode_marker(found[0]).repository}, "
            f"the catalog is of {catalog.repository_id}",
            where=objects.url,
            fix="connect each catalog to its own store",
        )


def catalog_url(url: str) -> tuple[str, Path | None]:
    """The database to open, and the folder of an embedded repository.

    Raises:
        InvalidInputError: Not the URL of a repository.
    """
    scheme = urlsplit(url).scheme
    if scheme in ("postgresql", "postgres", "postgresql+psycopg"):
        return url, None
    if url.partition("//")[0] in _SCHEMES:
        raise InvalidInputError(what=f"{mask_text(url)} lacks the colon before //", fix="write SCHEME://…")
    if scheme in ("", "file") or (os.name == "nt" and len(scheme) == 1):
        folder = _path_of(url)
        return f"sqlite:///{folder / CATALOG_FILE}", folder
    raise InvalidInputError(
        what=f"{mask_text(url)} is not a repository", fix="use a folder, memory:// or postgresql://user@host/database"
    )


def _path_of(url: str) -> Path:
    path = unquote(urlsplit(url).path) if url.startswith("file:") else url
    return Path(path).expanduser().absolute()


def _make_folder(folder: Path) -> None:
    if (folder / OBJECTS_FOLDER / MARKER).exists() and not (folder / CATALOG_FILE).exists():
        raise StateError(
            what="the packs of a repository are here, and its catalog is gone", where=folder,
            fix="`headwater restore` brings the newest backup back",
        )  # fmt: skip
    if folder.exists() and not folder.is_dir():
        raise InvalidInputError(what="a repository is a folder, this is a file", where=folder)
    if folder.is_dir() and any(folder.iterdir()) and not (folder / CATALOG_FILE).exists():
        strangers = [p.name for p in folder.iterdir() if p.name not in (OBJECTS_FOLDER, LOCAL_FOLDER)]
        if strangers and not any(name.startswith(CATALOG_FILE) for name in strangers):
            raise InvalidInputError(
                what=f"the folder holds other things ({strangers[0]}) and no repository",
                where=folder,
                fix="name an empty or new folder",
            )
    with disk.explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / CATALOG_FILE).exists():  # later its absence means that the packs are lost
            (folder / OBJECTS_FOLDER).mkdir(exist_ok=True)


def _local_folder(folder: Path | None, cache: Path, catalog: Catalog) -> Path:
    """Beside an embedded repository, so that one folder is all there is; if that cannot be, in the cache."""
    if folder is not None and os.access(folder, os.W_OK):
        return folder / LOCAL_FOLDER
    return cache / catalog.repository_id


def _must(folder: Path | None) -> Path:
    assert folder is not None
    return folder


def _sql() -> Any:
    return import_module("headwater.catalog.sql")  # SQLAlchemy loads in a quarter of a second: only when it is needed


def _open_default_home() -> Home:
    return default_repository().home


Hooks.open_home = _open_default_home
Hooks.keep = partial(keep, open_folder)
