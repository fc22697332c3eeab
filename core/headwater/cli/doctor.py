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
import msgspec

from headwater import settings
from headwater.cli.session import Session, Verb, clean
from headwater.errors import HeadwaterError, StateError
from headwater.model.sizes import size_in_words
from headwater.model.values import mask_text

if TYPE_CHECKING:
    from headwater.ports.health import Examined
    from headwater.repository import Repository

TIGHT = 1 << 30
"""Less free space than this is worth a word, bytes."""
LIBRARIES = ("numpy", "pandas", "polars", "pyarrow", "boto3", "google-cloud-storage", "azure-storage-blob", "requests",
             "psycopg", "fastapi", "prefect", "apache-airflow", "dagster")  # fmt: skip


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing looked at."""

    name: str
    ok: bool
    what: str
    fix: str = ""
    exit_code: int = 0


@click.command(cls=Verb)
@click.pass_obj
def doctor(session: Session) -> None:
    """Find out what is wrong with this set-up; exit code 0 if nothing is."""
    checks = list(_checks(session))
    document = {"ok": all(c.ok for c in checks), "checks": [_json(c) for c in checks]}
    session.emit(document, lambda: "\n".join(_line(c) for c in checks))
    bad = next((c for c in checks if not c.ok), None)
    if bad is not None:
        click.get_current_context().exit(bad.exit_code or StateError.exit_code)


def _json(check: Check) -> dict[str, object]:
    return {"name": check.name, "ok": check.ok, "what": check.what, "fix": check.fix}


def _line(check: Check) -> str:
    sign = click.style("ok  ", fg="green") if check.ok else click.style("bad ", fg="red", bold=True)
    return sign + clean(f"{check.name:<11} {check.what}" + (f": {check.fix}" if check.fix else ""))


def _checks(session: Session) -> Iterator[Check]:
    yield Check(name="python", ok=sys.version_info >= (3, 11), what=f"{platform.python_version()} at {sys.executable}")
    yield Check(name="headwater", ok=True, what=_version("headwater") or "not installed as a package")
    yield from _guarded("settings", _settings)
    yield from _guarded("repository", lambda: _repository(session))
    yield from _guarded("cache", _cache)
    git = shutil.which("git")
    yield Check(name="git", ok=True, what=git or "not found: runs will not say which commit they ran")
    found = ", ".join(f"{name} {have}" for name in LIBRARIES if (have := _version(name)))
    yield Check(name="libraries", ok=True, what=found or "none of the optional ones")


def _guarded(name: str, look: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """The checks of `look`; an error of ours becomes one that failed."""
    try:
        yield from look()
    except HeadwaterError as error:
        yield Check(name=name, ok=False, what=mask_text(str(error)), exit_code=error.exit_code)
    except OSError as error:
        yield Check(name=name, ok=False, what=f"{error.filename or name}: {error.strerror}", exit_code=6)


def _settings() -> Iterator[Check]:
    now = settings.current()
    told = ", ".join(sorted(name for name in os.environ if name.startswith("HEADWATER_") and "TOKEN" not in name))
    what = f"{mask_text(now.url)}, project {now.project}, {now.tracking}, as {now.actor}"
    yield Check(name="settings", ok=True, what=what + (f" (from {told})" if told else " (defaults)"))


def _repository(session: Session) -> Iterator[Check]:
    repository = session.repository
    home = repository.home
    yield Check(name="repository", ok=True, what=f"{repository.id} at {repository}")
    root = settings.current().objects
    told = " (by HEADWATER_OBJECTS)" if root else ""
    yield Check(name="store", ok=True, what=f"packs in {mask_text(home.objects.url)}{told}")
    for found in _examined(repository):
        yield Check(
            name=found.name, ok=found.ok, what=mask_text(found.what), fix=found.fix,
            exit_code=0 if found.ok else found.exit_code,
        )  # fmt: skip
    if home.statcache is not None and home.statcache.is_off:
        yield Check(
            name="stat cache", ok=False, what=f"is off ({home.statcache.path}): every file is read again",
            fix="remove that file if you trust the file system",
        )  # fmt: skip
    yield from _disk(repository)


def _examined(repository: Repository) -> Iterator[Examined]:
    from headwater.examination import examine_marker, examine_store

    home = repository.home
    examine = getattr(home.catalog, "examine", None)
    if examine is not None:
        yield from examine()
    yield examine_marker(home.objects, home.repository_id)
    yield from examine_store(home.objects)


def _disk(repository: Repository) -> Iterator[Check]:
    folder = repository.home.folder.parent
    if not folder.is_dir():
        return
    free, writable = shutil.disk_usage(folder).free, os.access(folder, os.W_OK)
    what = f"{size_in_words(free)} free at {folder}" + ("" if writable else ", which cannot be written")
    yield Check(name="disk", ok=writable and free > TIGHT, what=what,
                fix="" if free > TIGHT else "free some space")  # fmt: skip


def _cache() -> Iterator[Check]:
    now = settings.current()
    existing = next(p for p in (now.cache, *now.cache.parents) if p.exists())
    writable = os.access(existing, os.W_OK)
    what = f"{now.cache}, at most {size_in_words(now.quota)}" + ("" if writable else ", cannot be written")
    yield Check(name="cache", ok=writable, what=what, fix="" if writable else "set HEADWATER_CACHE to another folder")


def _version(package: str) -> str | None:
    try:
        return version_of(package)
    except PackageNotFoundError:
        return None
