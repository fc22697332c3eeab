"""Operators for what needs no code: fetch, promote, check, clean up; and the one to build others on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_headwater.lineage import Facets
from airflow_headwater.links import HeadwaterRunLink
from airflow_headwater.reconciling import close_ended
from airflow_headwater.runs import recording
from headwater import InvalidInputError, StateError, adapter

if TYPE_CHECKING:
    from airflow.sdk import Context

    from headwater import Run, Version


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
            run = here.join({"operator": adapter.plain_of(fields)})
            run.use_many([(handle, None) for handle in adapter.find_handles(fields)])
            with here.current():
                return self.record(run, context)

    def record(self, run: Run, context: Context) -> Any:  # noqa: ARG002  # for those who write their own
        """What the operator does.

        Args:
            run: The run of this try; it ends after this returns or raises.
            context: Airflow's.

        Raises:
            InvalidInputError: The operator has none of its own.
        """
        raise InvalidInputError(what=f"{type(self).__name__} records nothing", fix="give it a record(run, context)")


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
            adapter.default_repository().set_alias(f"{found.name}:{alias}", to=found, expect=self.expect)
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
        report = adapter.default_repository().check(run.use_artifact(self.version))
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
    """Closes runs that are over and were never said to be, and discards drafts past their time; the XCom counts them.

    These are runs whose lease lapsed, as after a kill, and those of tasks that ended in Airflow without a worker:
    marked by hand or timed out while deferred, where the API server and the scheduler do not know the repository.
    Run it on a schedule of its own, e.g. hourly. Collection of bytes stays with `headwater gc`.
    """

    def record(self, run: Run, context: Context) -> int:  # noqa: ARG002
        """Ask Airflow, then sweep."""
        repo = adapter.default_repository()
        return close_ended(repo, context["ti"]) + repo.sweep()
