"""Operators that log: files, directories, and references to data that stays where it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import headwater as hw
from airflow_headwater.operators import HeadwaterOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from headwater import Artifact, Run, Version


class _Logs(HeadwaterOperator):
    template_fields = (*HeadwaterOperator.template_fields, "artifact", "aliases", "tags", "metadata", "description")
    template_fields_renderers = {"metadata": "json"}

    def __init__(
        self,
        *,
        artifact: str,
        type: str | None = None,
        aliases: Sequence[str] = (),
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        description: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.artifact, self.type = artifact, type
        self.aliases, self.tags, self.metadata, self.description = aliases, tags, metadata, description

    def _new(self) -> Artifact:
        return hw.Artifact(
            self.artifact, self.type, description=self.description or "", metadata=dict(self.metadata or {})
        )

    def _log(self, run: Run, artifact: Artifact) -> Version[Any]:
        return run.log_artifact(artifact, aliases=list(self.aliases or ()), tags=list(self.tags or ()))


class HeadwaterLogFilesOperator(_Logs):
    """Logs files and directories as one version; its handle is the XCom.

    Args:
        artifact: The artifact, `project/artifact`; may be a template, as all the texts.
        paths: A file or directory, several of them, or a mapping from their names in the version. Of a single
            directory the contents are logged.
        **kwargs: `type`, `aliases`, `tags`, `metadata`, `description`, and as for every operator.
    """

    template_fields = (*_Logs.template_fields, "paths")

    def __init__(self, *, paths: str | Path | Sequence[str | Path] | Mapping[str, str | Path], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.paths = paths

    def record(self, run: Run, context: Context) -> Version[Any]:  # noqa: ARG002
        """Log them."""
        made = self._new()
        if isinstance(self.paths, str | Path):
            _add(made, Path(self.paths), None)
        elif isinstance(self.paths, Mapping):
            for name, path in self.paths.items():
                _add(made, Path(path), name)
        else:
            for path in self.paths:
                _add(made, Path(path), Path(path).name)
        return self._log(run, made)


def _add(artifact: Artifact, path: Path, name: str | None) -> None:
    if path.is_dir():
        artifact.add_dir(path, name) if name else artifact.add_dir(path)
    else:
        artifact.add_file(path, name) if name else artifact.add_file(path)


class HeadwaterLogReferencesOperator(_Logs):
    """Logs pointers to data that stays where it is: S3, GCS, Azure, the web, files; its handle is the XCom.

    Args:
        artifact: The artifact.
        uris: A URI, several, or a mapping from their names in the version.
        pin: True: pinned by what the source says; `digest`: read once and proved; False: the bare URI.
        max_objects: Most objects of a prefix.
        on_unavailable: `raise`, or `record` the bare URI where the source cannot be asked.
        **kwargs: As for `HeadwaterLogFilesOperator`.
    """

    template_fields = (*_Logs.template_fields, "uris")

    def __init__(
        self,
        *,
        uris: str | Sequence[str] | Mapping[str, str],
        pin: bool | Literal["digest"] = True,
        max_objects: int = 10_000,
        on_unavailable: Literal["raise", "record"] = "raise",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.uris, self.pin, self.max_objects, self.on_unavailable = uris, pin, max_objects, on_unavailable

    def record(self, run: Run, context: Context) -> Version[Any]:  # noqa: ARG002
        """Ask the sources, log what they say."""
        made = self._new()
        named: Mapping[str, str] = self.uris if isinstance(self.uris, Mapping) else {}
        listed = [self.uris] if isinstance(self.uris, str) else () if named else self.uris
        for name, uri in [*named.items(), *((None, uri) for uri in listed)]:
            made.add_reference(
                uri, name, pin=self.pin, max_objects=self.max_objects, on_unavailable=self.on_unavailable
            )
        return self._log(run, made)
