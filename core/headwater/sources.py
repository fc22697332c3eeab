"""Which source reads a URI: by its scheme, loaded when first asked for.

Headwater's own sources stand in a table, so that they work uninstalled too;
third parties register a class without constructor arguments under the entry
point group `headwater.sources`, named by the scheme. Any other string belongs
to the opaque source: recorded, never read.
"""

from __future__ import annotations

import os
import re
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

from headwater.errors import InvalidInputError, StateError

if TYPE_CHECKING:
    from collections.abc import Callable

    from headwater.ports import Source

GROUP: Final = "headwater.sources"

_FILES: Final = "headwater.backends.filesource:FileSource"
_OPAQUE: Final = "headwater.backends.opaque:OpaqueSource"
_S3: Final = "headwater.backends.s3_source:S3Source"
_GCS: Final = "headwater.backends.gcs_source:GCSSource"
_AZURE: Final = "headwater.backends.azure_source:AzureSource"
_HTTP: Final = "headwater.backends.http:HTTPSource"
BUILT_IN: Final[dict[str, str]] = {
    "file": _FILES,
    "s3": _S3,
    "s3a": _S3,
    "gs": _GCS,
    "gcs": _GCS,
    "az": _AZURE,
    "abfs": _AZURE,
    "abfss": _AZURE,
    "http": _HTTP,
    "https": _HTTP,
}
"""Scheme → dotted path of the class."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
_AZURE_HOST = re.compile(r"[a-z0-9-]+\.blob\.(core\.[a-z.]+|storage\.azure\.net)\Z")


class Sources:
    """Finds the source for a URI; makes each once per process (clients are not carried over a fork)."""

    def __init__(self) -> None:
        self._registered: dict[str, Callable[[], Source]] = {}
        self._made: dict[str, Source] = {}
        self._pid = os.getpid()

    def find(self, uri: str) -> Source:
        """The source that reads `uri`; one that only records it if no source knows its scheme.

        Headwater's own load their SDK when they first ask, and say then which extra brings it.

        Raises:
            StateError: A third party's source cannot be loaded.
        """
        if self._pid != os.getpid():
            self._made, self._pid = {}, os.getpid()
        scheme = scheme_of(uri)
        if scheme in self._registered:
            return self._make(scheme, self._registered[scheme])
        path = _AZURE if _is_azure(scheme, uri) else BUILT_IN.get(scheme)
        if path is not None:
            return self._make(path, lambda: _load(path))
        third = _entry_point(scheme) if scheme else None
        return self._make(scheme, third) if third else self._make(_OPAQUE, lambda: _load(_OPAQUE))

    def register(self, scheme: str, make: Callable[[], Source]) -> None:
        """Use `make()` for `scheme` in this registry, whatever else knows it.

        Raises:
            InvalidInputError: `scheme` cannot be one.
        """
        if not _SCHEME.fullmatch(scheme + ":"):
            raise InvalidInputError(what=f"{scheme!r} cannot be a URI scheme")
        self._registered[scheme.lower()] = make
        self._made.pop(scheme.lower(), None)

    def _make(self, key: str, make: Callable[[], Source]) -> Source:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]


SOURCES: Final = Sources()
"""The registry of this process, for whoever has no other."""


def scheme_of(uri: str) -> str:
    """The scheme in lower case, empty if there is none (a path, a Windows drive, any text)."""
    match = _SCHEME.match(uri)
    return match[1].lower() if match else ""


def _is_azure(scheme: str, uri: str) -> bool:
    if scheme not in ("http", "https"):
        return False
    try:
        return bool(_AZURE_HOST.match(urlsplit(uri).hostname or ""))
    except ValueError:
        return False


def _load(path: str) -> Source:
    module, _, name = path.partition(":")
    return cast("Source", getattr(import_module(module), name)())


def _entry_point(scheme: str) -> Callable[[], Source] | None:
    from importlib.metadata import entry_points

    found: Any = next(iter(entry_points(group=GROUP, name=scheme)), None)
    return None if found is None else lambda: _start(found, scheme)


def _start(found: Any, scheme: str) -> Source:
    try:
        return cast("Source", found.load()())
    except ImportError as error:
        fix = f"reinstall {found.dist.name}" if found.dist else None
        raise StateError(what=f"{scheme}:// needs {error.name}, which is not installed", fix=fix) from error
