"""`doctor`: one line for everything that has to be right before anything else can be."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from typing import TYPE_CHECKING

import click

from headwater import settings
from headwater.cli.session import Session, Verb, clean
from headwater.errors import HeadwaterError, StateError
from headwater.model.sizes import size_in_words
from headwater.model.values import mask_text
from headwater.ports.health import Examined

if TYPE_CHECKING:
    from headwater.repository import Repository

TIGHT = 1 << 30
"""Less free space than this is worth a word, bytes."""
LIBRARIES = ("numpy", "pandas", "polars", "pyarrow", "boto3", "google-cloud-storage", "azure-storage-blob", "requests",
             "psycopg", "fastapi", "prefect", "apache-airflow", "dagster")  # fmt: skip


@click.command(cls=Verb)
@click.pass_obj
def doctor(session: Session) -> None:
    """Find out what is wrong with this set-up; exit code 0 if nothing is."""
    found = [each._replace(what=mask_text(each.what)) for each in _examine(session)]
    document = {"ok": all(each.ok for each in found), "checks": [_json(each) for each in found]}
    longest = max(len(each.name) for each in found)
    session.emit(document, lambda: "\n".join(_line(each, longest) for each in found))
    bad = next((each for each in found if not each.ok), None)
    if bad is not None:
        click.get_current_context().exit(bad.exit_code)


def _json(found: Examined) -> dict[str, object]:
    return {"name": found.name, "ok": found.ok, "what": found.what, "fix": found.fix}


def _line(found: Examined, width: int) -> str:
    sign = click.style("ok  ", fg="green") if found.ok else click.style("bad ", fg="red", bold=True)
    return sign + clean(f"{found.name:<{width}}  {found.what}" + (f": {found.fix}" if found.fix else ""))


def _examine(session: Session) -> Iterator[Examined]:
    yield Examined("python", True, f"{platform.python_version()} at {sys.executable}")
    yield Examined("headwater", True, _version("headwater") or "not installed as a package")
    yield from _guarded("settings", _settings)
    yield from _guarded("repository", lambda: _repository(session))
    yield from _guarded("cache", _cache)
    git = shutil.which("git")
    yield Examined("git", True, git or "not found: runs will not say which commit they ran")
    found = ", ".join(f"{name} {have}" for name in LIBRARIES if (have := _version(name)))
    yield Examined("libraries", True, found or "none of the optional ones")


def _guarded(name: str, look: Callable[[], Iterator[Examined]]) -> Iterator[Examined]:
    """What `look` finds; an error of ours becomes something that is wrong."""
    try:
        yield from look()
    except HeadwaterError as error:
        yield Examined(name, False, str(error), exit_code=error.exit_code)
    except OSError as error:
        yield Examined(name, False, f"{error.filename or name}: {error.strerror}")


def _settings() -> Iterator[Examined]:
    now = settings.current()
    told = ", ".join(sorted(name for name in os.environ if name.startswith("HEADWATER_") and "TOKEN" not in name))
    what = f"{now.url}, project {now.project}, {now.tracking}, as {now.actor}"
    yield Examined("settings", True, what + (f" (from {told})" if told else " (defaults)"))


def _repository(session: Session) -> Iterator[Examined]:
    from headwater.examination import examine_marker, examine_store

    repository = session.repository
    home = repository.home
    yield Examined("repository", True, f"{repository.id} at {repository}")
    told = " (by HEADWATER_OBJECTS)" if settings.current().objects else ""
    yield Examined("store", True, f"packs in {home.objects.url}{told}")
    examine = getattr(home.catalog, "examine", None)
    if examine is not None:
        yield from examine()
    yield examine_marker(home.objects, home.repository_id)
    yield from examine_store(home.objects)
    if home.statcache is not None and home.statcache.is_off:
        what = f"is off ({home.statcache.path}): every file is read again"
        yield Examined("stat cache", False, what, "remove that file if you trust the file system", StateError.exit_code)
    yield from _disk(repository)


def _disk(repository: Repository) -> Iterator[Examined]:
    folder = repository.home.folder.parent
    if not folder.is_dir():
        return
    free, writable = shutil.disk_usage(folder).free, os.access(folder, os.W_OK)
    what = f"{size_in_words(free)} free at {folder}" + ("" if writable else ", which cannot be written")
    yield Examined("disk", writable and free > TIGHT, what, "" if free > TIGHT else "free some space")


def _cache() -> Iterator[Examined]:
    now = settings.current()
    existing = next(p for p in (now.cache, *now.cache.parents) if p.exists())
    writable = os.access(existing, os.W_OK)
    what = f"{now.cache}, at most {size_in_words(now.quota)}" + ("" if writable else ", cannot be written")
    yield Examined("cache", writable, what, "" if writable else "set HEADWATER_CACHE to another folder")


def _version(package: str) -> str | None:
    try:
        return version_of(package)
    except PackageNotFoundError:
        return None
