"""Operators for what needs no code: log, fetch, promote, check, clean up; and one to build others on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import BaseOperator

from airflow_headwater import connection
from airflow_headwater.lineage import Facets
from airflow_headwater.links import HeadwaterRunLink
from airflow_headwater.runs import recording
from headwater import Artifact, Run, StateError, Version
from headwater.adapter import default_repository, find_handles, plain_of

if TYPE_CHECKING:
    from airflow.sdk import Context


class HeadwaterOperator(Facets, BaseOperator):
    """The base of all these, and of your own: override `record` and use the run it is given.

    Handles in templated fields are recorded as used before `record` is called. The run ends with it, before
    Airflow hears of success; what it returns is the XCom.

    Args:
        project: Where the run and names without a project live; may be a template.
        headwater_conn_id: The connection of the repository; `headwater_default` if left out.
        **kwargs: As for every operator.
    """

    template_fields: Sequence[str] = ("project",)
    operator_extra_links = (HeadwaterRunLink(),)
    ui_color = "#d7ecf5"
    takes_handles = True

    def __init__(self, *, project: str | None = None, headwater_conn_id: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.project, self.headwater_conn_id = project, headwater_conn_id

    def execute(self, context: Context) -> Any:
        """Open the run, record, end it."""
        with recording(context, self.project, self.headwater_conn_id) as here:  # type: ignore[arg-type]
            fields = {name: getattr(self, name) for name in self.template_fields if name != "project"}
            run = here.join({"operator": plain_of(fields)})
            run.use_many([(handle, None) for handle in find_handles(fields)])
            with here.current():
                return self.record(run, context)

    def record(self, run: Run, context: Context) -> Any:
        """What the operator does.

        Args:
            run: The run of this try; it ends after this returns or raises.
            context: Airflow's.
        """
        raise NotImplementedError(f"{type(self).__name__} has no record()")


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
        return Artifact(
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
        named: Mapping[Any, str] = self.uris if isinstance(self.uris, Mapping) else dict.fromkeys(())
        listed = [self.uris] if isinstance(self.uris, str) else () if named else self.uris
        for name, uri in [*named.items(), *((None, uri) for uri in listed)]:
            made.add_reference(
                uri, name, pin=self.pin, max_objects=self.max_objects, on_unavailable=self.on_unavailable
            )
        return self._log(run, made)


class HeadwaterDownloadOperator(HeadwaterOperator):
    """Brings a version's files to a directory of the worker; the directory is the XCom.

    Args:
        version: A name or a handle.
        path: The directory; a shared read-only tree if left out, whose path is the XCom.
        exactly: Make the directory exactly the version, and refuse to touch files that Headwater did not place.
        glob: Only these paths.
        **kwargs: As for `HeadwaterOperator`.
    """

    template_fields = (*HeadwaterOperator.template_fields, "version", "path", "glob")

    def __init__(
        self, *, version: Any, path: str | None = None, exactly: bool = False, glob: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.version, self.path, self.exactly, self.glob = version, path, exactly, glob

    def record(self, run: Run, context: Context) -> str:  # noqa: ARG002
        """Use it, and place its files."""
        found = run.use_artifact(self.version)
        if self.path is None:
            return str(found.download())
        if self.exactly:
            found.checkout(self.path)
        else:
            found.fetch(self.path, glob=self.glob)
        return self.path


class HeadwaterPromoteOperator(HeadwaterOperator):
    """Moves aliases to a version; its handle is the XCom.

    Args:
        version: A name or a handle.
        aliases: Which; `latest` moves by itself.
        expect: Only if the alias is there now (`v3`, an alias, or `""` for nowhere); otherwise the task fails.
        **kwargs: As for `HeadwaterOperator`.
    """

    template_fields = (*HeadwaterOperator.template_fields, "version", "aliases", "expect")

    def __init__(
        self, *, version: Any, aliases: Sequence[str] = ("prod",), expect: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.version, self.aliases, self.expect = version, aliases, expect

    def record(self, run: Run, context: Context) -> Version[Any]:  # noqa: ARG002
        """Use it, move the aliases."""
        found = run.use_artifact(self.version)
        for alias in [self.aliases] if isinstance(self.aliases, str) else self.aliases:
            default_repository().set_alias(f"{found.name}:{alias}", to=found, expect=self.expect)
        return found.reload()


class HeadwaterCheckReferencesOperator(HeadwaterOperator):
    """Compares a version's references with the world, in bulk, before a job reads them.

    Args:
        version: A name or a handle.
        fail: Whether references that are missing, changed or denied fail the task; the XCom counts them.
        **kwargs: As for `HeadwaterOperator`.
    """

    template_fields = (*HeadwaterOperator.template_fields, "version")

    def __init__(self, *, version: Any, fail: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.version, self.fail = version, fail

    def record(self, run: Run, context: Context) -> dict[str, int]:  # noqa: ARG002
        """Use it, ask the sources."""
        report = default_repository().check(run.use_artifact(self.version))
        for drift in report.drifts:
            self.log.warning("%s: %s is %s: %s", report.version, drift.uri, drift.outcome, drift.found)
        run.summary["references"] = report.counts
        if self.fail and not report.ok:
            first = next(drift for drift in report.drifts if drift.outcome != "unverified")
            raise StateError(
                what=f"{len(report.drifts)} of {report.n_references} references of {report.version} "
                f"are not as recorded, first {first.uri}: {first.outcome}",
                fix="log a new version to accept what is there now",
            )
        return report.counts


class HeadwaterCleanUpOperator(HeadwaterOperator):
    """Closes runs whose lease lapsed, as after a kill, and discards drafts past their time; the XCom counts them.

    Run it on a schedule of its own, e.g. hourly. Collection of bytes stays with `headwater gc`.
    """

    def record(self, run: Run, context: Context) -> int:  # noqa: ARG002
        """Sweep."""
        connection.apply(self.headwater_conn_id)
        return default_repository().sweep()
